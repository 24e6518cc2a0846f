/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
int command_top(const struct command_line *line)
{
	return line->json;
}
