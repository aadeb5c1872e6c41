"""Read the vertices of .ply files: ASCII, and binary of either byte order.

trimesh reads PLY, too, but takes a cut ASCII file for a shorter one and refuses meshes whose faces
differ in size; here the number of vertices has to be the declared one. Faces: ply_mesh.py.
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
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass
class Element:
    """An element of the header: `count` rows of `properties` (name, type), in the file's order.

    Attributes:
        lists: {name: type of the lengths} of the properties that are lists.
    """

    name: str
    count: int
    properties: list[tuple[str, str]] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)


@dataclass
class Header:
    """Header of a .ply file."""

    encoding: str = ""
    elements: list[Element] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    @property
    def num_faces(self) -> int:
        """Declared number of faces."""
        return sum(element.count for element in self.elements if element.name == "face")


def cloud_of_ply(file: IO[bytes], size: int) -> Cloud:
    """Return the vertices of an open .ply file as points.

    Raises:
        ValueError: a damaged or cut file, or see `cloud_of_fields`.
    """
    header = read_header(file)
    cloud = cloud_of_fields(read_vertices(file, size, header))
    if not header.num_faces:
        return cloud
    note = f"a mesh: its {len(cloud.xyz):,} vertices are the points, its faces are not sampled"
    return Cloud(cloud.xyz, cloud.rgb, cloud.fields, cloud.notes | {"mesh": note})


def read_vertices(file: IO[bytes], size: int, header: Header) -> dict[str, np.ndarray]:
    """Return {property: values [N]} of the vertices; `file` is at the data.

    A binary file is behind the vertices afterwards, a text is read to its end.

    Raises:
        ValueError: a damaged or cut file.
    """
    before, vertex = _vertices(header.elements)
    if header.encoding == "ascii":
        return _ascii_rows(file, sum(element.count for element in before), vertex)
    if header.encoding in BYTE_ORDERS:
        return _binary_rows(file, size, BYTE_ORDERS[header.encoding], before, vertex)
    raise ValueError(f"PLY format {header.encoding!r}")


def read_header(file: IO[bytes]) -> Header:
    """Return the header; `file` is at the data afterwards.

    Raises:
        ValueError: not a header of PLY.
    """
    header, left = Header(), MAX_HEADER_BYTES
    while left > 0:
        line = file.readline(left)
        left -= len(line)
        words = line.decode("ascii", "replace").split()
        if not line or words == ["end_header"]:
            left = 0 if not line else -1
        elif words:
            _add_line(header, words, line)
    if left == 0:
        raise ValueError("a PLY header without end")
    return header


def _add_line(header: Header, words: list[str], line: bytes) -> None:
    if words[0] == "format" and len(words) >= 2:
        header.encoding = words[1]
    elif words[0] == "element" and len(words) == 3 and words[2].isdecimal():
        header.elements.append(Element(words[1], int(words[2])))
    elif words[0] == "property" and header.elements:
        _add_property(header.elements[-1], words)
    elif words[0] == "comment":
        header.comments.append(line.decode("utf-8", "replace").split(None, 1)[-1].strip())
    elif words[0] not in ("ply", "obj_info"):
        raise ValueError(f"PLY header line {line[:60]!r}")


def _add_property(element: Element, words: list[str]) -> None:
    types = words[2:4] if words[1:2] == ["list"] else words[1:2]
    if len(words) != len(types) + len(types) // 2 + 2 or not set(types) <= set(_TYPES):
        raise ValueError(f"PLY property {' '.join(words[1:])!r}")
    element.properties.append((words[-1], _TYPES[types[-1]]))
    if len(types) == 2:
        element.lists[words[-1]] = _TYPES[types[0]]


def _vertices(elements: list[Element]) -> tuple[list[Element], Element]:
    """Return the elements before the vertices, and the vertices."""
    names = [element.name for element in elements]
    if "vertex" not in names:
        raise ValueError(f"PLY elements {names}, no vertex")
    place = names.index("vertex")
    for element in elements[: place + 1]:
        names = [name for name, _ in element.properties]
        if element.lists or len(set(names)) < len(names):
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
