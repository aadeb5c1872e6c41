"""Read arrays of an HDF5 file (ModelNet40, ScanObjectNN). Links to other files are not followed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 2**33


def read_hdf5(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of the root group.

    Args:
        path: the file.
        names: of the arrays.

    Raises:
        OSError: the file cannot be opened, or is damaged.
        ValueError: no such array, another type than numbers, content in other files, or more than
            `MAX_BYTES`.
    """
    import h5py  # only the readers of two data sets need it

    with h5py.File(path, "r") as file:
        return {name: _array(h5py, file, name) for name in names}


def _array(h5py: Any, file: Any, name: str) -> np.ndarray:
    link = file.get(name, getlink=True)
    if link is None:
        raise ValueError(f"no array {name!r}, but {', '.join(sorted(file)[:10]) or 'nothing'}")
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise ValueError(f"{name!r} is no array of this file")
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name!r} has the type {found.dtype}")
    if found.size is None or found.nbytes > MAX_BYTES:
        raise ValueError(f"{name!r} has {found.nbytes:,} bytes, more than {MAX_BYTES:,}")
    return found[()]
