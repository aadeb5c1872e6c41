"""The .glb of a cloud: what glTF readers see in it."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
import trimesh

from pointlang.app.glb import POINTS, SECONDS, cloud_glb


@pytest.fixture
def points() -> np.ndarray:
    """A red half and a blue half, [600,6]."""
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (600, 3))
    rgb = np.where(xyz[:, :1] > 0, (0.9, 0, 0), (0, 0, 0.9))
    return np.concatenate([xyz, rgb], axis=1).astype(np.float32)


def parts(content: bytes) -> tuple[dict, bytes]:
    """Return the description and the data of a .glb."""
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack("<I4s", content[12:20])
    assert kind == b"JSON"
    data_size, data_kind = struct.unpack("<I4s", content[20 + size : 28 + size])
    assert (data_kind, data_size) == (b"BIN\0", len(content) - 28 - size)
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def test_another_reader_finds_every_point_and_its_colour(points: np.ndarray) -> None:
    (mesh,) = trimesh.load(io.BytesIO(cloud_glb(points)), file_type="glb").geometry.values()
    corners = np.asarray(mesh.vertices).reshape(len(points), 6, 3)
    np.testing.assert_allclose(corners.mean(axis=1), points[:, :3], atol=1e-6)
    assert len(mesh.faces) == 8 * len(points)
    colors = np.asarray(mesh.visual.vertex_attributes["color"]).reshape(len(points), 6, 4)[:, 0]
    assert ((colors[:, 0] > colors[:, 2]) == (points[:, 0] > 0)).all()


def test_faces_point_outwards(points: np.ndarray) -> None:
    (mesh,) = trimesh.load(io.BytesIO(cloud_glb(points[:1])), file_type="glb").geometry.values()
    outwards = np.asarray(mesh.triangles_center) - points[0, :3]
    assert ((np.asarray(mesh.face_normals) * outwards).sum(axis=1) > 0).all()


def test_the_animation_is_a_whole_turn_about_the_upright_axis(points: np.ndarray) -> None:
    head, data = parts(cloud_glb(points))
    (animation,) = head["animations"]
    (channel,), (sampler,) = animation["channels"], animation["samplers"]
    assert channel["target"] == {"node": 0, "path": "rotation"}

    def read(number: int, columns: int) -> np.ndarray:
        view = head["bufferViews"][head["accessors"][number]["bufferView"]]
        start = view["byteOffset"]
        found = np.frombuffer(data[start : start + view["byteLength"]], "<f4")
        return found.reshape(-1, columns)

    times, turns = read(sampler["input"], 1)[:, 0], read(sampler["output"], 4)
    assert (times[0], times[-1]) == (0, SECONDS)
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-6)
    assert not turns[:, [0, 2]].any()
    angles = 2 * np.arctan2(turns[:, 1], turns[:, 3])
    np.testing.assert_allclose(np.diff(angles), np.pi / 2, atol=1e-6)


def test_large_clouds_are_thinned_evenly_and_stay_small() -> None:
    points = np.random.default_rng(0).random((50_000, 6), np.float32)
    content = cloud_glb(points)
    (mesh,) = trimesh.load(io.BytesIO(content), file_type="glb").geometry.values()
    assert POINTS // 2 < len(mesh.vertices) // 6 <= POINTS
    assert len(content) < 1_000_000
    assert content == cloud_glb(points)


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_clouds(points: np.ndarray, count: int) -> None:
    (mesh,) = trimesh.load(io.BytesIO(cloud_glb(points[:count])), file_type="glb").geometry.values()
    assert len(mesh.vertices) == 6 * count
    assert np.isfinite(mesh.vertices).all()
