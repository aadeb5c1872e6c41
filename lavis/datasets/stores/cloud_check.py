"""Read every cloud of a data set once and record faults, so that the next start is fast.

A result is kept with the file's size and modification time: a file that changed is read again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from lavis.common.errors import DataError
from lavis.datasets.manifest import write_json
from lavis.datasets.stores.point_stores import FilePointStore, check_cloud

FORMAT = 2
BLOCK = 1024  # clouds queued at a time
THREADS = 8  # reading and checksums leave Python's lock


class CloudCheck(NamedTuple):
    """Result of the check of one file.

    Attributes:
        size, modified_ns: of the file when it was read; 0 when it is missing.
        num_points: N, 0 when unusable.
        problem: why it cannot be used, "" when it can.
    """

    size: int
    modified_ns: int
    num_points: int
    problem: str


def check_clouds(
    store: FilePointStore, object_ids: Sequence[str], cache_path: Path | None = None
) -> dict[str, CloudCheck]:
    """Check the clouds of `object_ids`.

    Args:
        store: where they are.
        object_ids: distinct ids.
        cache_path: JSON file with earlier results; None reads every cloud.

    Returns:
        {object id: result}, in the order given.
    """
    known = _read_cache(cache_path, store)
    todo = [uid for uid in object_ids if not _is_current(store, uid, known.get(uid))]
    if todo:
        logging.info("Checking %d of %d clouds", len(todo), len(object_ids))
        progress = tqdm(total=len(todo), desc="check clouds", disable=len(todo) < BLOCK)
        with ThreadPoolExecutor(THREADS) as pool, progress:
            for start in range(0, len(todo), BLOCK):
                block = todo[start : start + BLOCK]
                found = pool.map(lambda uid: check_one(store, uid), block)
                known.update(zip(block, found, strict=True))
                progress.update(len(block))
        _write_cache(cache_path, store, known)
    return {uid: known[uid] for uid in object_ids}


def check_one(store: FilePointStore, object_id: str) -> CloudCheck:
    """Read one cloud."""
    size, modified_ns = _stamp(store, object_id)
    try:
        cloud = check_cloud(store.load(object_id), object_id)
    except DataError as error:
        return CloudCheck(size, modified_ns, 0, str(error))
    return CloudCheck(size, modified_ns, len(cloud), "")


def _stamp(store: FilePointStore, object_id: str) -> tuple[int, int]:
    """Return size and modification time, zeros for a missing file."""
    try:
        status = os.stat(store.path(object_id))
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _is_current(store: FilePointStore, object_id: str, known: CloudCheck | None) -> bool:
    """Return whether the file is the one that was read."""
    return known is not None and _stamp(store, object_id) == (known.size, known.modified_ns)


def _identity(store: FilePointStore) -> dict[str, Any]:
    """Return what results belong to."""
    return {
        "format": FORMAT,
        "folder": str(store.folder),
        "pattern": store.pattern,
        "array_name": store.array_name,
    }


def _read_cache(path: Path | None, store: FilePointStore) -> dict[str, CloudCheck]:
    """Return earlier results; a damaged file or one of other clouds counts as none."""
    if path is None or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if {key: content[key] for key in _identity(store)} != _identity(store):
            return {}
        return {uid: CloudCheck(*fields) for uid, fields in content["clouds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logging.warning("%s is not used, clouds are read again: %s", path, error)
        return {}


def _write_cache(path: Path | None, store: FilePointStore, checks: dict[str, CloudCheck]) -> None:
    """Keep the results; a folder that cannot be written costs only time at the next start."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**_identity(store), "clouds": checks})
    except OSError as error:
        logging.warning("the results of the cloud check are not kept: %s", error)
