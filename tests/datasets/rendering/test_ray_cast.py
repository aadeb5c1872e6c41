"""Projection and back-projection agree, and frames are those of known bodies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ConfigError, DataError
from lavis.datasets.rendering.cameras import look_at, ring
from lavis.datasets.rendering.ray_cast import AMBIENT, Mesh, RayCaster


def sphere(radius: float = 1.0, steps: int = 48) -> np.ndarray:
    """Triangles [F,3,3] of a sphere about the origin."""
    across, down = np.linspace(0, 2 * np.pi, steps + 1), np.linspace(0, np.pi, steps // 2 + 1)

    def corner(i: int, j: int) -> list[float]:
        ring = np.sin(down[j])
        return [ring * np.sin(across[i]), np.cos(down[j]), ring * np.cos(across[i])]

    faces = []
    for i in range(steps):
        for j in range(steps // 2):
            a, b, c, d = corner(i, j), corner(i, j + 1), corner(i + 1, j + 1), corner(i + 1, j)
            faces += [[a, b, c], [a, c, d]]
    return radius * np.array(faces)


def square(z: float, size: float = 1.0) -> np.ndarray:
    a, b, c, d = ([x * size, y * size, z] for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)))
    return np.array([[a, b, c], [a, c, d]])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_point_appears_where_its_ray_goes(seed):
    rng = np.random.default_rng(seed)
    position, target = rng.normal(size=3) * 3, rng.normal(size=3)
    camera = look_at(position, target, field_of_view=rng.uniform(20, 90), width=64, height=48)
    pixels, depth = rng.uniform(0, 48, (20, 2)), rng.uniform(0.1, 10, 20)
    again, seen = camera.project(camera.back_project(pixels, depth))
    np.testing.assert_allclose(again, pixels, atol=1e-8)
    np.testing.assert_allclose(seen, depth, atol=1e-8)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)


@pytest.mark.parametrize("view", range(4))
def test_seen_points_lie_on_the_surface_and_project_into_their_pixel(view):
    camera = ring(4, size=96)[view]
    frame = RayCaster(Mesh(sphere(), np.array([0.8, 0.2, 0.1]))).render(camera)
    points, pixels = frame.points(camera)
    radii = np.linalg.norm(points, axis=1)
    assert 0.99 < radii.min() <= radii.max() < 1.001  # a polyhedron inside the sphere
    found, _ = camera.project(points)
    assert np.abs(found - (pixels + 0.5)).max() < 0.01  # of a pixel
    normals = frame.normal[pixels[:, 1], pixels[:, 0]]
    assert (normals * points).sum(1).min() > 0.99  # outwards
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_the_whole_unit_sphere_is_in_every_view():
    for camera in ring(6, size=64):
        frame = RayCaster(Mesh(sphere(), np.ones(3))).render(camera)
        border = np.concatenate(
            [frame.object_id[[0, -1]].ravel(), frame.object_id[:, [0, -1]].ravel()]
        )
        assert (border == -1).all()
        assert (frame.object_id == 0).mean() > 0.6


def test_the_nearest_surface_is_seen_with_its_depth_and_id():
    near, far = square(0.0, 0.5), square(-1.0, 2.0)
    ids = np.repeat([7, 9], 2)
    mesh = Mesh(np.concatenate([far, near]), np.ones(3), ids[::-1].copy())
    camera = look_at((0, 0, 3), width=32, height=32, field_of_view=60)
    frame = RayCaster(mesh).render(camera)
    assert frame.object_id[16, 16] == 7
    assert frame.depth[16, 16] == pytest.approx(3, abs=1e-5)
    assert frame.object_id[4, 4] == 9
    assert frame.depth[4, 4] == pytest.approx(4, abs=1e-5)
    np.testing.assert_allclose(frame.normal[16, 16], [0, 0, 1], atol=1e-6)


def test_nothing_is_white_and_infinitely_far():
    frame = RayCaster(Mesh(square(0.0, 0.01), np.zeros(3))).render(look_at((0, 0, 3)))
    assert (frame.rgb[0, 0] == 255).all()
    assert np.isinf(frame.depth[0, 0])
    assert frame.object_id[0, 0] == -1
    assert (frame.normal[0, 0] == 0).all()


def test_images_are_upright_and_not_mirrored():
    """A square up right of the middle is seen up right: small row, large column."""
    triangles = square(0.0, 0.2) + np.array([0.5, 0.5, 0.0])
    frame = RayCaster(Mesh(triangles, np.ones(3))).render(look_at((0, 0, 3)))
    rows, columns = np.nonzero(frame.object_id == 0)
    assert rows.mean() < 112 < columns.mean()


def test_colours_are_those_of_the_faces_and_windings_do_not_matter():
    colors = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    camera = look_at((0, 0, 3), width=32, height=32)
    frame = RayCaster(Mesh(square(0.0), colors)).render(camera)
    flipped = RayCaster(Mesh(square(0.0)[:, ::-1], colors)).render(camera)
    assert (frame.rgb == flipped.rgb).all()
    seen = frame.rgb[frame.object_id == 0]
    assert set(map(tuple, seen > 0)) == {(True, False, False), (False, False, True)}
    assert seen.max() >= 255 * AMBIENT


def test_bad_meshes_and_cameras_are_refused():
    for triangles in (np.zeros((0, 3, 3)), np.zeros((4, 3)), np.full((1, 3, 3), np.nan)):
        with pytest.raises(DataError, match="triangles with finite corners"):
            RayCaster(Mesh(triangles, np.ones(3)))
    with pytest.raises(ConfigError, match="line of sight"):
        look_at((0, 3, 0))
    with pytest.raises(ConfigError, match="target"):
        look_at((1, 1, 1), (1, 1, 1))
