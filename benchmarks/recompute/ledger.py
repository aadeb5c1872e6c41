"""Published figures beside recomputed ones.

A published file is a tree; each number or text in it is a leaf with a path, such as
("metrics", "cider", "value"). A recomputation is {path: value}. Leaves without a recomputed value
are listed with their reason: none is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]
Figures = dict[Path, Any]
# Far below the last printed digit (0.001 of a fraction, three digits of a p-value); what two orders
# of summation differ by is below 1e-12.
ABSOLUTE, RELATIVE = 1e-10, 1e-9
WIDEST = 50  # characters of a value in the table
# Parts of a record whose leaves share a row: the length of the path that names the row.
GROUPED = {"items": 2, "baseline_items": 3, "extra": 2}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        file: the published file.
        figure: path of the figure, or of a group of figures.
        published: the value, or the number of values of a group.
        recomputed: likewise; for a group the number of equal ones.
        means: how it was recomputed.
        equal: to the last printed digit.
        n: figures behind the row.
        detail: for a group, the first figures that differ.
    """

    file: str
    figure: str
    published: str
    recomputed: str
    means: str
    equal: bool
    n: int = 1
    detail: str = ""


@dataclass(frozen=True)
class Missing:
    """Figures of one file that are not recomputed, for one reason."""

    file: str
    reason: str
    figures: tuple[str, ...]


def flatten(tree: Any, path: Path = ()) -> Figures:
    """Return {path: leaf} of nested mappings and lists; leaves that are None are left out."""
    if isinstance(tree, Mapping):
        pairs: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, list | tuple):
        pairs = enumerate(tree)
    else:
        return {} if tree is None else {path: tree}
    found: Figures = {}
    for key, value in pairs:
        found |= flatten(value, (*path, str(key)))
    return found


def is_equal(published: Any, recomputed: Any) -> bool:
    """Return whether two values agree to the last printed digit; texts have to be the same."""
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in (published, recomputed)
    )
    if not numbers:
        return bool(published == recomputed)
    return abs(published - recomputed) <= ABSOLUTE + RELATIVE * abs(published)


def shown(value: Any) -> str:
    """Return a value as the table shows it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:20]


def dotted(path: Path) -> str:
    """Return a path as text."""
    return " ".join(path)


def group_of(path: Path) -> Path:
    """Return the path that names a leaf's row."""
    return path[: GROUPED.get(path[0], len(path))]


def compare(file: str, published: Figures, recomputed: Figures, means: str) -> list[Row]:
    """Compare all recomputed figures that are published.

    A group of figures (`GROUPED`) is published when one of its leaves is; then a leaf that only one
    side has is a difference, unless that side is the recomputation of only a part.
    """
    groups: dict[Path, list[Path]] = {}
    known = {group_of(path) for path in published}
    for path in recomputed:
        if path in published or (group_of(path) in known and path[0] in GROUPED):
            groups.setdefault(group_of(path), []).append(path)
    return [
        _row(file, group, paths, published, recomputed, means) for group, paths in groups.items()
    ]


def _row(
    file: str,
    group: Path,
    paths: list[Path],
    published: Figures,
    recomputed: Figures,
    means: str,
) -> Row:
    wrong = [p for p in paths if not is_equal(published.get(p), recomputed[p])]
    if len(paths) == 1 and paths[0] == group:
        values = shown(published.get(group)), shown(recomputed[group])
        return Row(file, dotted(group), *values, means, not wrong)
    differing = [f"{dotted(p[len(group) :])}: {published.get(p)}, {recomputed[p]}" for p in wrong]
    detail = "; ".join(differing[:3])
    counts = f"{len(paths)} values", f"{len(paths) - len(wrong)} equal"
    return Row(file, dotted(group), *counts, means, not wrong, len(paths), detail)


def missing(
    file: str,
    published: Figures,
    recomputed: Iterable[Figures],
    reason: Callable[[Path], str],
) -> list[Missing]:
    """List the figures that no recomputation has, by their reason."""
    known = {path for figures in recomputed for path in figures}
    reasons: dict[str, Counter[str]] = {}
    for path in published:
        if path not in known:
            reasons.setdefault(reason(path), Counter())[dotted(group_of(path))] += 1
    return [
        Missing(file, why, tuple(name if n == 1 else f"{name} ({n})" for name, n in names.items()))
        for why, names in reasons.items()
    ]


def count_missing(rows: Iterable[Missing]) -> dict[str, int]:
    """Return the number of figures, or groups of them, by reason."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.reason] += len(row.figures)
    return dict(counts)


def table(rows: Iterable[Row]) -> str:
    """Lay out the rows as text in columns."""
    header = ("file", "figure", "published", "recomputed", "from", "equal")
    cells = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    equal = "yes" if row.equal else f"NO {row.detail}".rstrip()
    # Sentences of a page are shortened; what differs is shown whole.
    width = WIDEST if row.equal else None
    values = [v if v == v[:width] else f"{v[:width]}…" for v in (row.published, row.recomputed)]
    return (row.file, row.figure, *values, row.means, equal)
