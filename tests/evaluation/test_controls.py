"""Controls: what each one removes, what it keeps, and that it depends on seed and object alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.evaluation.altered_splits import original_store
from lavis.evaluation.controls import (
    CONTROLS,
    MID_GREY,
    SIZE_RATIO,
    add_control_splits,
    box_shell,
    control_store,
    other_objects,
    parse_controls,
    wrong_scales,
)

IDS = [f"part {k}" for k in range(12)]
RNG = np.random.default_rng


class Store:
    """Objects of 300 points in boxes of different shape, and of scales 1, 1.1, 1.21, …"""

    def __init__(self, channels: int = 6) -> None:
        self.channels = channels

    def load(self, object_id: str) -> np.ndarray:
        rng = RNG([*object_id.encode()])
        return (rng.random((300, self.channels)) * rng.random(self.channels)).astype(np.float32)

    def scale(self, object_id: str) -> float:
        return 1.1 ** int(object_id.split()[1])


def as_tensor(cloud: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(cloud)


def put_under(name: str, channels: int = 6, ids=IDS, seed: int = 3):
    return control_store(Store(channels), ids, name, seed)


@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize("name", list(CONTROLS))
def test_every_control_is_a_function_of_seed_and_object(name, channels):
    first = put_under(name, channels)
    again = put_under(name, channels, ids=[*reversed(IDS)])
    for object_id in IDS:
        cloud = first.load(object_id)
        assert cloud.dtype == np.float32
        assert cloud.shape == (300, channels)
        assert np.isfinite(cloud).all()
        np.testing.assert_array_equal(cloud, again.load(object_id))
        np.testing.assert_array_equal(first.scale(object_id), again.scale(object_id))


@pytest.mark.parametrize("name", ["box_shell", "shuffled_clouds", "wrong_size"])
def test_another_seed_is_another_draw(name):
    first, other = put_under(name), put_under(name, seed=4)
    assert any(
        not np.array_equal(first.load(i), other.load(i)) or first.scale(i) != other.scale(i)
        for i in IDS
    )


def test_box_shell_keeps_the_box_and_the_mean_colour_and_no_shape():
    for object_id in IDS:
        own, shell = Store().load(object_id), put_under("box_shell").load(object_id)
        low, high = own[:, :3].min(0), own[:, :3].max(0)
        np.testing.assert_allclose(shell[:, :3].min(0), low, atol=1e-6)
        np.testing.assert_allclose(shell[:, :3].max(0), high, atol=1e-6)
        on_face = np.isclose(shell[:, :3], low, atol=1e-6) | np.isclose(shell[:, :3], high)
        assert on_face.any(axis=1).all()
        np.testing.assert_allclose(shell[:, 3:], own[:, 3:].mean(0)[None].repeat(300, 0), rtol=1e-5)
        assert put_under("box_shell").scale(object_id) == Store().scale(object_id)


def test_box_shell_weighs_faces_by_their_area():
    corners = np.array([[0, 0, 0], [4, 2, 1]], np.float32).repeat(20_000, 0)
    shell = box_shell(corners, RNG(0))
    areas = np.array([2 * 1, 4 * 1, 4 * 2])
    on_face = (shell == 0) | (shell == np.array([4, 2, 1]))
    np.testing.assert_allclose(on_face.mean(0), areas / areas.sum(), atol=0.01)
    top = shell[shell[:, 1] == 2]
    np.testing.assert_allclose(top[:, [0, 2]].mean(0), [2, 0.5], atol=0.05)


@pytest.mark.parametrize("corner", [(1, 0, 0), (2, 3, 0), (0, 0, 0)])
def test_box_shell_of_a_line_a_sheet_and_a_point_stays_in_its_box(corner):
    cloud = np.array([(0, 0, 0), corner], np.float32).repeat(50, 0)
    shell = box_shell(cloud, RNG(0))
    assert shell.shape == cloud.shape
    np.testing.assert_array_equal(np.ptp(shell, axis=0), np.ptp(cloud, axis=0))
    assert box_shell(cloud[:1], RNG(0)).tolist() == [[0, 0, 0]]


def test_shuffled_clouds_are_a_derangement_that_carries_the_size():
    store, partner = put_under("shuffled_clouds"), other_objects(IDS, 3)
    assert sorted(partner.values()) == sorted(IDS)
    for object_id in IDS:
        assert partner[object_id] != object_id
        np.testing.assert_array_equal(store.load(object_id), Store().load(partner[object_id]))
        assert store.scale(object_id) == Store().scale(partner[object_id])


def test_questions_about_one_object_get_the_same_other_object():
    assert other_objects([*IDS, *IDS], 3) == other_objects(IDS, 3)


def test_wrong_size_is_off_by_a_quarter_and_the_cloud_is_own():
    store = put_under("wrong_size")

    def diagonal(scale, object_id):
        return scale * np.linalg.norm(np.ptp(Store().load(object_id)[:, :3], axis=0))

    own = {i: diagonal(Store().scale(i), i) for i in IDS}
    for object_id in IDS:
        np.testing.assert_array_equal(store.load(object_id), Store().load(object_id))
        wrong = diagonal(store.scale(object_id), object_id)
        assert max(wrong / own[object_id], own[object_id] / wrong) >= SIZE_RATIO - 1e-6
        assert min(abs(wrong / size - 1) for size in own.values()) < 1e-5


def test_wrong_size_takes_the_farthest_where_no_size_is_far():
    class Alike(Store):
        def load(self, object_id):
            return np.array([[0, 0, 0], [1, 1, 1]], np.float32)

    ids = IDS[:3]  # sizes 1, 1.1, 1.21
    scales = wrong_scales(Alike(), ids, 0)
    assert [scales[i] for i in ids] == pytest.approx([1.21, scales[ids[1]], 1.0])
    assert scales[ids[1]] != pytest.approx(1.1)


@pytest.mark.parametrize("name", ["no_size", "blank_cloud"])
def test_unknown_sizes_are_nan(name):
    assert all(np.isnan(put_under(name).scale(i)) for i in IDS)


def test_no_color_paints_grey_and_leaves_the_shape():
    cloud, own = put_under("no_color").load(IDS[0]), Store().load(IDS[0])
    np.testing.assert_array_equal(cloud[:, :3], own[:, :3])
    assert (cloud[:, 3:] == MID_GREY).all()


def test_blank_clouds_are_one_uniform_ball():
    store = put_under("blank_cloud")
    np.testing.assert_array_equal(store.load(IDS[0]), store.load(IDS[1]))
    radii = np.linalg.norm(CONTROLS["blank_cloud"].change(np.zeros((20_000, 3)), RNG(0)), axis=1)
    assert radii.max() <= 1
    assert (radii < 0.5).mean() == pytest.approx(1 / 8, abs=0.01)


def test_names_are_read_and_misspelt_ones_refused():
    assert parse_controls(["no_size", "box_shell", "no_size"]) == ["no_size", "box_shell"]
    general = [n for n in CONTROLS if n not in ("shuffled_neighbours", "neighbours_only")]
    assert parse_controls(["all"]) == general
    with pytest.raises(ConfigError, match="Did you mean 'no_size'"):
        parse_controls(["nosize"])


def test_swapping_needs_two_objects():
    with pytest.raises(ConfigError, match="two of them"):
        put_under("shuffled_clouds", ids=["part 1"])


def test_controlled_splits_keep_their_original_store():
    annotation = [{"object_id": i} for i in IDS]
    split = SimpleNamespace(point_store=Store(), annotation=annotation)
    datasets = {"bricks": {"val": split}}
    assert add_control_splits(datasets, ["val"], ["no_size"], 0) == ["val_no_size"]
    altered = datasets["bricks"]["val_no_size"]
    assert altered.annotation is annotation
    assert altered.alteration == "no_size"
    assert original_store(altered) is original_store(split) is split.point_store
    assert original_store(copy.copy(altered)) is split.point_store


def test_an_unknown_size_is_a_box_of_nan_and_the_other_samples_keep_theirs(tmp_path):
    path = tmp_path / "val.json"
    path.write_text(
        '[{"object_id": "part 1", "caption": "a"}, {"object_id": "part 2", "caption": "b"}]'
    )
    split = PointTextDataset(as_tensor, str, Store(), [path])
    datasets = {"bricks": {"val": split}}
    add_control_splits(datasets, ["val"], ["no_size"], 0)
    assert datasets["bricks"]["val_no_size"][0]["box_size"].isnan().all()
    assert split[0]["box_size"].isfinite().all()


@pytest.mark.parametrize(
    ("name", "cloud_of", "texts_of"),
    [("shuffled_neighbours", 0, 1), ("neighbours_only", 1, 0)],
)
def test_neighbours_are_looked_up_apart_from_the_cloud(tmp_path, name, cloud_of, texts_of):
    path = tmp_path / "val.json"
    path.write_text(
        '[{"object_id": "part 1", "caption": "a"}, {"object_id": "part 2", "caption": "b"}]'
    )
    split = PointTextDataset(as_tensor, str, Store(), [path])
    datasets = {"bricks": {"val": split, "test": split}, "other": {"train": split}}
    assert add_control_splits(datasets, ["val"], [name], 0) == [f"val_{name}"]
    altered = datasets["bricks"][f"val_{name}"]
    for row in range(2):
        sample, own, other = altered[row], split[row], split[1 - row]
        assert sample["caption"] == own["caption"]
        clouds = (own, other)
        assert torch.equal(sample["point_cloud"], clouds[cloud_of]["point_cloud"])
        assert torch.equal(sample["box_size"], clouds[cloud_of]["box_size"])
        assert torch.equal(sample["lookup_cloud"], clouds[texts_of]["point_cloud"])
        assert torch.equal(sample["lookup_box"], clouds[texts_of]["box_size"])
    batch = altered.collater([altered[0], altered[1]])
    assert len(batch["lookup_cloud"]) == 2
    assert batch["lookup_box"].shape == (2, 3)
    assert "lookup_cloud" not in split[0]
