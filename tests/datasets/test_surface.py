"""Points on triangle meshes: uniform by area, and colours between the corners."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.surface import areas_and_middles, sample_surface


def test_samples_are_uniform_by_area() -> None:
    # Two triangles in the planes z=0 and z=1, areas 1:3.
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 1, 1]], float)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    points = sample_surface(vertices, faces, 20_000, np.random.default_rng(0)).xyz
    assert (points[:, 2] == 1).mean() == pytest.approx(0.75, abs=0.015)
    lower = points[points[:, 2] == 0]
    assert (lower[:, :2].sum(axis=1) <= 1 + 1e-12).all()
    np.testing.assert_allclose(lower[:, :2].mean(axis=0), [1 / 3, 1 / 3], atol=0.02)


def test_mesh_without_area_is_refused() -> None:
    flat = np.zeros((3, 3))
    with pytest.raises(DataError, match="no surface"):
        sample_surface(flat, np.array([[0, 1, 2]]), 8, np.random.default_rng(0))


def test_values_of_vertices_are_interpolated_where_the_points_are() -> None:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    drawn = sample_surface(vertices, faces, 100, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.interpolate(vertices, faces), drawn.xyz, atol=1e-12)


def test_triangles_without_area_are_never_drawn() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    faces = np.array([[0, 0, 1], [0, 1, 2], [2, 2, 2]])
    assert set(sample_surface(vertices, faces, 500, np.random.default_rng(0)).face) == {1}


def test_middles_and_areas_of_triangles() -> None:
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]], float)
    faces = np.array([[0, 1, 2], [0, 3, 1], [1, 1, 2]])
    area, middle = areas_and_middles(vertices, faces)
    np.testing.assert_allclose(middle, [[1, 1, 0], [1, 0, 1], [2, 1, 0]])
    np.testing.assert_allclose(area, [4.5, 4.5, 0])
