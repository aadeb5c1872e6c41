"""ScanNet, S3DIS and SUN RGB-D are read exactly as released."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.class_names import S3DIS13, SCANNET20, SUNRGBD37
from lavis.datasets.datasets.scene_datasets import SceneDetectionDataset
from tests.datasets.sources import scene_trees as st
from tests.datasets.sources.trees import build as build_from

ALL = ("point_processor.eval.num_points=0",)


def by_color(xyz: np.ndarray, rgb: np.ndarray) -> dict[tuple, np.ndarray]:
    return {tuple(np.rint(c * 255).astype(int)): p for p, c in zip(xyz, rgb)}


def test_scannet_gives_classes_instances_and_aligned_vertices(tmp_path) -> None:
    st.scannet(tmp_path)
    dataset = build_from(tmp_path, "scannet_segmentation", "default", *ALL)["val"]
    sample = dataset[0]
    assert dataset.class_names == list(SCANNET20)
    assert sample["caption"] == "a room with 2 office chairs"
    xyz, rgb = st.vertices(2)
    aligned = xyz @ st.ALIGNMENT[:3, :3].T + st.ALIGNMENT[:3, 3]
    upright = np.stack([aligned[:, 0], aligned[:, 2], -aligned[:, 1]], 1)
    low, high = upright.min(0), upright.max(0)
    upright -= [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]
    cloud = sample["point_cloud"].numpy()
    expected = by_color(upright, rgb / 255)
    label = {"wall": 0, "floor": 1, "office chair": 4, "night table": -1}
    names = np.array([name for name, _ in st.GROUPS for _ in range(10)] + ["none"] * 10)
    place = {tuple(c): n for n, c in enumerate(rgb)}
    for point, color, semantic, instance in zip(
        cloud[:, :3], cloud[:, 3:], sample["semantic_label"], sample["instance_label"]
    ):
        key = tuple(np.rint(color * 255).astype(int))
        np.testing.assert_allclose(point, expected[key], atol=1e-5)
        row = place[key]
        assert semantic == label.get(names[row], -1)
        assert instance == (row // 10 if names[row] == "office chair" else -1)


def test_scannet_boxes_are_those_of_all_vertices(tmp_path) -> None:
    st.scannet(tmp_path)
    datasets = build_from(tmp_path, "scannet_detection")  # 32 points a scene
    assert isinstance(datasets["val"], SceneDetectionDataset)
    few = datasets["val"][0]
    whole = build_from(tmp_path, "scannet_detection", "default", *ALL)["val"][0]
    assert few["box_label"].tolist() == [4, 4]
    assert few["box_instance"].tolist() == [2, 3]
    np.testing.assert_array_equal(few["boxes"], whole["boxes"])
    for box, instance in zip(whole["boxes"].numpy(), (2, 3)):
        own = whole["point_cloud"][whole["instance_label"] == instance, :3].numpy()
        np.testing.assert_allclose(box[:3], (own.min(0) + own.max(0)) / 2, atol=1e-5)
        np.testing.assert_allclose(box[3:], np.ptp(own, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({"objectId": 0, "label": "spaceship", "segments": [7]}, "outside the table"),
        ({"objectId": 0, "segments": [7]}, "without label"),
    ],
)
def test_a_damaged_scannet_annotation_is_named(tmp_path, damage, problem) -> None:
    st.scannet(tmp_path)
    path = tmp_path / "scannet/scans/scene0002_00/scene0002_00.aggregation.json"
    path.write_text(json.dumps({"segGroups": [damage]}))
    with pytest.raises(DataError, match=problem):
        build_from(tmp_path, "scannet_segmentation")


def test_scannet_segments_of_another_mesh_are_refused_or_skipped_by_name(tmp_path) -> None:
    st.scannet(tmp_path)
    path = tmp_path / "scannet/scans/scene0001_00/scene0001_00_vh_clean_2.0.010000.segs.json"
    path.write_text(json.dumps({"segIndices": [1, 2, 3]}))
    with pytest.raises(DataError, match="3 segments, 60 vertices"):
        _ = build_from(tmp_path, "scannet_segmentation")["train"][1]
    skipping = build_from(
        tmp_path, "scannet_segmentation", "default", "build_info.max_bad_fraction=0.5"
    )["train"]
    assert [bad["instance_id"] for bad in skipping.bad_samples] == ["scene0001_00"]
    assert len(skipping) == 1


def test_scannet_test_scans_have_no_labels(tmp_path) -> None:
    st.scannet(tmp_path)
    folder = tmp_path / "scannet/scans/scene0002_00"
    (folder / "scene0002_00.aggregation.json").unlink()
    sample = build_from(tmp_path, "scannet_segmentation")["val"][0]
    assert set(sample["semantic_label"].tolist()) == {-1}
    assert sample["caption"] == "a room"


def test_s3dis_gives_a_class_and_an_instance_per_file(tmp_path) -> None:
    st.s3dis(tmp_path)
    datasets = build_from(tmp_path, "s3dis_segmentation", "default", *ALL)
    assert {split: len(dataset) for split, dataset in datasets.items()} == {"train": 5, "test": 1}
    sample = datasets["test"][0]
    assert sample["object_id"] == "Area_5/conferenceRoom_1"
    assert sample["caption"] == "a conference room with 2 chairs and a table"
    rows = np.concatenate([st.s3dis_rows(50 + n) for n in range(6)])
    classes = sorted(st.S3DIS_OBJECTS)
    order = np.argsort(st.S3DIS_OBJECTS)
    assert len(sample["point_cloud"]) == len(rows) == 240
    upright = np.stack([rows[:, 0], rows[:, 2], -rows[:, 1]], 1)
    low, high = upright.min(0), upright.max(0)
    upright -= [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]
    cloud = sample["point_cloud"].numpy().astype(np.float64)
    nearest = np.abs(cloud[:, None, :3] - upright[None]).max(2)
    place = nearest.argmin(1)
    assert nearest.min(1).max() < 1e-4
    assert sorted(place) == list(range(240))
    np.testing.assert_allclose(cloud[:, 3:], rows[place, 3:] / 255, atol=1e-6)
    for where, semantic, instance in zip(
        place, sample["semantic_label"].tolist(), sample["instance_label"].tolist()
    ):
        name = st.S3DIS_OBJECTS[where // 40].rpartition("_")[0]
        assert S3DIS13[semantic] == (name if name in S3DIS13 else "clutter")
        assert order[instance] == where // 40
        assert classes[instance] == st.S3DIS_OBJECTS[where // 40]


def test_s3dis_damaged_lines_are_left_out_and_named(tmp_path, caplog) -> None:
    st.s3dis(tmp_path)
    room = tmp_path / "s3dis/Stanford3dDataset_v1.2_Aligned_Version/Area_5/conferenceRoom_1"
    path = room / "Annotations/ceiling_1.txt"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"1.0 2.0 3.0 185\x1087 190\r\n", *lines[4:]]))
    sample = build_from(tmp_path, "s3dis_segmentation", "default", *ALL)["test"][0]
    assert len(sample["point_cloud"]) == 239
    assert "ceiling_1.txt" in caplog.text
    assert "[4]" in caplog.text
    path.write_bytes(b"1.0 2.0\r\n" * 5)
    with pytest.raises(DataError, match=r"(?s)Area_5/conferenceRoom_1.*ceiling_1.txt: lines"):
        _ = build_from(tmp_path, "s3dis_segmentation", "default", *ALL)["test"][0]


SMALL = ("build_info.points.width=40", "build_info.points.height=30", *ALL)


def test_sunrgbd_frames_are_upright_with_classes_of_their_polygons(tmp_path) -> None:
    st.sunrgbd(tmp_path)
    datasets = build_from(tmp_path, "sunrgbd_frames", "default", *SMALL)
    assert {split: len(dataset) for split, dataset in datasets.items()} == {"train": 2, "test": 1}
    sample = datasets["test"][0]
    assert sample["object_id"] == st.SUNRGBD_FRAMES["alltest"][0]
    assert sample["caption"] == "a living room"
    assert sample["image"].shape == (1, 3, 30, 40)
    assert len(sample["point_cloud"]) == 40 * 30 - 1  # one pixel without depth
    columns, rows = sample["pixel_of_point"].numpy().T
    # As read3dPoints.m: pixels count from 1, then the tilt, then z up; here up is y.
    depth = st.DEPTH_STEPS / 1000
    (fx, _, cx), (_, fy, cy), _ = st.INTRINSICS
    x, y = (columns + 1 - cx) * depth / fx, (rows + 1 - cy) * depth / fy
    right_down_forward = st.tilt() @ np.stack([x, y, np.full(len(x), depth)])
    expected = (right_down_forward * [[1], [-1], [-1]]).T
    np.testing.assert_allclose(sample["point_cloud"][:, :3], expected, atol=1e-5)
    inside = (columns > 10) & (columns < 20) & (rows > 10) & (rows < 20)
    names = np.array([*SUNRGBD37, "none"])[sample["semantic_label"].numpy()]
    assert set(names[inside]) == {"night stand"}
    assert set(names[~inside & (columns < 9)]) == {"wall"}
    assert set(sample["instance_label"].numpy()[inside]) == {1}
    gizmo = (columns == 34) & (rows == 3)
    assert names[gizmo].tolist() == ["none"]


def test_sunrgbd_boxes_turn_with_their_points(tmp_path) -> None:
    st.sunrgbd(tmp_path)
    datasets = build_from(
        tmp_path,
        "sunrgbd_detection",
        "default",
        *SMALL,
        "point_processor.train.num_points=900",
        "point_processor.train.jitter_sigma=0.0",
    )
    still, moved = datasets["test"][0], datasets["train"][0]
    np.testing.assert_allclose(still["boxes"][0], [0.5, -0.55, -1.75, 1, 0.7, 0.5, 0], atol=1e-5)
    assert datasets["test"].class_names[still["box_label"][0]] == "chair"
    box = moved["boxes"][0].numpy()
    # The frames are equal: up to the scale, a point stays where it is in its box.
    scale = box[3] / 1.0
    assert 0.9 <= scale <= 1.1
    assert box[6] != 0

    def local(sample: dict, box: np.ndarray) -> dict[tuple, np.ndarray]:
        away = sample["point_cloud"][:, :3].numpy() - box[:3]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        turn_back = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        return dict(zip(map(tuple, sample["pixel_of_point"].tolist()), away @ turn_back.T))

    before, after = local(still, still["boxes"][0].numpy()), local(moved, box)
    for pixel, place in after.items():
        np.testing.assert_allclose(place, scale * before[pixel], atol=2e-3)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("depth_bfx", r"depth_bfx: no \*.png"),
        ("intrinsics.txt", "intrinsics.txt"),
        ("extrinsics", "gravity is unknown"),
        ("annotation2Dfinal", "annotation2Dfinal"),
    ],
)
def test_sunrgbd_frames_without_a_part_are_skipped_by_name(tmp_path, part, problem) -> None:
    st.sunrgbd(tmp_path)
    name = st.SUNRGBD_FRAMES["alltrain"][0]
    path = tmp_path / "sunrgbd/SUNRGBD" / name / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=f"(?s){name}.*{problem}"):
        _ = build_from(tmp_path, "sunrgbd_frames", "default", *SMALL)["train"][0]
    train = build_from(
        tmp_path, "sunrgbd_frames", "default", *SMALL, "build_info.max_bad_fraction=0.5"
    )["train"]
    assert [bad["instance_id"] for bad in train.bad_samples] == [name]


def test_sunrgbd_depth_of_another_size_is_named(tmp_path) -> None:
    st.sunrgbd(tmp_path)
    folder = tmp_path / "sunrgbd/SUNRGBD" / st.SUNRGBD_FRAMES["alltest"][0]
    shutil.rmtree(folder / "depth_bfx")
    st.sunrgbd_frame(tmp_path / "other", 20, 30)
    shutil.copytree(tmp_path / "other/depth_bfx", folder / "depth_bfx")
    with pytest.raises(DataError, match=r"(?s)differ in size.*depth \[30, 20\]"):
        _ = build_from(tmp_path, "sunrgbd_frames", "default", *SMALL)["test"][0]
