"""A confusion matrix as one SVG picture, drawn without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

_CELL, _MARGIN, _LONGEST = 14, 150, 22


def confusion_svg(counts: np.ndarray, names: Sequence[str], title: str = "") -> str:
    """Draw counts [C,C], row the label and column the prediction, as text of an SVG file.

    A cell is as dark as its share of the row; classes without items are left out of the rows and,
    when never predicted, of the columns. Each cell shows its numbers in a tooltip.
    """
    counts = np.asarray(counts)
    rows = np.flatnonzero(counts.sum(axis=1)).tolist()
    columns = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1)).tolist()
    width = _MARGIN + _CELL * len(columns) + 10
    height = _MARGIN + _CELL * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="16" font-size="12">{escape(title)}</text>',
        '<text x="8" y="32" fill="#555">rows: label, columns: prediction</text>',
    ]
    for place, column in enumerate(columns):
        x, y = _MARGIN + _CELL * place + 10, _MARGIN + 14
        parts.append(
            f'<text transform="translate({x},{y}) rotate(-90)">{_short(names[column])}</text>'
        )
    for line, row in enumerate(rows):
        y = _MARGIN + 20 + _CELL * line
        parts.append(
            f'<text x="{_MARGIN - 4}" y="{y + 10}" text-anchor="end">{_short(names[row])}</text>'
        )
        total = counts[row].sum()
        for place, column in enumerate(columns):
            parts += _cell(counts[row, column], total, names[row], names[column], place, y)
    return "\n".join([*parts, "</svg>\n"])


def _cell(count: int, total: int, label: str, predicted: str, place: int, y: int) -> list[str]:
    if not count:
        return []
    shade = 235 - round(200 * count / total)
    color = f"rgb({shade},{shade},255)" if label != predicted else f"rgb({shade},235,{shade})"
    note = f"{escape(label)} as {escape(predicted)}: {count} of {total}"
    return [
        f'<rect x="{_MARGIN + _CELL * place}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}" '
        f'fill="{color}"><title>{note}</title></rect>'
    ]


def _short(name: str) -> str:
    return escape(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…")
