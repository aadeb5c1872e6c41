"""Near-duplicates: what counts as the same shape, and that none crosses splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lavis.datasets.download_scripts.bricks_groups import (
    POSES,
    Groups,
    group_names,
    links_of,
    masked_description,
    near_duplicates,
    similar_boxes,
)
from lavis.datasets.download_scripts.bricks_split import LEFT_OUT, read_frozen
from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks
from lavis.datasets.stores.packed_points import PackedPointWriter


def box_cloud(edges: tuple[float, float, float], seed: int, num_points: int = 2048) -> np.ndarray:
    """Sample the surface of a box uniformly: [P,3]."""
    rng = np.random.default_rng(seed)
    x, y, z = edges
    areas = np.array([y * z, x * z, x * y])
    points = rng.random((num_points, 3))
    axis = rng.choice(3, num_points, p=areas / areas.sum())
    points[np.arange(num_points), axis] = rng.integers(0, 2, num_points)
    return (points - 0.5) * edges


def packed(folder: Path, clouds: list[np.ndarray]) -> Path:
    """Write clouds in studs as a packed folder."""
    with PackedPointWriter(folder, len(clouds), len(clouds[0])) as writer:
        for row, cloud in enumerate(clouds):
            centred = cloud - cloud.mean(axis=0)
            radius = float(np.linalg.norm(centred, axis=1).max())
            writer.write(row, centred / radius, np.zeros(3, dtype=np.uint8), radius)
    return folder


def test_another_sample_and_another_pose_are_near_duplicates(tmp_path: Path) -> None:
    step = box_cloud((4, 2, 1), 0)
    step[:, 1] *= 1 + (step[:, 0] > 0)  # without symmetry
    other = box_cloud((4, 2, 1), 1)
    other[:, 1] *= 1 + (other[:, 0] > 0)
    turned = other @ POSES[1].T
    mirrored = other * np.array([-1, 1, 1])
    cube = box_cloud((2, 2, 2), 2)
    folder = packed(tmp_path, [step, other, turned, mirrored, cube])
    found = {frozenset(pair) for pair in near_duplicates(folder)}
    assert found == {frozenset(pair) for pair in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]}


def test_equal_shapes_of_other_size_are_not_duplicates(tmp_path: Path) -> None:
    folder = packed(tmp_path, [box_cloud((4, 2, 1), 0), box_cloud((8, 4, 2), 1)])
    assert near_duplicates(folder) == []


@pytest.mark.slow
def test_no_near_duplicates_cross_splits(tmp_path: Path) -> None:
    """On 1,200 real parts, sampled anew: other points than the frozen groups were made of."""
    folder = prepare_bricks(tmp_path / "bricks", seed=1, limit=1200, progress=False)
    split_of = {part: row.split for part, row in read_frozen().items()}
    ids = json.loads((folder / "object_ids.json").read_text(encoding="utf-8"))
    pairs = [(ids[a], ids[b]) for a, b in near_duplicates(folder, factor=1.25)]
    assert len(pairs) > 20
    crossing = [pair for pair in pairs if len({split_of[p] for p in pair} - {LEFT_OUT}) > 1]
    assert crossing == []


def test_poses_are_rotations_and_reflections() -> None:
    assert len(POSES) == 8
    for pose in POSES:
        assert np.allclose(pose @ pose.T, np.eye(3))
    assert len({pose.tobytes() for pose in POSES}) == 8
    assert sorted(np.linalg.det(POSES).round()) == [-1] * 4 + [1] * 4


def test_boxes_are_compared_up_to_a_quarter_turn() -> None:
    boxes = np.array([[4, 1, 2], [2, 1, 4], [2, 4, 1]], dtype=np.float32)
    assert [set(pair) for pair in similar_boxes(boxes)] == [{0, 1}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Plate 2 x 4 Left", "plate 1 x 6 right"),
        ("Hinge 0.667", "Hinge 12"),
        ("Brick  2 x 4", "Brick 2 x  3"),
    ],
)
def test_numbers_and_sides_are_masked(first: str, second: str) -> None:
    assert masked_description(first) == masked_description(second)
    assert masked_description(first) != masked_description("Brick 2 x 4 Left Top")


def test_links_join_bases_through_a_shared_geometry() -> None:
    def record(part: str, base: str, geometry: str) -> dict[str, str]:
        facts = {"object_id": part, "base_id": base, "geometry": geometry}
        return facts | {"description": f"text {part * 2}{base}z"}

    records = [record("a", "1", "g"), record("b", "2", "g"), record("c", "2", "h")]
    named = group_names([*records, record("d", "9", "k")], near=[])
    assert named["a"] == named["b"] == named["c"] == "a"
    assert named["d"] == "d"
    assert group_names([*records, record("d", "9", "k")], near=[("c", "d")])["d"] == "a"
    assert len(links_of(records[0])) == 3


def test_frozen_names_are_kept() -> None:
    record = {"object_id": "5", "base_id": "5", "geometry": "g", "description": "x"}
    other = {**record, "object_id": "3"}
    assert group_names([record, other], [], frozen={"5": "old"}) == {"5": "old", "3": "old"}


def test_union_find_takes_the_smaller_name() -> None:
    groups = Groups()
    groups.union("c", "b")
    groups.union("b", "a")
    assert {groups.find(item) for item in "abc"} == {"a"}
