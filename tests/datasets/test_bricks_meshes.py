"""Meshes: sampling, orientation, geometry hash."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts import bricks_meshes as meshes


@pytest.fixture(scope="module")
def brick_2x4() -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of part 3001."""
    with meshes.open_category(meshes.package_folder(), "Brick") as archive:
        return meshes.decode_mesh(archive, "3001")


def test_cloud_fills_the_unit_sphere_and_depends_on_id_and_seed(brick_2x4) -> None:
    cloud, radius = meshes.sample_cloud(*brick_2x4, 512, 0, "3001")
    assert np.linalg.norm(cloud, axis=1).max() == pytest.approx(1.0)
    np.testing.assert_allclose(cloud.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(cloud, meshes.sample_cloud(*brick_2x4, 512, 0, "3001")[0])
    assert not np.array_equal(cloud, meshes.sample_cloud(*brick_2x4, 512, 1, "3001")[0])
    assert not np.array_equal(cloud, meshes.sample_cloud(*brick_2x4, 512, 0, "3002")[0])
    # A brick 2 x 4 in studs; walls stay a little inside their grid.
    np.testing.assert_allclose(np.sort(np.ptp(cloud, axis=0) * radius)[1:], [2, 4], atol=0.1)


def test_studs_point_to_plus_y(brick_2x4) -> None:
    cloud, _ = meshes.sample_cloud(*brick_2x4, 20_000, 0, "3001")
    top, bottom = cloud[:, 1].max(), cloud[:, 1].min()
    height = top - bottom
    near_top = cloud[cloud[:, 1] > top - 0.02 * height]
    near_bottom = cloud[cloud[:, 1] < bottom + 0.02 * height]
    # The studs stay inside the walls; the rim at the bottom reaches to the outer faces.
    assert np.ptp(near_top[:, 0]) < 0.97 * np.ptp(near_bottom[:, 0])


def test_geometry_hash_ignores_order_and_position(brick_2x4) -> None:
    vertices, _ = brick_2x4
    shuffled = np.random.default_rng(0).permutation(vertices)
    assert meshes.geometry_hash(shuffled) == meshes.geometry_hash(vertices)
    assert meshes.geometry_hash(vertices * 1.1) != meshes.geometry_hash(vertices)


def test_unknown_part_is_named() -> None:
    with (
        meshes.open_category(meshes.package_folder(), "Brick") as archive,
        pytest.raises(DataError, match="no-such-part"),
    ):
        meshes.decode_mesh(archive, "no-such-part")
