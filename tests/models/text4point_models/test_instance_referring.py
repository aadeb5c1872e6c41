"""Referring by instances: choices, loss, what is frozen, scenes without instances, its start."""

from __future__ import annotations

import pytest
import torch

from lavis.common.errors import CheckpointError, DataError
from lavis.models.text4point_models.choice_head import Candidates, ChoiceHead
from lavis.models.text4point_models.instance_referring import (
    boxes_from_floor,
    choice_loss,
    overlaps,
)
from lavis.models.text4point_models.instances import offsets_to_centres


@pytest.fixture
def knowing(build, rooms):
    """Return a model that finds the annotated instances."""
    model = build("instance_referring", group_cell=0.1).eval()
    offsets, _ = offsets_to_centres(rooms["point_cloud"][..., :3], rooms["instance_label"])
    truth = torch.nn.functional.one_hot(rooms["semantic_label"].clamp(min=0), 3) * 20.0
    encode = model.read_scene

    def read_scene(batch):
        scene = encode(batch)
        own = offsets[: len(scene.xyz), : scene.xyz.shape[1]]
        return scene._replace(features=torch.cat([own, scene.features[..., 3:]], -1))

    model.to_offset = Offsets()
    model.read_scene = read_scene
    model.mixed_logits = lambda scene: truth[: len(scene.xyz), : scene.xyz.shape[1]]
    return model


class Offsets(torch.nn.Module):
    """The first three features are offsets."""

    def forward(self, features):
        return features[..., :3]


def test_a_mask_is_one_of_the_instances(knowing, rooms):
    mask = knowing.refer(rooms) > 0
    assert mask.shape == rooms["point_cloud"].shape[:2]
    for row in range(2):
        chosen = rooms["instance_label"][row][mask[row]].unique()
        assert len(chosen) == 1
        assert mask[row].sum() == 20


def test_padding_changes_no_logit(knowing, rooms):
    logits, masks = knowing._choices(rooms)
    assert masks.sum((1, 2)).tolist() == [40, 60]
    assert (logits[0, 2:] < -1e3).all()  # room 0 has two instances, room 1 three
    one = {"point_cloud": rooms["point_cloud"][:1, :80], "text_input": rooms["text_input"][:1]}
    torch.testing.assert_close(knowing._choices(one)[0], logits[:1, :2])


def test_the_head_learns_and_the_rest_is_frozen(knowing, rooms):
    knowing.train()
    assert knowing.choice_head.training
    assert not knowing.network.training
    before = {name: p.clone() for name, p in knowing.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in knowing.parameters() if p.requires_grad], 0.01)
    losses = []
    for _ in range(30):
        losses.append(knowing(rooms)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]
    moved = {n for n, p in knowing.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all(name.startswith("choice_head.") for name in moved)
    knowing.eval()
    meant = rooms["instance_label"] == torch.as_tensor(rooms["target_instance"])[:, None]
    assert torch.equal(knowing.refer(rooms) > 0, meant)


def test_scenes_without_instances_mean_nothing(build, rooms):
    model = build("instance_referring", least_points=1000)
    assert (model.refer(rooms) < 0).all()
    loss = model(rooms)["loss"]
    assert loss == 0
    loss.backward()


@pytest.mark.parametrize("absent", ["target_instance", "instance_label"])
def test_a_batch_without_targets_is_refused(build, rooms, absent):
    del rooms[absent]
    with pytest.raises(DataError, match="target_instance"):
        build("instance_referring")(rooms)


def test_a_start_without_offsets_is_refused(build, tmp_path):
    start = build("segmentation")
    torch.save({"model": start.state_dict(), "space": start.space}, tmp_path / "start.pth")
    with pytest.raises(CheckpointError, match="to_offset"):
        build("instance_referring").load_weights({"pretrained": str(tmp_path / "start.pth")})


def test_boxes_are_from_the_middle_of_the_floor():
    xyz = torch.tensor([[0.0, 1, 0], [4, 3, 2], [1, 2, 1], [3, 2, 1]])
    masks = torch.tensor([[True, True, False, False], [False, False, True, True]])
    wanted = [[0.0, 1, 0, 4, 2, 2], [0, 1, 0, 2, 0, 0]]
    assert torch.equal(boxes_from_floor(xyz, masks), torch.tensor(wanted))
    assert boxes_from_floor(xyz, masks[:0]).shape == (0, 6)


def test_overlaps_and_loss_by_hand():
    masks = torch.tensor([[[True, True, False], [False, True, True]]])
    overlap = overlaps(masks, torch.tensor([[True, True, True]]))
    torch.testing.assert_close(overlap, torch.tensor([[2 / 3, 2 / 3]]))
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    overlap = torch.tensor([[0.5, 0.1], [0.2, 0.0]])  # the second sentence has no instance
    wanted = -logits[0].log_softmax(0)[0]
    torch.testing.assert_close(choice_loss(logits, overlap, 0.25), wanted)
    assert choice_loss(logits, overlap, 0.9) == 0


def test_the_order_of_instances_does_not_matter():
    torch.manual_seed(0)
    head = ChoiceHead(5, 8, 6, 16, 2, 2, 0.0).eval()
    boxes, looks, names = torch.rand(1, 4, 6), torch.rand(1, 4, 5), torch.rand(1, 4, 8)
    words, real = torch.rand(2, 3, 6), torch.tensor([[True, True, True], [True, False, False]])
    there = torch.ones(1, 4, dtype=torch.bool)
    both = torch.zeros(2, dtype=torch.long)
    order = torch.tensor([2, 0, 3, 1])
    first = head(Candidates(boxes, looks, names, there), words, real, both)
    parts = (part[:, order] for part in (boxes, looks, names, there))
    torch.testing.assert_close(head(Candidates(*parts), words, real, both), first[:, order])
    assert not torch.allclose(first[0], first[1])
