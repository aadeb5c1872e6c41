"""Instances: offsets to centres, their loss, surfaces, and masks of each scene."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import ConfigError, DataError
from lavis.models.text4point_models.instances import offset_loss, offsets_to_centres


def test_offsets_lead_to_the_middle_of_the_instance():
    xyz = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [1, 4, 0], [9, 9, 9]], [[1.0, 1, 1]] * 4])
    instance = torch.tensor([[0, 0, 0, -1], [0, 0, 1, -1]])
    offsets, has = offsets_to_centres(xyz, instance)
    assert torch.equal((xyz + offsets)[0, :3], torch.tensor([[1.0, 2, 0]] * 3))
    assert not offsets[1].any()
    assert torch.equal(has, instance >= 0)


@pytest.mark.parametrize("label", [-1, 5])
def test_scenes_of_no_or_one_instance(label):
    xyz = torch.rand(1, 6, 3)
    offsets, has = offsets_to_centres(xyz, torch.full((1, 6), label))
    assert has.all() == (label >= 0)
    assert offset_loss(offsets, offsets, has) < 0.2


def test_the_loss_is_zero_without_instances_and_has_a_gradient():
    predicted = torch.randn(1, 4, 3, requires_grad=True)
    loss = offset_loss(predicted, torch.zeros(1, 4, 3), torch.zeros(1, 4, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not predicted.grad.any()


def test_masks_are_of_the_scene_without_padding(build, rooms):
    found = build("instances").eval().segment(rooms)
    assert [one["masks"].shape[1] for one in found] == [80, 100]
    for one in found:
        assert len(one["labels"]) == len(one["scores"]) == len(one["masks"])
        assert (one["labels"] != 0).all()  # the wall is a surface
        assert (one["scores"].diff() <= 0).all()


@pytest.fixture
def knowing(build, rooms):
    """Return a model whose offsets and classes are the annotated ones; it keeps every box."""
    model = build("instances", group_cell=0.1, least_score=0.0).eval()
    offsets, _ = offsets_to_centres(rooms["point_cloud"][..., :3], rooms["instance_label"])
    truth = torch.nn.functional.one_hot(rooms["semantic_label"].clamp(min=0), 3) * 20.0
    model.to_offset = torch.nn.Identity()
    scene = model.read_scene(rooms)._replace(features=offsets)
    model.read_scene = lambda batch: scene
    model.mixed_logits = lambda scene: truth
    return model


def test_right_offsets_and_classes_give_the_instances_of_the_scene(knowing, rooms):
    for row, one in enumerate(knowing.segment(rooms)):
        instance = rooms["instance_label"][row, : one["masks"].shape[1]]
        wanted = {tuple((instance == n).tolist()) for n in range(int(instance.max()) + 1)}
        assert {tuple(mask.tolist()) for mask in one["masks"]} == wanted


def test_boxes_are_those_around_the_instances(knowing, rooms):
    for row, (one, found) in enumerate(zip(knowing.detect(rooms), knowing.segment(rooms))):
        xyz = rooms["point_cloud"][row, : found["masks"].shape[1], :3]
        ends = [(xyz[mask].amin(0), xyz[mask].amax(0)) for mask in found["masks"]]
        wanted = torch.stack([torch.cat([(a + b) / 2, b - a]) for a, b in ends])
        sure = one["scores"] > 0.5
        assert torch.allclose(one["boxes"][sure], wanted, atol=1e-6)
        assert torch.equal(one["labels"][sure], found["labels"])
        assert torch.allclose(one["scores"][sure], found["scores"])


def test_a_box_counts_for_every_class_of_objects(knowing, rooms):
    for one, found in zip(knowing.detect(rooms), knowing.segment(rooms)):
        assert len(one["labels"]) == 2 * len(found["masks"])  # of three classes one is a wall
        assert one["labels"].unique().tolist() == [1, 2]
        assert (one["scores"].diff() <= 0).all()


def test_without_instances_there_are_no_boxes(build, rooms):
    for one in build("instances", least_points=1000).eval().detect(rooms):
        assert one["boxes"].shape == (0, 6)
        assert len(one["labels"]) == len(one["scores"]) == 0


def test_an_unknown_surface_is_refused_with_the_nearest_label(build):
    with pytest.raises(ConfigError, match=r"model\.surfaces") as caught:
        build("instances", surfaces=["wal"])
    assert "'wall'" in str(caught.value)


def test_a_batch_without_instances_is_refused(build, rooms):
    del rooms["instance_label"]
    with pytest.raises(DataError, match="instance_label"):
        build("instances")(rooms)
