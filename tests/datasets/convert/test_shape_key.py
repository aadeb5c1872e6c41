"""Equal shapes have equal keys whatever the format, the triangles and the size; others differ."""

from __future__ import annotations

import io

import numpy as np
import pytest
import trimesh

from lavis.datasets.convert.shape_key import cloud_key, color_key, size_key, surface_key
from lavis.datasets.surface import areas_and_middles


def key(mesh: trimesh.Trimesh) -> str:
    return key_of(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def key_of(vertices: np.ndarray, faces: np.ndarray) -> str:
    return surface_key(vertices, faces, *areas_and_middles(vertices, faces))


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("kind", ["ply", "obj", "off", "stl", "glb"])
def test_every_format_keeps_the_key(make_shape, number: int, kind: str) -> None:
    mesh = make_shape(number)
    content = mesh.export(file_type=kind)
    content = content.encode() if isinstance(content, str) else content
    again = trimesh.load(io.BytesIO(content), file_type=kind, force="mesh", process=False)
    assert key(again) == key(mesh)


def test_size_place_order_and_division_keep_the_key(make_shape) -> None:
    mesh, rng = make_shape(3), np.random.default_rng(0)
    assert key(mesh.subdivide()) == key(mesh)
    changed = mesh.copy()
    changed.apply_scale(7.5).apply_translation([1, -20, 3])
    order = rng.permutation(len(changed.vertices))
    faces = np.argsort(order)[changed.faces][rng.permutation(len(changed.faces))]
    assert key_of(np.asarray(changed.vertices)[order], faces) == key(mesh)


def test_other_shapes_have_other_keys(make_shape) -> None:
    keys = [key(make_shape(number)) for number in range(40)]
    assert len(set(keys)) == 40
    mesh = make_shape(3)
    moved = mesh.copy()
    moved.vertices[5] += 0.3
    turned = mesh.copy().apply_transform(trimesh.transformations.rotation_matrix(0.4, [1, 0, 0]))
    assert len({key(mesh), key(moved), key(turned)}) == 3


def test_a_handed_shape_differs_from_its_mirror_image() -> None:
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1.0]])
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    assert key_of(vertices, faces) != key_of(vertices * [-1, 1, 1], faces)


def test_keys_of_clouds_ignore_the_order_and_the_precision() -> None:
    xyz = np.random.default_rng(0).normal(size=(500, 3))
    assert cloud_key(xyz[::-1] * 3 + 5) == cloud_key(xyz)
    assert cloud_key(xyz.astype(np.float32).astype(float)) == cloud_key(xyz)
    assert cloud_key(np.random.default_rng(1).normal(size=(500, 3))) != cloud_key(xyz)


def test_keys_of_sizes_and_colours() -> None:
    assert size_key(np.array([1, 2, 3.0])) == size_key(np.array([1, 2, 3.000001]))
    assert size_key(np.array([1, 2, 3.0])) != size_key(np.array([1, 2, 3.3]))
    xyz, rgb = np.random.default_rng(0).random((2, 100, 3))
    assert color_key(xyz, None) == ""
    assert color_key(xyz, rgb) == color_key(xyz, rgb + 1e-4)
    assert len({color_key(xyz, rgb), color_key(xyz, rgb[:, ::-1]), color_key(xyz, 1 - rgb)}) == 3
    halves = (xyz[:, :1] > 0.5) * [1.0, 0, 0] + (xyz[:, :1] <= 0.5) * [0, 1.0, 0]
    assert color_key(xyz, halves) != color_key(xyz, np.broadcast_to(halves.mean(0), (100, 3)))
