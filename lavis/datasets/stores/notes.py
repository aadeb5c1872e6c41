"""Log what was done to the clouds of a data set: a line per kind, not per object."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch.utils.data import get_worker_info

from lavis.common.dist_utils import is_main_process


class Notes:
    """Notes of one data set. A copy in a data worker holds the notes logged before the fork.

    Args:
        where: folder or kind of the data, for the lines.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._said: dict[str, object] = {}

    def say(self, object_id: str, notes: Mapping[str, str]) -> None:
        """Log each kind of note once; of many workers the first one logs."""
        for kind, text in notes.items():
            worker = get_worker_info()
            if not is_main_process() or (worker is not None and worker.id > 0):
                continue
            token = object()
            if self._said.setdefault(kind, token) is not token:  # atomic: clouds load in threads
                continue
            logging.warning(
                "%s: object %s: %s (logged once per data set)", self.where, object_id, text
            )
