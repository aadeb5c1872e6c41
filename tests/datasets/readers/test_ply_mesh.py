"""Faces of .ply: triangles and larger ones, colours, texture coordinates, and cut files."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import trimesh

from lavis.datasets.readers.ply_mesh import PlyMesh, mesh_of_ply

CORNERS = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0), (1, 3, 0)]
POLYGONS = [(0, 1, 2, 3), (3, 2, 4), (0, 1), (0, 1, 2, 4, 3)]
TRIANGLES = {(0, 1, 2), (0, 2, 3), (3, 2, 4), (0, 2, 4), (0, 4, 3)}


def head(encoding: str, faces: int, *properties: str, comment: str = "by a test") -> str:
    lines = ["ply", f"format {encoding} 1.0", f"comment {comment}", "element vertex 5"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {faces}", "property list uchar int vertex_indices", *properties]
    return "\n".join([*lines, "end_header", ""])


def ascii_mesh(polygons=POLYGONS, further="", *properties: str, **options) -> bytes:
    rows = [" ".join(map(str, corner)) for corner in CORNERS]
    rows += [f"{len(p)} {' '.join(map(str, p))}{further}" for p in polygons]
    return (head("ascii", len(polygons), *properties, **options) + "\n".join(rows) + "\n").encode()


def binary_mesh(order: str, polygons=POLYGONS) -> bytes:
    name = "binary_little_endian" if order == "<" else "binary_big_endian"
    rows = [struct.pack(f"{order}3f", *corner) for corner in CORNERS]
    rows += [struct.pack(f"{order}B{len(p)}i", len(p), *p) for p in polygons]
    return head(name, len(polygons)).encode() + b"".join(rows)


def read(content: bytes) -> PlyMesh | None:
    return mesh_of_ply(io.BytesIO(content), len(content))


@pytest.mark.parametrize("content", [ascii_mesh(), binary_mesh("<"), binary_mesh(">")])
def test_faces_of_any_size_become_triangles(content) -> None:
    mesh = read(content)
    assert {tuple(face) for face in mesh.faces.tolist()} == TRIANGLES
    assert mesh.vertices["x"].tolist() == [0, 2, 2, 0, 1]
    assert mesh.face_rgb is None
    assert mesh.corner_uv is None


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_meshes_of_trimesh_are_equal(encoding) -> None:
    ball = trimesh.creation.icosphere(2)
    mesh = read(ball.export(file_type="ply", encoding=encoding))
    np.testing.assert_array_equal(mesh.faces, ball.faces)
    xyz = np.stack([mesh.vertices[axis] for axis in "xyz"], 1)
    np.testing.assert_allclose(xyz, ball.vertices, atol=1e-6)


def test_points_without_faces_are_no_mesh() -> None:
    assert read(ascii_mesh(())) is None


def test_colours_of_faces_follow_their_triangles() -> None:
    names = [f"property uchar {name}" for name in ("red", "green", "blue")]
    mesh = read(ascii_mesh([(0, 1, 2, 3), (3, 2, 4)], " 255 0 7", *names))
    assert mesh.face_rgb.tolist() == [[255, 0, 7]] * 3
    assert mesh.face_rgb.dtype == np.uint8


def test_texture_coordinates_of_corners_follow_their_triangles() -> None:
    uv = " 8 0 0 1 0 1 1 0 1"
    listed = "property list uchar float texcoord"
    mesh = read(ascii_mesh([(0, 1, 2, 3)], uv, listed, comment="TextureFile my skin.png"))
    assert mesh.texture == "my skin.png"
    assert mesh.corner_uv.tolist() == [[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]]


@pytest.mark.parametrize("content", [ascii_mesh(), binary_mesh("<"), binary_mesh(">")])
def test_cut_files_are_refused(content) -> None:
    for removed in (6, 20, 60):
        with pytest.raises(ValueError, match=r"cut|faces in|vertices"):
            read(content[:-removed])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ascii_mesh([(0, 1, 9)]), "faces of vertices 0 to 9"),
        (binary_mesh("<", [(0, 1, -2)]), "faces of vertices -2"),
        (ascii_mesh([(0, 1, 2)]).replace(b"vertex_indices", b"corners"), "no vertex_indices"),
        (binary_mesh("<").replace(b"face 4", b"face 4000000000"), "cut"),
    ],
)
def test_faces_that_cannot_be_are_refused(content, message) -> None:
    with pytest.raises(ValueError, match=message):
        read(content)


def test_changed_bytes_give_a_mesh_or_a_value_error() -> None:
    rng = np.random.default_rng(0)
    for content in (ascii_mesh(), binary_mesh("<"), binary_mesh("<", POLYGONS[:1] * 3)):
        for _ in range(150):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), 2):
                damaged[place] = int(rng.integers(256))
            try:
                mesh = read(bytes(damaged))
            except (ValueError, KeyError, OverflowError):
                continue
            assert mesh is None or len(mesh.faces) == 0 or mesh.faces.max() < 6
