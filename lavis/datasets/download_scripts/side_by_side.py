"""Read the items of a data set in several processes, in their order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lavis.common.errors import PointLanguageError

_MOST_PROCESSES = 8


def read_side_by_side(items: Dataset, processes: int | None = None) -> Iterator[Any]:
    """Yield every item in order.

    torch's loader, not a pool: its processes end when this one is killed.

    Args:
        items: with a length. An error is returned, not raised: a loader would wrap it in a
            traceback.
        processes: the default is one a core, at most 8; 1 reads in this process.

    Raises:
        PointLanguageError: an item is one.
    """
    if processes is None:
        processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    loader = DataLoader(
        items,
        batch_size=None,
        num_workers=processes if processes > 1 and len(items) > 1 else 0,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        # Its own: a loader draws from the run's, and a run that prepares would start otherwise.
        generator=torch.Generator(),
    )
    for item in loader:
        if isinstance(item, PointLanguageError):
            raise item
        yield item


def _as_it_is(item: Any) -> Any:
    return item
