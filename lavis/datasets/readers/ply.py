"""Read the vertices of .ply files: ASCII, and binary of either byte order.

trimesh reads PLY, too, but takes a cut ASCII file for a shorter one and refuses meshes whose faces
differ in size; here only the vertices are read, and their number has to be the declared one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from lavis.datasets.readers.cloud import Cloud, cloud_of_fields
from lavis.datasets.readers.text import numbers, typed

MAX_HEADER_BYTES = 2**16
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8"},
    **{"float32": "f4", "float64": "f8"},
}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass
class Element:
    """An element of the header: `count` rows of `properties` (name, type), in the file's order."""

    name: str
    count: int
    properties: list[tuple[str, str]] = field(default_factory=list)
    has_lists: bool = False


def cloud_of_ply(file: IO[bytes], size: int) -> Cloud:
    """Return the vertices of an open .ply file as points.

    Raises:
        ValueError: a damaged or cut file, or see `cloud_of_fields`.
    """
    encoding, elements = _read_header(file)
    before, vertex = _vertices(elements)
    if encoding == "ascii":
        rows = _ascii_rows(file, sum(element.count for element in before), vertex)
    elif encoding in _BYTE_ORDERS:
        rows = _binary_rows(file, size, _BYTE_ORDERS[encoding], before, vertex)
    else:
        raise ValueError(f"PLY format {encoding!r}")
    cloud = cloud_of_fields(rows)
    faces = sum(element.count for element in elements if element.name == "face")
    if not faces:
        return cloud
    note = f"a mesh: its {vertex.count:,} vertices are the points, its faces are not sampled"
    return Cloud(cloud.xyz, cloud.rgb, cloud.fields, cloud.notes | {"mesh": note})


def _read_header(file: IO[bytes]) -> tuple[str, list[Element]]:
    """Return the encoding and the elements; `file` is at the data afterwards."""
    encoding, elements = "", list[Element]()
    left = MAX_HEADER_BYTES
    while left > 0:
        line = file.readline(left)
        left -= len(line)
        words = line.decode("ascii", "replace").split()
        if not line or words == ["end_header"]:
            left = 0 if not line else -1
        elif words[:1] == ["format"] and len(words) >= 2:
            encoding = words[1]
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdecimal():
            elements.append(Element(words[1], int(words[2])))
        elif words[:1] == ["property"] and elements:
            _add_property(elements[-1], words)
        elif words and words[0] not in ("ply", "comment", "obj_info"):
            raise ValueError(f"PLY header line {line[:60]!r}")
    if left == 0:
        raise ValueError("a PLY header without end")
    return encoding, elements


def _add_property(element: Element, words: list[str]) -> None:
    if words[1:2] == ["list"]:
        element.has_lists = True
        return
    if len(words) != 3 or words[1] not in _TYPES:
        raise ValueError(f"PLY property {' '.join(words[1:])!r}")
    element.properties.append((words[2], _TYPES[words[1]]))


def _vertices(elements: list[Element]) -> tuple[list[Element], Element]:
    """Return the elements before the vertices, and the vertices."""
    names = [element.name for element in elements]
    if "vertex" not in names:
        raise ValueError(f"PLY elements {names}, no vertex")
    place = names.index("vertex")
    for element in elements[: place + 1]:
        properties = [name for name, _ in element.properties]
        if element.has_lists or len(set(properties)) < len(properties):
            raise ValueError(f"PLY element {element.name} with lists or repeated properties")
    return elements[:place], elements[place]


def _binary_rows(
    file: IO[bytes], size: int, order: str, before: list[Element], vertex: Element
) -> dict[str, np.ndarray]:
    """Return {property: values [N]} of binary vertices."""
    types = [np.dtype([(n, order + t) for n, t in e.properties]) for e in (*before, vertex)]
    skipped = sum(e.count * dtype.itemsize for e, dtype in zip(before, types))
    needed, left = vertex.count * types[-1].itemsize, size - file.tell() - skipped
    if needed > left:
        raise ValueError(f"{vertex.count:,} vertices of {needed:,} bytes in {max(left, 0):,} bytes")
    file.seek(skipped, io.SEEK_CUR)
    rows = np.frombuffer(file.read(needed), types[-1])
    return {name: rows[name].astype(np.dtype(kind)) for name, kind in vertex.properties}


def _ascii_rows(file: IO[bytes], skipped: int, vertex: Element) -> dict[str, np.ndarray]:
    """Return {property: values [N]} of vertices in lines."""
    lines = [line for line in file.read().decode("ascii").splitlines() if line.strip()]
    lines = lines[skipped : skipped + vertex.count]
    if len(lines) < vertex.count:
        raise ValueError(f"{vertex.count:,} vertices in {len(lines):,} lines")
    table = numbers(lines, None)
    if table.shape[1] != len(vertex.properties):
        raise ValueError(f"{table.shape[1]} values a line, {len(vertex.properties)} properties")
    return {n: typed(table[:, c], t, n) for c, (n, t) in enumerate(vertex.properties)}
