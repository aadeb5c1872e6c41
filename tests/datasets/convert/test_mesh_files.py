"""Meshes of every format: colours, cut files, textures elsewhere, sizes beyond the limits."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lavis.datasets.convert import mesh_checks, mesh_files
from lavis.datasets.convert.mesh import Mesh, joined, paint_points
from lavis.datasets.convert.mesh_files import read_mesh
from lavis.datasets.surface import sample_surface

QUAD = "v 0 0 0\nv 2 0 0\nv 2 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def colors_of(mesh: Mesh) -> tuple[np.ndarray, np.ndarray | None]:
    """Return points on a mesh and their colours."""
    points = sample_surface(*joined(mesh.parts), 400, np.random.default_rng(0))
    return points.xyz, paint_points(mesh.parts, points, 0.4)


def is_half_red_half_green(mesh: Mesh) -> bool:
    xyz, rgb = colors_of(mesh)
    sure = abs(xyz[:, 0] - 1) > 0.01
    expected = np.where(xyz[:, :1] < 1, [1.0, 0, 0], [0, 1.0, 0])
    return rgb is not None and np.allclose(rgb[sure], expected[sure])


@pytest.mark.parametrize("suffix", ["obj", "glb", "gltf", "ply"])
def test_textures_are_read_from_every_format(tmp_path: Path, write_textured, suffix: str) -> None:
    write_textured(tmp_path, "square")
    path = tmp_path / f"square.{suffix}"
    if suffix == "ply":
        scene = trimesh.load(tmp_path / "square.obj", process=False)
        content = scene.export(file_type="ply")
        path.write_bytes(content.replace(b"comment", b"comment TextureFile paint.png\ncomment", 1))
    elif suffix == "glb":
        trimesh.load_scene(tmp_path / "square.obj", process=False).export(path)
    elif suffix == "gltf":
        files = trimesh.load_scene(tmp_path / "square.obj", process=False).export(file_type="gltf")
        for name, content in files.items():
            (tmp_path / (f"square.{suffix}" if name == "model.gltf" else name)).write_bytes(content)
    mesh = read_mesh(path, tmp_path)
    assert is_half_red_half_green(mesh)
    assert mesh.notes == {}


def test_a_ply_with_texture_coordinates_per_corner(tmp_path: Path, write_textured) -> None:
    write_textured(tmp_path, "square")
    head = "ply\nformat ascii 1.0\ncomment TextureFile paint.png\nelement vertex 4\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += "element face 1\nproperty list uchar int vertex_indices\n"
    head += "property list uchar float texcoord\nend_header\n"
    rows = "0 0 0\n2 0 0\n2 1 0\n0 1 0\n4 0 1 2 3 8 0 0 1 0 1 1 0 1\n"
    (tmp_path / "a.ply").write_text(head + rows)
    assert is_half_red_half_green(read_mesh(tmp_path / "a.ply", tmp_path))


@pytest.mark.parametrize("suffix", ["glb", "ply", "obj"])
def test_colours_of_vertices_are_read(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.tile([10, 200, 30, 255], (8, 1))
    box.export(tmp_path / f"a.{suffix}")
    _, rgb = colors_of(read_mesh(tmp_path / f"a.{suffix}", tmp_path))
    np.testing.assert_allclose(rgb, np.broadcast_to([10, 200, 30], rgb.shape) / 255, atol=0.01)


def test_materials_colour_their_parts(tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_text("newmtl x\nKd 1 0 0\nnewmtl y\nKd 0 0 1\n")
    faces = "usemtl x\nf 1 2 3\nusemtl y\nf 1 3 4\n"
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{QUAD}{faces}")
    xyz, rgb = colors_of(read_mesh(tmp_path / "a.obj", tmp_path))
    lower = xyz[:, 1] < xyz[:, 0] / 2
    assert (rgb[lower] == [1, 0, 0]).all()
    assert (rgb[~lower] == [0, 0, 1]).all()


def test_base_colour_and_texture_of_gltf_are_multiplied(tmp_path: Path, make_png) -> None:
    box = trimesh.creation.box()
    image = Image.open(io.BytesIO(make_png((200, 100, 50))))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=image, baseColorFactor=[255, 128, 0, 255]
    )
    box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), material=material)
    box.export(tmp_path / "a.glb")
    _, rgb = colors_of(read_mesh(tmp_path / "a.glb", tmp_path))
    np.testing.assert_allclose(rgb[0], [200 / 255, 100 / 255 * 128 / 255, 0], atol=0.01)


@pytest.mark.parametrize(
    "text",
    [
        QUAD + "f 1/1 2/2 3/3 4/4\n",
        QUAD + "f 1 2 3 4\n",
        f"mtllib no.mtl\n{QUAD}usemtl x\nf 1 2 3\n",
    ],
)
def test_an_obj_without_material_has_no_colour(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.obj").write_text(text)
    mesh = read_mesh(tmp_path / "a.obj", tmp_path)
    assert colors_of(mesh)[1] is None
    assert ("missing files" in mesh.notes) == ("mtllib" in text)


def test_instances_of_a_scene_are_placed(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for place in (0, 10):
        scene.add_geometry(
            trimesh.creation.box(),
            transform=trimesh.transformations.translation_matrix([place, 0, 0]),
        )
    scene.export(tmp_path / "a.glb")
    vertices, faces = joined(read_mesh(tmp_path / "a.glb", tmp_path).parts)
    assert np.ptp(vertices, axis=0) == pytest.approx([11, 1, 1])
    assert len(faces) == 24


@pytest.mark.parametrize("texture", ["../secret.png", "/etc/hostname", "link.png", "a\0b.png"])
def test_a_texture_outside_the_folder_is_not_read(
    tmp_path: Path, write_textured, make_png, texture: str
) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(make_png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    write_textured(root, "square", texture)
    mesh = read_mesh(root / "square.obj", root)
    assert colors_of(mesh)[1] is None or (colors_of(mesh)[1] == 0).all()  # Kd alone
    assert "1 files of the mesh are not read" in mesh.notes["missing files"]


@pytest.mark.parametrize(
    ("texture", "place"),
    [
        ("..\\paint.png", "paint.png"),
        ("../my%20maps/paint.png", "my maps/paint.png"),
        ("PAINT.PNG", "models/paint.png"),
        ("C:\\Users\\x\\paint.png", "models/paint.png"),
        ("/home/x/paint.png", "models/paint.png"),
    ],
)
def test_names_as_exporters_write_them_are_found(
    tmp_path: Path, write_textured, texture: str, place: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "my maps").mkdir()
    write_textured(tmp_path / "models", "square", texture)
    (tmp_path / "models" / "paint.png").rename(tmp_path / place)
    assert is_half_red_half_green(read_mesh(tmp_path / "models" / "square.obj", tmp_path))


@pytest.mark.parametrize("damage", ["cut", "text", "huge"])
def test_a_damaged_or_huge_texture_is_named(
    tmp_path: Path, write_textured, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    write_textured(tmp_path, "square")
    path = tmp_path / "paint.png"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "text":
        path.write_text("<html>not found</html>")
    else:
        monkeypatch.setattr(mesh_files, "MAX_TEXTURE_PIXELS", 63)
    mesh = read_mesh(tmp_path / "square.obj", tmp_path)
    assert mesh.notes
    colors_of(mesh)


def gltf(**changes) -> dict:
    """A valid glTF of a box, as JSON, with its buffer inside."""
    import base64

    files = trimesh.Scene(trimesh.creation.box()).export(file_type="gltf")
    header = json.loads(files["model.gltf"])
    for buffer in header["buffers"]:
        content = base64.b64encode(files[buffer["uri"]]).decode()
        buffer["uri"] = f"data:application/octet-stream;base64,{content}"
    return header


def test_a_gltf_with_its_buffer_inside_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.gltf").write_text(json.dumps(gltf()))
    assert len(joined(read_mesh(tmp_path / "a.gltf", tmp_path).parts)[1]) == 12


def bomb_accessor(header: dict) -> None:
    header["accessors"][0].pop("bufferView")
    header["accessors"][0]["count"] = 10**12


def bomb_primitives(header: dict) -> None:
    header["meshes"][0]["primitives"] *= 100


def bomb_nodes(header: dict) -> None:
    header["nodes"] = [{"mesh": 0}] * 100


def bomb_stride(header: dict) -> None:
    header["bufferViews"][0]["byteStride"] = -4


def bomb_count(header: dict) -> None:
    header["accessors"][0]["count"] = -1


def buffer_elsewhere(header: dict) -> None:
    header["buffers"][0]["uri"] = "../secret.bin"


def buffer_of_the_network(header: dict) -> None:
    header["buffers"][0]["uri"] = "http://localhost:1/secret.bin"


def no_meshes(header: dict) -> None:
    header.pop("meshes")


def cycle(header: dict) -> None:
    header["nodes"] = [{"mesh": 0, "children": [1]}, {"mesh": 0, "children": [0]}]


@pytest.mark.parametrize(
    "change",
    [bomb_accessor, bomb_stride, bomb_count, buffer_elsewhere, buffer_of_the_network, no_meshes],
)
def test_a_gltf_that_asks_for_too_much_is_refused(tmp_path: Path, change: Callable) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    header = gltf()
    change(header)
    (root / "a.gltf").write_text(json.dumps(header))
    with pytest.raises((ValueError, OSError)):
        read_mesh(root / "a.gltf", root)


@pytest.mark.parametrize("change", [bomb_primitives, bomb_nodes])
def test_copies_of_a_mesh_are_counted_before_they_are_made(monkeypatch, change: Callable) -> None:
    monkeypatch.setattr(mesh_checks, "MAX_MESH_BYTES", 10_000)
    mesh_checks.check_mesh(json.dumps(gltf()).encode(), "gltf")
    header = gltf()
    change(header)
    with pytest.raises(ValueError, match="more than"):
        mesh_checks.check_mesh(json.dumps(header).encode(), "gltf")


def test_nodes_in_a_cycle_end(tmp_path: Path) -> None:
    header = gltf()
    cycle(header)
    (tmp_path / "a.gltf").write_text(json.dumps(header))
    with contextlib.suppress(Exception):
        read_mesh(tmp_path / "a.gltf", tmp_path)


@pytest.mark.parametrize("kind", ["glb", "ply", "stl", "stl_ascii", "off", "obj"])
def test_cut_files_are_refused(tmp_path: Path, kind: str) -> None:
    content = trimesh.creation.icosphere(1).export(file_type=kind)
    content = content.encode() if isinstance(content, str) else content
    path = tmp_path / f"a.{kind.split('_')[0]}"
    path.write_bytes(content)
    assert len(joined(read_mesh(path, tmp_path).parts)[1]) == 80
    # The last face of a text ends one number and a newline before its end.
    places = (0, 10, len(content) // 3, len(content) // 2, len(content) - 5)
    places = places[:-2] if kind == "obj" else places  # whole lines of faces may be missing there
    for place in places:
        path.write_bytes(content[:place])
        with pytest.raises(Exception):  # noqa: B017 - any kind: `convert_file` names them all
            joined(read_mesh(path, tmp_path).parts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        ("a.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2"),
        ("a.obj", b"\0" * 100),
        ("a.stl", b"solid a\nendsolid a\n"),
        ("a.stl", b"\0" * 84),
        ("a.stl", b"\0" * 80 + struct.pack("<I", 2**31) + bytes(50)),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n"),
        ("a.off", b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n"),
        ("a.off", b"OFF\n99999999999 1 0\n0 0 0\n"),
        ("a.glb", b"glTF\x02\0\0\0\xff\xff\xff\xff"),
        ("a.glb", b"<html>" * 10),
        ("a.gltf", b"{}"),
        ("a.gltf", b"[" * 100_000),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Exception):  # noqa: B017
        sample_surface(
            *joined(read_mesh(tmp_path / name, tmp_path).parts), 9, np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    "line", [b"OFF\n4 2 0\n", b"OFF4 2 0\n", b"OFF 4 2 0\n", b"# a\nOFF\n\n4 2 0\n"]
)
def test_heads_of_off_in_use_are_read(tmp_path: Path, line: bytes) -> None:
    faces = b"3 0 1 2\n3 0 2 3\n"
    (tmp_path / "a.off").write_bytes(line + b"0 0 0\n1 0 0\n1 1 0\n0 1 0\n" + faces)
    assert len(joined(read_mesh(tmp_path / "a.off", tmp_path).parts)[1]) == 2


def test_texts_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_bytes("# Möbel\n".encode("latin-1") + f"{QUAD}f 1 2 3 4\n".encode())
    assert len(joined(read_mesh(tmp_path / "a.obj", tmp_path).parts)[1]) == 2


def test_a_ply_of_points_is_left_to_the_reader_of_clouds(tmp_path: Path) -> None:
    trimesh.PointCloud(np.random.default_rng(0).random((9, 3))).export(tmp_path / "a.ply")
    assert read_mesh(tmp_path / "a.ply", tmp_path) is None
