"""Chamfer distances equal those of two k-d trees."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lavis.evaluation.baselines.chamfer import chamfer_distances


@pytest.mark.parametrize(("points", "others"), [(1, 1), (7, 5), (64, 64)])
def test_distances_equal_those_of_trees(points: int, others: int) -> None:
    rng = np.random.default_rng(points)
    cloud, known = rng.random((points, 3)) * 5, rng.random((6, others, 3)) * 5
    wanted = [
        (cKDTree(other).query(cloud)[0].mean() + cKDTree(cloud).query(other)[0].mean()) / 2
        for other in known
    ]
    np.testing.assert_allclose(chamfer_distances(cloud, known), wanted, rtol=1e-5)


def test_a_cloud_has_no_distance_from_itself() -> None:
    cloud = np.random.default_rng(0).random((50, 3))
    assert chamfer_distances(cloud, cloud[None, ::-1]).tolist() == [0.0]
