"""Read a point cloud from a file: `read_cloud` detects the format by the content."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO

from lavis.common.errors import DataError
from lavis.common.text_files import decode
from lavis.datasets.readers.cloud import Cloud, cloud_of_fields
from lavis.datasets.readers.las import cloud_of_las
from lavis.datasets.readers.numpy_files import MAX_CLOUD_BYTES, cloud_of_npy, read_npz
from lavis.datasets.readers.pcd import cloud_of_pcd
from lavis.datasets.readers.pickled_arrays import cloud_of_pickle
from lavis.datasets.readers.ply import cloud_of_ply
from lavis.datasets.readers.text import SUFFIXES, cloud_of_text
from lavis.datasets.readers.torch_files import cloud_of_torch

READ = (
    ".npy and .npz, .ply, .pcd, .pt of tensors, .pkl of arrays, .las and .laz, or text (.txt .xyz "
    ".pts .csv .asc): finite points [N,3] that are not all in one place, colours [N,3] in [0,1] or "
    "0 to 255"
)
# What numpy, zipfile and torch raise on damaged files; a flipped bit in a header asks for an
# unknown compression or encryption (RuntimeError) or for more memory than there is.
DAMAGE = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, EOFError, RuntimeError),
    *(MemoryError, OverflowError, AttributeError, AssertionError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
FIRST_ARRAY = "arr_0"  # numpy's name for an array that was saved without one
MAX_REASON = 500  # characters; torch's reasons fill a page
_TORCH_SUFFIXES = (".pt", ".pth")
_PICKLE_SUFFIXES = (".pkl", ".pickle")
# First bytes of files that are named in the message.
_OTHERS = {
    b"\x89HDF": "HDF5",
    b"glTF": "a binary glTF mesh",
    b"DRACO": "a Draco mesh",
    b"OFF": "an OFF mesh",
    b"solid": "an STL mesh",
    b"\x80": "a pickle, which is never run",
    b"\x1f\x8b": "gzip",
}


def read_cloud(
    path: str | Path, array_name: str | None = None, object_id: str | None = None
) -> Cloud:
    """Return the points of a file, and what it holds for each of them.

    Args:
        path: a file in one of the formats of `READ`.
        array_name: the array of an .npz or .pkl, or tensor of a .pt, with the coordinates; None
            goes by the names.
        object_id: named in messages with the file.

    Raises:
        DataError: another format, damage, sizes beyond the file's bytes, or points or colours that
            cannot be used; the message names the content and the readable formats.
    """
    path = Path(path)
    where = str(path) if object_id is None else f"object {object_id}: {path}"
    if not path.is_file():
        got = "no regular file" if path.exists() else "missing"
        raise _unreadable(where, got)
    try:
        size = path.stat().st_size
        if size > MAX_CLOUD_BYTES:
            raise ValueError(f"{size:,} bytes, more than {MAX_CLOUD_BYTES:,}")
        with open(path, "rb") as file:
            return _read(file, size, path, array_name)
    except DAMAGE as error:
        raise _unreadable(where, error) from error


def _read(file: IO[bytes], size: int, path: Path, array_name: str | None) -> Cloud:
    """Read by the first bytes, by the name where they do not decide."""
    head, suffix = file.read(256), path.suffix.lower()
    file.seek(0)
    if head.startswith(b"\x93NUMPY"):
        return cloud_of_npy(file, size)
    if head.startswith(b"ply") and head[3:4] in b"\r\n":
        return cloud_of_ply(file, size)
    if suffix in _TORCH_SUFFIXES:
        return cloud_of_torch(path, array_name)
    if head.startswith(b"PK"):
        return _cloud_of_npz(file, array_name)
    if head.startswith(b"LASF"):
        return cloud_of_las(file, size)
    if suffix in _PICKLE_SUFFIXES:
        return cloud_of_pickle(file.read(), array_name)
    if suffix == ".pcd":
        return cloud_of_pcd(file, size)
    if suffix in SUFFIXES:
        return cloud_of_text(decode(file.read()), suffix)
    raise ValueError(_content(head, suffix))


def _cloud_of_npz(file: IO[bytes], array_name: str | None) -> Cloud:
    """Return the cloud of an .npz; `arr_0` comes before every other name."""
    wanted = array_name or FIRST_ARRAY
    arrays = read_npz(file, wanted)
    return cloud_of_fields(arrays, array_name or (wanted if wanted in arrays else None))


def _content(head: bytes, suffix: str) -> str:
    """Return what a file of another format seems to be."""
    known = next((name for start, name in _OTHERS.items() if head.startswith(start)), "")
    if not head:
        return "an empty file"
    return known or f"a {suffix or 'nameless'} file that begins with {head[:16]!r}"


def _unreadable(where: str, problem: object) -> DataError:
    own = isinstance(problem, str) or type(problem) is ValueError
    got = str(problem) if own else f"{type(problem).__name__}: {problem}"
    return DataError(
        "a point file cannot be read",
        where=where,
        got=got.split("\n", 1)[0][:MAX_REASON],
        expected=READ,
        fix="repair or convert the file; of an .npz or .pt, build_info.points.array_name names the "
        "array with the coordinates",
    )
