"""Read .npy and .npz: without unpickling; a header larger than the file is refused."""

from __future__ import annotations

import math
import zipfile
from typing import IO

import numpy as np

from lavis.datasets.readers.cloud import Cloud, cloud_of_array, cloud_of_fields

MAX_CLOUD_BYTES = 2**30


class PythonObjects(ValueError):
    """An array that numpy could read only by unpickling, which may run anything."""


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """Return the array of an open .npy file.

    Args:
        file: at its start.
        size: bytes from there to its end.

    Raises:
        ValueError: Python objects, or a header that promises more than the file has.
    """
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 in the encoding of names alone.
    read_header = np.lib.format.read_array_header_1_0
    header = (read_header if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    shape, _, dtype = header
    if dtype.hasobject:
        raise PythonObjects("an array of Python objects, which is never unpickled")
    needed, left = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed > min(left, MAX_CLOUD_BYTES):
        raise ValueError(f"an array {dtype} {list(shape)} of {needed:,} bytes in {left:,} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def cloud_of_npy(file: IO[bytes], size: int) -> Cloud:
    """Return the cloud of an open .npy file: [N,3|6], or records with named fields.

    Raises:
        ValueError: see `read_npy` and `cloud_of_fields`.
    """
    values = read_npy(file, size)
    if values.dtype.names is None:
        return cloud_of_array(values)
    return cloud_of_fields({name: values[name] for name in values.dtype.names})


def read_npz(file: IO[bytes], array_name: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of an open .npz file; arrays of Python objects are left out.

    Args:
        file: at its start.
        array_name: an array to read alone when it has coordinates and colours [N,6].

    Raises:
        ValueError: no array, a damaged one, more bytes than a cloud has, or Python objects alone.
        zipfile.BadZipFile: no zip.
    """
    arrays: dict[str, np.ndarray] = {}
    refused = []
    with zipfile.ZipFile(file) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        unpacked = 0
        for name in sorted(members, key=lambda name: name != array_name):
            unpacked += members[name].file_size
            if unpacked > MAX_CLOUD_BYTES:
                raise ValueError(f"{unpacked:,} bytes when unpacked")
            try:
                with archive.open(members[name]) as member:
                    arrays[name] = read_npy(member, members[name].file_size)
            except PythonObjects:
                refused.append(name)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if name == array_name and name in arrays and arrays[name].shape[1:] == (6,):
                break
    if refused and not arrays:
        raise PythonObjects(f"arrays of Python objects, never unpickled: {', '.join(refused)}")
    if not arrays:
        raise ValueError("a zip without .npy arrays")
    return arrays
