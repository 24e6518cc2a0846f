# SPDX-License-Identifier: GPL-2.0-or-later
"""A line chart as SVG: a few named lines over values of x that stand side by side."""

from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 170, 40, 50
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#7f7f7f", "#9467bd")


def chart(title, x_label, y_label, xs, lines):
    """lines: {name: (values, one for each x; dashed)}."""
    top_value = max(v for values, _ in lines.values() for v in values) * 1.08
    parts = [text(WIDTH / 2, 22, title, size=15), text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label),
             text(18, HEIGHT / 2, y_label, turn=True)]
    for i, x in enumerate(xs):
        parts.append(text(across(i, xs), HEIGHT - BOTTOM + 20, x))
    for value in steps(top_value):
        y = up(value, top_value)
        parts += [f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>',
                  text(LEFT - 8, y + 4, f"{value:g}", anchor="end")]
    for row, (name, (values, dashed)) in enumerate(lines.items()):
        colour, y = COLOURS[row % len(COLOURS)], TOP + 20 * row
        points = [(across(i, xs), up(v, top_value)) for i, v in enumerate(values)]
        key = [(WIDTH - RIGHT + 10, y), (WIDTH - RIGHT + 34, y)]
        parts += [polyline(points, colour, dashed), polyline(key, colour, dashed),
                  text(WIDTH - RIGHT + 40, y + 4, name, anchor="start")]
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n')


def across(i, xs):
    return LEFT + (i + .5) * (WIDTH - LEFT - RIGHT) / len(xs)


def up(value, top_value):
    return HEIGHT - BOTTOM - value / top_value * (HEIGHT - TOP - BOTTOM)


def steps(top_value):
    """Round values for the lines of the grid, at most eight."""
    step = next(s for s in (.1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
                if top_value / s <= 8)
    return [step * i for i in range(int(top_value / step) + 1)]


def polyline(points, colour, dashed):
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def text(x, y, words, size=12, anchor="middle", turn=False):
    rotate = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{rotate}>'
            f'{escape(str(words))}</text>')
