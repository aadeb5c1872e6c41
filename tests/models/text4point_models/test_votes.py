"""VoteNet's head: padding, small clouds, targets, losses, and that it learns one scene."""

from __future__ import annotations

import pytest
import torch

from lavis.models.point_ops import gather_points
from lavis.models.text4point_models.box_losses import detection_losses, match, vote_targets
from lavis.models.text4point_models.votes import VoteHead

D, E = 8, 6
SIZES = {"width": 16, "seeds": 32, "proposals": 8, "radius": 0.4, "neighbors": 4}


@pytest.fixture
def head() -> VoteHead:
    torch.manual_seed(0)
    return VoteHead(D, E, **SIZES, turned=False)


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Two clouds of 64 points and features."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 64, 3, generator=generator) * 3, torch.randn(2, 64, D, generator=generator)


@pytest.mark.parametrize(("turned", "columns"), [(False, 6), (True, 7)])
def test_shapes(scene, turned, columns):
    found = VoteHead(D, E, **SIZES, turned=turned)(*scene)
    assert found.seeds.shape == (2, 32)
    assert found.votes.shape == (2, 32, 3)
    assert found.boxes.shape == (2, 8, columns)
    assert (found.boxes[..., 3:6] > 0).all()
    assert found.features.shape == (2, 8, E)


def test_votes_start_at_their_seeds(head, scene):
    found = head(*scene)
    torch.testing.assert_close(found.votes, gather_points(scene[0], found.seeds))


def test_padding_changes_nothing(head, scene):
    xyz, features = scene
    alone = head(xyz[1:, :40], features[1:, :40])
    padded = xyz.clone()
    padded[1, 40:] = 0
    both = head(padded, features, torch.tensor([64, 40]))
    torch.testing.assert_close(both.boxes[1], alone.boxes[0])
    torch.testing.assert_close(both.objectness[1], alone.objectness[0])


@pytest.mark.parametrize("points", [1, 5])
def test_a_cloud_smaller_than_the_number_of_seeds(head, scene, points):
    found = head(scene[0][:, :points], scene[1][:, :points])
    assert found.boxes.shape == (2, points, 6)


def test_seeds_vote_for_the_smallest_box_around_them():
    boxes = torch.tensor([[0.0, 0, 0, 4, 4, 4], [0.5, 0, 0, 1, 1, 1]])
    seeds = torch.tensor([[0.6, 0.0, 0.0], [-1.5, 0.0, 0.0], [9.0, 0.0, 0.0]])
    centre, voted = vote_targets(seeds, boxes)
    assert voted.tolist() == [True, True, False]
    assert torch.equal(centre[:2], boxes[[1, 0], :3])


def test_proposals_are_objects_none_or_not_judged_by_distance():
    near = torch.tensor([[0.1, 0.0, 0.0], [0.45, 0.0, 0.0], [2.0, 0.0, 0.0]])
    found = match(near, torch.tensor([[0.0, 0, 0, 1, 1, 1]]), close=0.3, far=0.6)
    assert found.positive.tolist() == [True, False, False]
    assert found.negative.tolist() == [False, False, True]
    empty = match(near, torch.zeros(0, 6), 0.3, 0.6)
    assert empty.negative.all()


def losses_of(head, scene, boxes, labels) -> dict[str, torch.Tensor]:
    """Return the losses with random texts."""
    found = head(*scene)
    texts = torch.randn(3, E, generator=torch.Generator().manual_seed(2))
    seed_xyz = gather_points(scene[0], found.seeds)
    return detection_losses(found, seed_xyz, found.features @ texts.T, boxes, labels, 0.3, 0.6)


@pytest.mark.parametrize("turned", [False, True])
def test_every_parameter_gets_a_gradient_and_scenes_without_boxes_are_finite(scene, turned):
    torch.manual_seed(0)
    head = VoteHead(D, E, **SIZES, turned=turned)
    place = head(*scene).near[0, 0].detach()
    box = torch.cat([place, torch.ones(3), torch.tensor([0.3])[: int(turned)]])[None]
    losses = losses_of(head, scene, [box, box[:0]], [torch.tensor([1]), torch.zeros(0).long()])
    assert set(losses) == {"loss_vote", "loss_objectness", "loss_box", "loss_class"}
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()


def test_without_any_box_only_objectness_counts(head, scene):
    none = [torch.zeros(0, 6)] * 2
    losses = losses_of(head, scene, none, [torch.zeros(0).long()] * 2)
    assert losses["loss_objectness"] > 0
    assert all(losses[n] == 0 for n in ("loss_vote", "loss_box", "loss_class"))


def test_votes_learn_the_centres_of_one_scene(head, scene):
    xyz, features = scene[0][:1], scene[1][:1].clone()
    features[..., :3] = xyz
    boxes = torch.tensor([[0.8, 1.0, 1.0, 1.0, 1.5, 1.2], [2.2, 1.5, 2.0, 0.8, 1.0, 0.6]])
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-2)
    history = []
    for _ in range(30):
        losses = losses_of(head, (xyz, features), [boxes], [torch.tensor([0, 2])])
        history.append(float(losses["loss_vote"].detach()))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    assert history[-1] < 0.3 * history[0]
