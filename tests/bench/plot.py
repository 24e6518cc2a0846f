# SPDX-License-Identifier: GPL-2.0-or-later
"""Charts as SVG: a few named lines over values of x that stand side by side (chart), over time (timeline), or
over their own order (distribution)."""

from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 170, 40, 50
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#7f7f7f", "#9467bd")


def chart(title, x_label, y_label, xs, lines):
    """lines: {name: (values, one for each x; dashed)}."""
    top_value = max(v for values, _ in lines.values() for v in values) * 1.08
    parts = frame(title, x_label, y_label, top_value)
    for i, x in enumerate(xs):
        parts.append(text(across(i, xs), HEIGHT - BOTTOM + 20, x))
    for row, (name, (values, dashed)) in enumerate(lines.items()):
        points = [(across(i, xs), up(v, top_value)) for i, v in enumerate(values)]
        parts += line(row, name, points, dashed)
    return document(parts)


def timeline(title, x_label, y_label, lines, whole):
    """lines: {name: ([(time, value)], [(time, what happened)])}. whole: what there is to be had, a dashed line. What
    happened is marked once if it happened to several at about the same time."""
    first = min(t for points, _ in lines.values() for t, _ in points)
    last = max(t for points, _ in lines.values() for t, _ in points)
    top_value = max(whole, *(v for points, _ in lines.values() for _, v in points)) * 1.08

    def at(t):
        return LEFT + (t - first) / (last - first) * (WIDTH - LEFT - RIGHT)
    parts = frame(title, x_label, y_label, top_value)
    parts += [text(at(t), HEIGHT - BOTTOM + 20, f"{t:g}") for t in
              (step + first - first % 1 for step in steps(last - first)) if first <= t <= last]
    for t, words in distinct(event for _, events in lines.values() for event in events):
        parts += [f'<path d="M{at(t):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#888" stroke-dasharray="2 3"/>',
                  text(at(t) + 3, TOP + 2, words, size=11, anchor="start")]
    parts.append(polyline([(LEFT, up(whole, top_value)), (WIDTH - RIGHT, up(whole, top_value))], "#888", True, 1))
    for row, (name, (points, _)) in enumerate(lines.items()):
        parts += line(row, name, [(at(t), up(v, top_value)) for t, v in points])
    return document(parts)


def distribution(title, x_label, y_label, lines):
    """lines: {name: values in order}: each has the whole width."""
    n = max(map(len, lines.values()))
    top_value = max(1, *(v for values in lines.values() for v in values)) * 1.08
    parts = frame(title, x_label, y_label, top_value)
    parts += [text(across(i, range(n)), HEIGHT - BOTTOM + 20, i + 1) for i in range(0, n, max(n // 10, 1))]
    for row, (name, values) in enumerate(lines.items()):
        points = [(across(i, values), up(v, top_value)) for i, v in enumerate(values)]
        parts += line(row, name, points)
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{COLOURS[row]}"/>' for x, y in points]
    return document(parts)


def frame(title, x_label, y_label, top_value):
    """What is around the lines, and the grid behind them."""
    parts = [text(WIDTH / 2, 22, title, size=15), text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label),
             text(18, HEIGHT / 2, y_label, turn=True)]
    for value in steps(top_value):
        y = up(value, top_value)
        parts += [f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>',
                  text(LEFT - 8, y + 4, f"{value:g}", anchor="end")]
    return parts


def line(row, name, points, dashed=False):
    """The row-th line, and its name beside the chart."""
    colour, y = COLOURS[row % len(COLOURS)], TOP + 20 * row
    key = [(WIDTH - RIGHT + 10, y), (WIDTH - RIGHT + 34, y)]
    return [polyline(points, colour, dashed), polyline(key, colour, dashed),
            text(WIDTH - RIGHT + 40, y + 4, name, anchor="start")]


def document(parts):
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n')


def distinct(events, apart=.5):
    """The first of those that have the same words at about the same time."""
    found = []
    for t, words in sorted(events):
        if not any(other == words and t - at < apart for at, other in found):
            found.append((t, words))
    return found


def across(i, xs):
    return LEFT + (i + .5) * (WIDTH - LEFT - RIGHT) / len(xs)


def up(value, top_value):
    return HEIGHT - BOTTOM - value / top_value * (HEIGHT - TOP - BOTTOM)


def steps(top_value):
    """Round values for the lines of the grid, at most eight."""
    step = next(s for s in (.1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
                if top_value / s <= 8)
    return [step * i for i in range(int(top_value / step) + 1)]


def polyline(points, colour, dashed, width=2):
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def text(x, y, words, size=12, anchor="middle", turn=False):
    rotate = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{rotate}>'
            f'{escape(str(words))}</text>')
