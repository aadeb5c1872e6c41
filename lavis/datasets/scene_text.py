"""A sentence on what a scene holds, from the classes of its objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_UNCOUNTED = ("food", "tableware", "clothes", "furniture", "shelves", "stairs", "blinds")


def caption_of(place: str, labels: Iterable[str], most: int | None = None) -> str:
    """Return "a bedroom with 2 chairs, a bed and a lamp", most frequent classes first.

    Args:
        place: "a bedroom".
        labels: one per object.
        most: name so many classes; None names all.
    """
    counts = sorted(Counter(labels).items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    parts = [_counted(label, count) for label, count in counts]
    if not parts:
        return place
    joined = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{place} with {joined}"


def _counted(label: str, count: int) -> str:
    if label.endswith(_UNCOUNTED):
        return label
    if count > 1:
        return f"{count} {label}{'es' if label.endswith(('x', 'sh', 'ch')) else 's'}"
    return with_article(label)


def with_article(noun: str) -> str:
    """Return "an office", "a bedroom"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
