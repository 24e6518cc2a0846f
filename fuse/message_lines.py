#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program says under which id, taken from its source: the formats beside each MSG_ID, as rows for
message_help.c. So the manual fusenfs-errors(7) and `fusenfs help ID` show what is really said.

Usage: message_lines.py OUTPUT SOURCE..."""

import re
import sys

STRING = r'"(?:[^"\\]|\\.)*"'
# An id, and the format that follows it; or a function that stands for one.
BESIDE = re.compile(rf"\b(MSG_[A-Z_]+),\s*((?:{STRING}\s*)+)")
FUNCTIONS = {"usage_error": "MSG_USAGE", "option_conflict": "MSG_OPTION_CONFLICT"}
CALL = re.compile(rf"\b({'|'.join(FUNCTIONS)})\(\w+,\s*((?:{STRING}\s*)+)")
CONVERSION = re.compile(r"%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|j|z|t)?[a-zA-Z]")
LETTERS = 8  # fewer, and the format is all values


def readable(literals):
    """The format as a person sees it: values are "..."."""
    text = "".join(part[1:-1] for part in re.findall(STRING, literals))
    text = CONVERSION.sub("...", text.replace("%%", "\0")).replace("\0", "%")
    text = re.sub(r"\.\.\.(?: ?\.\.\.)+", "...", text)
    return text if len(re.findall("[A-Za-z]", text)) >= LETTERS else None


def main(output, *sources):
    used, rows = set(), []
    for source in sources:
        if source.endswith("message_help.c"):  # says nothing by itself
            continue
        with open(source, encoding="utf-8") as file:
            text = file.read()
        used |= set(re.findall(r"\bMSG_[A-Z_]+\b", text))
        found = [(m.start(), m.group(1), m.group(2)) for m in BESIDE.finditer(text)]
        found += [(m.start(), FUNCTIONS[m.group(1)], m.group(2)) for m in CALL.finditer(text)]
        used |= {name for _, name, _ in found}
        for _, name, literals in sorted(found):
            row = (name, readable(literals))
            if row[1] and name != "MSG_NONE" and row not in rows:
                rows.append(row)
    with open(output, "w", encoding="utf-8") as file:
        file.write("/* Made by message_lines.py. */\n#define MESSAGE_LINES(X) \\\n")
        file.writelines(f'\tX({name}, "{text}") \\\n' for name, text in rows)
        file.write("\n#define MESSAGE_USES(X) \\\n")
        file.writelines(f"\tX({name}) \\\n" for name in sorted(used - {"MSG_NONE", "MSG_COUNT", "MSG_NOSIGNAL",
                                                                      "MSG_DONTWAIT"}))
        file.write("\n")


main(*sys.argv[1:])
