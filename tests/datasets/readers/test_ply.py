"""PLY: ASCII and binary, other elements around the vertices, damage."""

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud

FACES = (
    b"\x03" + np.arange(3, dtype="<i4").tobytes() + b"\x04" + np.arange(4, dtype="<i4").tobytes()
)


def header(kind: str, count: int, before: str = "", after: str = "") -> str:
    names = "".join(f"property double {n}\n" for n in "xyz")
    names += "".join(f"property uchar {n}\n" for n in ("red", "green", "blue", "alpha"))
    start = f"ply\nformat {kind} 1.0\ncomment by a test\n{before}element vertex {count}\n"
    return f"{start}{names}property float quality\n{after}end_header\n"


def records(points, order: str = "<") -> bytes:
    kinds = [(n, order + "f8") for n in "xyz"] + [(n, "u1") for n in "rgba"]
    rows = np.zeros(len(points[0]), [*kinds, ("quality", order + "f4")])
    for place, name in enumerate("xyz"):
        rows[name] = points[0][:, place]
    for place, name in enumerate("rgb"):
        rows[name] = points[1][:, place]
    rows["quality"] = 7
    return rows.tobytes()


def lines(points) -> str:
    pairs = zip(points[0].tolist(), points[1].tolist())
    return (
        "\n".join(f"{x!r} {y!r} {z!r} {r} {g} {b} 255 7" for (x, y, z), (r, g, b) in pairs) + "\n"
    )


@pytest.mark.parametrize(("kind", "order"), [("little", "<"), ("big", ">")])
def test_binary_is_read_in_its_own_precision(points, write, assert_cloud, kind, order):
    content = header(f"binary_{kind}_endian", 40).encode() + records(points, order)
    cloud = read_cloud(write("a.ply", content))
    assert_cloud(cloud)
    assert (cloud.fields["quality"] == 7).all()
    assert "bytes" in cloud.notes


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ascii_is_read_in_its_own_precision(points, write, assert_cloud, newline):
    text = header("ascii", 40) + lines(points)
    assert_cloud(read_cloud(write("a.ply", text.replace("\n", newline))))


def test_the_vertices_of_a_mesh_with_mixed_faces_are_points(points, write, assert_cloud):
    face = "element face 2\nproperty list uchar int vertex_indices\n"
    content = header("binary_little_endian", 40, after=face).encode() + records(points) + FACES
    cloud = read_cloud(write("a.ply", content))
    assert_cloud(cloud)
    assert "vertices" in cloud.notes["mesh"]


def test_elements_before_the_vertices_are_skipped(points, write, assert_cloud):
    camera = "element camera 2\nproperty float view\n"
    little = header("binary_little_endian", 40, camera).encode() + bytes(8) + records(points)
    assert_cloud(read_cloud(write("a.ply", little)))
    assert_cloud(read_cloud(write("b.ply", header("ascii", 40, camera) + "1\n2\n" + lines(points))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:-9], "40 vertices"),
        (lambda c: c.replace(b"vertex 40", b"vertex 4000000000000000000"), "4,000,000,000"),
        (lambda c: c.replace(b"end_header\n", b""), "header"),
        (lambda c: c.replace(b"double x", b"complex x"), "complex"),
        (lambda c: c.replace(b"double x", b"double width"), "no coordinates"),
        (lambda c: c.replace(b"element vertex", b"element corner"), "no vertex"),
        (lambda c: c.replace(b"binary_little_endian", b"binary_middle_endian"), "middle"),
        (lambda c: c.replace(b"property double x", b"property list uchar int x"), "lists"),
        (lambda c: c.replace(b"property double y", b"property double x"), "repeated"),
        (lambda c: c.replace(b"vertex 40", b"vertex 0"), "no points"),
        (lambda c: c[:20], "header"),
    ],
)
def test_damage_is_named(points, write, change, message):
    content = header("binary_little_endian", 40).encode() + records(points)
    with pytest.raises(DataError, match=message):
        read_cloud(write("a.ply", change(content)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[: len(t) // 2], "vertices in|columns"),
        (lambda t: t.replace(" 255 7", " 255"), "properties"),
        (lambda t: t.replace(" 255 7", " 300 7"), "declared uint8"),
        (lambda t: t.replace(" 255 7", " red 7"), "red"),
    ],
)
def test_damaged_lines_are_named(points, write, change, message):
    with pytest.raises(DataError, match=message):
        read_cloud(write("a.ply", header("ascii", 40) + change(lines(points))))
