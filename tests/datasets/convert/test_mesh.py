"""Colours of points on meshes: textures, vertices, faces, materials, and parts without any."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.datasets.convert.mesh import Paint, Part, joined, look_up, paint_points
from lavis.datasets.surface import sample_surface

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
FACES = np.array([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [(0.1, 0.9, 0), (0.9, 0.9, 1), (0.1, 0.1, 2), (0.9, 0.1, 3), (1.1, -0.1, 0), (-0.9, 2.9, 0)],
)
def test_a_texture_begins_at_its_lower_left_corner_and_repeats(u, v, expected) -> None:
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, 2)
    assert look_up(image, np.array([[u, v]]))[0] == pytest.approx([expected / 255] * 3)


def test_places_that_are_no_numbers_give_some_colour() -> None:
    assert look_up(np.zeros((2, 2, 3), np.uint8), np.array([[np.nan, np.inf]])).shape == (1, 3)


def test_the_colours_of_a_part_are_multiplied() -> None:
    points = sample_surface(SQUARE, FACES, 50, np.random.default_rng(0))
    paint = Paint(
        vertex_rgb=SQUARE,  # red grows with x, green with y
        face_rgb=np.array([[1, 1, 1], [0.5, 1, 1]]),
        image=np.full((1, 1, 3), 255, np.uint8),
        uv=SQUARE[:, :2],
        base=np.array([1.0, 0.5, 1.0]),
    )
    rgb = paint.at(points, FACES)
    red = points.xyz[:, 0] * np.where(points.face == 1, 0.5, 1)
    np.testing.assert_allclose(rgb, np.stack([red, points.xyz[:, 1] / 2, 0 * red], 1), atol=1e-12)


def test_each_part_colours_its_own_points_and_parts_without_colour_are_grey() -> None:
    plain = Part(SQUARE + np.array([0, 0, 5]), FACES, Paint())
    painted = Part(SQUARE, FACES, Paint(base=np.array([1.0, 0, 0])))
    for parts in ([plain, painted], [painted, plain]):
        points = sample_surface(*joined(parts), 200, np.random.default_rng(0))
        rgb, is_plain = paint_points(parts, points, 0.4), points.xyz[:, 2] > 1
        assert (rgb[is_plain] == 0.4).all()
        assert (rgb[~is_plain] == [1, 0, 0]).all()
    points = sample_surface(*joined([plain]), 200, np.random.default_rng(0))
    assert paint_points([plain], points, 0.4) is None


def test_vertices_that_no_face_uses_do_not_count() -> None:
    stray = np.concatenate([SQUARE, [[np.nan, 0, 0], [99, 0, 0]]])
    vertices, faces = joined([Part(stray, FACES, Paint())])
    np.testing.assert_array_equal(vertices, SQUARE)
    np.testing.assert_array_equal(faces, FACES)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (SQUARE, np.empty((0, 3), int), "without faces"),
        (SQUARE + np.array([np.nan, 0, 0]), FACES, "4 of 4 vertices with NaN"),
        (np.full_like(SQUARE, np.inf), FACES, "NaN or infinity"),
    ],
)
def test_unusable_meshes_are_named(vertices, faces, message) -> None:
    with pytest.raises(ValueError, match=message):
        joined([Part(vertices, faces, Paint())])
