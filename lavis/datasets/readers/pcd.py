"""Read .pcd files of the Point Cloud Library: ascii, binary and binary_compressed."""

from __future__ import annotations

from typing import IO

import numpy as np

from lavis.datasets.readers.cloud import Cloud, cloud_of_fields
from lavis.datasets.readers.numpy_files import MAX_CLOUD_BYTES
from lavis.datasets.readers.text import numbers, typed

MAX_HEADER_BYTES = 2**16
MAX_RATIO = 90  # LZF writes at most 264 bytes for 3
_KINDS = {"F": "f", "I": "i", "U": "u"}
_KEYS = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS")


def cloud_of_pcd(file: IO[bytes], size: int) -> Cloud:
    """Return the cloud of an open .pcd file.

    Raises:
        ValueError: a damaged or cut file, or see `cloud_of_fields`.
    """
    header = _read_header(file)
    dtype, count = _row_type(header), _count(header)
    needed, left = count * dtype.itemsize, size - file.tell()
    kind = header["DATA"][0]
    # Of text a value takes two bytes at least.
    smallest = {"ascii": 2 * count - 1, "binary": needed, "binary_compressed": 8}.get(kind)
    if smallest is None:
        raise ValueError(f"PCD data {kind!r}")
    if smallest > left or needed > MAX_CLOUD_BYTES:
        raise ValueError(f"{count:,} points of {needed:,} bytes in {left:,} bytes")
    if kind == "ascii":
        rows = _ascii_rows(file.read(), dtype, count)
    elif kind == "binary":
        rows = np.frombuffer(file.read(needed), dtype)
    else:
        rows = _columns(_decompressed(file.read(), needed), dtype, count)
    return cloud_of_fields(_fields(rows))


def _read_header(file: IO[bytes]) -> dict[str, list[str]]:
    """Return {key: values} up to and with DATA; `file` is at the data afterwards."""
    header: dict[str, list[str]] = {}
    left = MAX_HEADER_BYTES
    while left > 0 and "DATA" not in header:
        line = file.readline(left)
        left = left - len(line) if line else 0
        words = line.decode("ascii", "replace").split()
        if words and words[0] in (*_KEYS, "DATA"):
            header[words[0]] = words[1:]
        elif words and not words[0].startswith("#"):
            raise ValueError(f"PCD header line {line[:60]!r}")
    missing = [key for key in ("FIELDS", "SIZE", "TYPE", "DATA") if not header.get(key)]
    if missing:
        raise ValueError(f"a PCD header without {', '.join(missing)}")
    return header


def _row_type(header: dict[str, list[str]]) -> np.dtype:
    """Return the type of one point; `_` is padding and may repeat."""
    names = header["FIELDS"]
    columns = [names, header["TYPE"], header["SIZE"], header.get("COUNT", ["1"] * len(names))]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"PCD fields, types, sizes and counts that disagree: {columns}")
    parts = []
    for place, (name, kind, size, count) in enumerate(zip(*columns)):
        if kind not in _KINDS or size not in ("1", "2", "4", "8") or not 0 < int(count) <= 4096:
            raise ValueError(f"PCD field {name} of type {kind}, size {size}, count {count}")
        shape = (int(count),) if int(count) > 1 else ()
        unique = f"_{place}" if name == "_" else name
        parts.append((unique, f"<{_KINDS[kind]}{size}", shape))
    return np.dtype(parts)


def _count(header: dict[str, list[str]]) -> int:
    """Return the number of points that POINTS, and WIDTH times HEIGHT, agree on."""
    size = [int(header[key][0]) for key in ("WIDTH", "HEIGHT") if header.get(key)]
    given = {int(header["POINTS"][0])} if header.get("POINTS") else set()
    given |= {size[0] * size[1]} if len(size) == 2 else set()
    if len(given) != 1 or min(given) < 0:
        raise ValueError(f"PCD points {sorted(given)}")
    return given.pop()


def _ascii_rows(content: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """Return points written in lines."""
    lines = [line for line in content.decode("ascii").splitlines() if line.strip()]
    if len(lines) != count:
        raise ValueError(f"{count:,} points declared, {len(lines):,} lines")
    if not count:
        return np.empty(0, dtype)
    table, names = numbers(lines, None), dtype.names or ()
    widths = [int(np.prod(dtype[name].shape, dtype=int)) for name in names]
    if sum(widths) != table.shape[1]:
        raise ValueError(f"{table.shape[1]} values a line, {sum(widths)} in the header")
    rows, place = np.empty(count, dtype), 0
    for name, width in zip(names, widths):
        columns = table[:, place : place + width].reshape(rows[name].shape)
        rows[name] = typed(columns, dtype[name].base, name)
        place += width
    return rows


def _columns(content: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """Return points stored field by field, as in binary_compressed."""
    rows, place = np.empty(count, dtype), 0
    for name in dtype.names or ():
        end = place + count * dtype[name].itemsize
        column = np.frombuffer(content[place:end], dtype[name].base)
        rows[name] = column.reshape(rows[name].shape)
        place = end
    return rows


def _fields(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return {field: values}, the packed colour as three columns, without padding."""
    fields = {name: rows[name] for name in rows.dtype.names or () if not name.startswith("_")}
    for name in ("rgb", "rgba"):
        if name in fields and fields[name].dtype.itemsize == 4 and fields[name].ndim == 1:
            packed = fields[name].view("<u4")
            shifts = np.array([16, 8, 0], np.uint32)
            fields[name] = (packed[:, None] >> shifts & 255).astype(np.uint8)  # [N,3]
    return fields


def _decompressed(content: bytes, needed: int) -> bytes:
    """Return LZF data: two sizes of 4 bytes, then the compressed bytes."""
    packed, unpacked = np.frombuffer(content[:8], "<u4").tolist()
    if unpacked != needed or packed > len(content) - 8 or unpacked > MAX_RATIO * packed:
        given = f"{packed:,} compressed bytes for {unpacked:,}"
        raise ValueError(f"{given}; {needed:,} declared, {len(content) - 8:,} in the file")
    data = _lzf(content[8 : 8 + packed], unpacked)
    if len(data) != unpacked:
        raise ValueError("damaged LZF data")
    return data


def _lzf(source: bytes, size: int) -> bytes:
    """Decompress LZF, to little more than `size` bytes where the data are damaged.

    Raises:
        IndexError, ValueError: damaged data.
    """
    target, place = bytearray(), 0
    while place < len(source) and len(target) < size:
        control = source[place]
        place += 1
        if control < 32:  # so many bytes as they are, and one
            target += source[place : place + control + 1]
            place += control + 1
            continue
        length = (control >> 5) + 2  # bytes that were written before, perhaps repeated
        if length == 9:
            length += source[place]
            place += 1
        start = len(target) - ((control & 31) << 8) - source[place] - 1
        place += 1
        if start < 0:
            raise ValueError("damaged LZF data")
        earlier = target[start : start + length]
        target += (earlier * (length // len(earlier) + 1))[:length]
    return bytes(target)
