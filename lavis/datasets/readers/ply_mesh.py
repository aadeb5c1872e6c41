"""Read .ply meshes: faces of any size as triangles, their colours and texture coordinates.

Textures are named by a comment `TextureFile <name>`, with coordinates `s t` (or `u v`) per vertex,
or `texcoord` lists per face as MeshLab writes them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import IO

import numpy as np

from lavis.datasets.readers.ply import BYTE_ORDERS, Element, Header, read_header, read_vertices

_INDEX_NAMES = ("vertex_indices", "vertex_index")
_CORNER_UV = "texcoord"
_TEXTURE = "TextureFile"

Row = dict[str, np.ndarray]  # of one face: lists, and single values as arrays of one


@dataclass(frozen=True)
class PlyMesh:
    """A mesh of triangles.

    Attributes:
        vertices: {property: values [V]}.
        faces: int64 [F,3].
        face_rgb: uint8 or float [F,3] as in the file, None without.
        corner_uv: float64 [F,3,2] of each triangle's corners, None without.
        texture: file name of the texture, "" without.
    """

    vertices: dict[str, np.ndarray]
    faces: np.ndarray
    face_rgb: np.ndarray | None
    corner_uv: np.ndarray | None
    texture: str


def mesh_of_ply(file: IO[bytes], size: int) -> PlyMesh | None:
    """Return the mesh of an open .ply file, None where it has no faces.

    Raises:
        ValueError: a damaged or cut file, or faces that name absent vertices.
    """
    header = read_header(file)
    if not header.num_faces:
        return None
    start = file.tell()
    vertices = read_vertices(file, size, header)
    if header.encoding == "ascii":
        file.seek(start)
        rows = _ascii_faces(file, header)
    else:
        rows = _binary_faces(file, header)
    count = len(next(iter(vertices.values())))
    texture = next((c for c in header.comments if c.startswith(_TEXTURE)), "")
    return _triangles(vertices, count, rows, texture.removeprefix(_TEXTURE).strip())


def _face_element(header: Header) -> tuple[list[Element], Element]:
    """Return the elements between the vertices and the faces, and the faces."""
    names = [element.name for element in header.elements]
    first, last = names.index("vertex"), names.index("face")
    between = header.elements[first + 1 : last]
    if last < first or any(element.lists for element in between):
        raise ValueError(f"PLY elements in the order {', '.join(names)}")
    return between, header.elements[last]


def _ascii_faces(file: IO[bytes], header: Header) -> list[Row]:
    """Return the faces of a text; `file` is at the data."""
    _, face = _face_element(header)
    lines = [line for line in file.read().splitlines() if line.strip()]
    place = header.elements.index(face)
    start = sum(element.count for element in header.elements[:place])
    lines = lines[start : start + face.count]
    if len(lines) < face.count:
        raise ValueError(f"{face.count:,} faces in {len(lines):,} lines")
    return [_ascii_row(line, face) for line in lines]


def _ascii_row(line: bytes, face: Element) -> Row:
    values, place, row = np.array(line.split(), np.float64), 0, {}
    for name, kind in face.properties:
        length = 1
        if name in face.lists:
            length, place = int(values[place]), place + 1
        with np.errstate(invalid="ignore"):
            row[name] = values[place : place + length].astype(kind)
        if len(row[name]) != length or length < 0:
            raise ValueError(f"a face line that is cut: {line[:60]!r}")
        place += length
    return row


def _binary_faces(file: IO[bytes], header: Header) -> list[Row]:
    """Return the faces of a binary file, which is behind its vertices."""
    order = BYTE_ORDERS[header.encoding]
    between, face = _face_element(header)
    for element in between:
        file.seek(element.count * sum(np.dtype(t).itemsize for _, t in element.properties), 1)
    content = file.read()
    uniform = _uniform_faces(content, face, order)
    return _ragged_faces(content, face, order) if uniform is None else uniform


def _uniform_faces(content: bytes, face: Element, order: str) -> list[Row] | None:
    """Return faces whose lists are as long as the first one's, as one row of arrays [F,k]; or None.

    Nearly all meshes have triangles only: one `frombuffer` instead of a loop over faces.
    """
    first, _ = _binary_row(content, 0, face, order)
    parts: list[tuple] = []
    for name, kind in face.properties:
        if name in face.lists:
            parts.append((f"{name} length", order + face.lists[name]))
        parts.append((name, order + kind, (len(first[name]),)))
    dtype = np.dtype(parts)
    if face.count * dtype.itemsize > len(content):
        return None
    table = np.frombuffer(content, dtype, face.count)
    if any((table[f"{name} length"] != len(first[name])).any() for name in face.lists):
        return None
    return [{name: table[name] for name, _ in face.properties}]


def _ragged_faces(content: bytes, face: Element, order: str) -> list[Row]:
    place, rows = 0, []
    for _ in range(face.count):
        row, place = _binary_row(content, place, face, order)
        rows.append(row)
    return rows


def _binary_row(content: bytes, place: int, face: Element, order: str) -> tuple[Row, int]:
    """Return a face and where the next one begins."""
    row = {}
    for name, kind in face.properties:
        length = 1
        if name in face.lists:
            prefix = np.dtype(order + face.lists[name])
            length = int(_values(content, place, prefix, 1)[0])
            place += prefix.itemsize
        dtype = np.dtype(order + kind)
        row[name] = _values(content, place, dtype, length)
        place += length * dtype.itemsize
    return row, place


def _values(content: bytes, place: int, dtype: np.dtype, count: int) -> np.ndarray:
    if not 0 <= count * dtype.itemsize <= len(content) - place:
        raise ValueError("faces that are cut")
    return np.frombuffer(content, dtype, count, place)


def _triangles(
    vertices: dict[str, np.ndarray], count: int, rows: list[Row], texture: str
) -> PlyMesh:
    """Divide faces of k corners into k - 2 triangles about their first corner."""
    index = next((name for name in _INDEX_NAMES if name in rows[0]), None)
    if index is None:
        raise ValueError(f"PLY faces with {', '.join(rows[0])}, no {_INDEX_NAMES[0]}")
    faces, colors, places = [], [], []
    for table in _by_size(rows, index):
        corners = table[index].astype(np.int64)  # [F,k]
        fan = np.stack([np.array([0, i, i + 1]) for i in range(1, corners.shape[1] - 1)])  # [k-2,3]
        faces.append(corners[:, fan].reshape(-1, 3))
        if {"red", "green", "blue"} <= set(table):
            rgb = np.concatenate([table[name] for name in ("red", "green", "blue")], axis=1)
            colors.append(np.repeat(rgb, len(fan), axis=0))
        if table.get(_CORNER_UV, corners[:, :0]).shape[1] == 2 * corners.shape[1]:
            uv = table[_CORNER_UV].reshape(*corners.shape, 2).astype(np.float64)
            places.append(uv[:, fan].reshape(-1, 3, 2))
    joined = np.concatenate(faces) if faces else np.empty((0, 3), np.int64)
    if len(joined) and (joined.min() < 0 or joined.max() >= count):
        raise ValueError(f"faces of vertices {joined.min()} to {joined.max()}; there are {count:,}")
    return PlyMesh(vertices, joined, _whole(colors, joined), _whole(places, joined), texture)


def _whole(parts: list[np.ndarray], faces: np.ndarray) -> np.ndarray | None:
    """Return values of every triangle, None where some have none."""
    joined = np.concatenate(parts) if parts else None
    return joined if joined is not None and len(joined) == len(faces) else None


def _by_size(rows: list[Row], index: str) -> list[Row]:
    """Return tables {name: [F,k]} of the faces with k corners each, k at least 3."""
    if rows[0][index].ndim == 2:  # `_uniform_faces`
        return rows if rows[0][index].shape[1] >= 3 else []
    grouped: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if len(row[index]) >= 3:
            grouped[tuple(map(len, row.values()))].append(row)
    return [
        {name: np.stack([row[name] for row in same]) for name in same[0]}
        for same in grouped.values()
    ]
