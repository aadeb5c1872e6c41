"""The rows of a store's objects: `object_ids.json`, and beside it an index that is read in place.

    object_ids.json     the n ids in the order of the rows
    object_ids.npy      the same as UTF-8, [n] of the longest id's bytes
    object_order.npy    int64 [n], the rows in the order of the sorted ids

A mapping of a million ids needs 200 MB and half a second, and the arrays nothing: they are mapped,
and a look-up is a binary search. A small store, or one without them, is read by its JSON, whose
mapping is quicker to ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lavis.common.text_files import read_json
from lavis.datasets.manifest import write_json

IDS_NAME, INDEX_NAME, ORDER_NAME = "object_ids.json", "object_ids.npy", "object_order.npy"
MAX_BYTES = 256  # of an id in the index
SMALL = 100_000  # objects up to which the JSON is read: 20 MB, 50 ms


class IndexedIds(Mapping[str, int]):
    """{object id: row} of the two arrays of a folder.

    Raises:
        OSError, ValueError: the files cannot be read, or do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        load = np.load(folder / INDEX_NAME, mmap_mode="r", allow_pickle=False)
        order = np.load(folder / ORDER_NAME, mmap_mode="r", allow_pickle=False)
        # A memmap costs two microseconds an access, the plain array over the same pages none.
        self.ids, self.order = load.view(np.ndarray), order.view(np.ndarray)
        if self.ids.dtype.kind != "S" or self.order.dtype != np.int64 or self.ids.ndim != 1:
            raise ValueError(f"an index of {self.ids.dtype} and {self.order.dtype}")
        if self.ids.shape != self.order.shape:
            raise ValueError(f"{len(self.ids)} ids, {len(self.order)} places")

    def __getitem__(self, object_id: str) -> int:
        key = object_id.encode("utf-8", "replace") if isinstance(object_id, str) else b""
        if key and len(key) <= self.ids.itemsize:
            wanted = np.array(key, self.ids.dtype)
            place = int(np.searchsorted(self.ids, wanted, sorter=self.order))
            if place < len(self.ids) and self.ids[self.order[place]] == key:
                return int(self.order[place])
        raise KeyError(object_id)

    def __iter__(self) -> Iterator[str]:
        return (name.decode("utf-8") for name in self.ids.tolist())

    def __len__(self) -> int:
        return len(self.ids)


def write_ids(folder: Path, ids: Sequence[str]) -> None:
    """Write the ids of a store, and their index where they fit one.

    Args:
        folder: of the store.
        ids: different ones.
    """
    write_json(folder / IDS_NAME, list(ids))
    names = [name.encode("utf-8") for name in ids]
    if not names or not all(
        name and len(name) <= MAX_BYTES and b"\0" not in name for name in names
    ):
        return
    array = np.array(names)
    np.save(folder / INDEX_NAME, array)
    np.save(folder / ORDER_NAME, np.argsort(array, kind="stable").astype(np.int64))


def open_ids(folder: Path) -> Mapping[str, int]:
    """Return {object id: row} of a store.

    Raises:
        OSError, ValueError: the ids cannot be read, or one is listed twice.
    """
    if (folder / INDEX_NAME).is_file() and (folder / ORDER_NAME).is_file():
        index = IndexedIds(folder)
        if len(index) > SMALL:
            return index
    ids = read_json(folder / IDS_NAME)
    if not isinstance(ids, list):
        raise ValueError(f"a {type(ids).__name__}, no list of ids")
    rows = {str(object_id): row for row, object_id in enumerate(ids)}
    if len(rows) < len(ids):
        raise ValueError(f"{len(ids)} ids, {len(rows)} of them different")
    return rows
