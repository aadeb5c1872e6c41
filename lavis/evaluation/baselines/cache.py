"""Cache of arrays in the process and on disk, in the folder of the data.

A file's name is the hash of what its content depends on (manifest, ids, code). A damaged file is
computed again. Nothing is kept on the disk where the folder cannot be written, or where the data
beside it are gone: a folder made anew would look like damaged data to their preparation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
MANIFEST = "manifest.json"  # of the prepared data, one folder up
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
_memory: dict[str, Arrays] = {}
_KEPT = 8  # results in memory; the oldest is dropped first


def load_or_compute(
    folder: Path | None, name: str, key: Mapping[str, Any], compute: Callable[[], Arrays]
) -> Arrays:
    """Return arrays from memory, from the disk, or from `compute`.

    Args:
        folder: where files are kept, inside the folder of prepared data; None: nowhere.
        name: first part of the file's name.
        key: JSON values that the content depends on.
        compute: returns the arrays; an empty dict is not kept.
    """
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:24]
    label = f"{folder}/{name}-{digest}"
    if label in _memory:
        return _memory[label]
    path = None if folder is None else folder / f"{name}-{digest}.npz"
    arrays = read_arrays(path) if path is not None else None
    if arrays is None:
        arrays = compute()
        if path is not None and arrays and (path.parent.parent / MANIFEST).is_file():
            write_arrays(path, arrays)
    if folder is not None:
        _memory[label] = arrays
        if len(_memory) > _KEPT:
            _memory.pop(next(iter(_memory)))
    return arrays


def forget() -> None:
    """Empty the memory of this process; files stay."""
    _memory.clear()


def read_arrays(path: Path) -> Arrays | None:
    """Return the arrays of a file; None when it is absent or damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except _DAMAGE as error:
        logging.warning("baseline cache %s is damaged and is computed again: %r", path, error)
        return None


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays atomically; a read-only folder is accepted."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with open(partial, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    except OSError as error:
        logging.info("baseline cache not written to %s: %s", path, error)
        with contextlib.suppress(OSError):
            partial.unlink()


def code_digest(*files: str) -> str:
    """Return a hash of source files, so that changed code never reads old results."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()
