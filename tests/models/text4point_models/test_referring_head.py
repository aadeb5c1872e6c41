"""The referring head: padding of clouds and sentences, distances in attention, gradients."""

from __future__ import annotations

import pytest
import torch

from lavis.models.text4point_models.referring_head import DistanceBias, ReferringHead

D, W = 8, 12


@pytest.fixture
def head() -> ReferringHead:
    torch.manual_seed(0)
    head = ReferringHead(D, W, width=16, depth=2, heads=2, tokens=16, dropout=0.1).eval()
    torch.nn.init.normal_(head.distance_bias.to_heads.weight)
    return head


@pytest.fixture
def scene() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "xyz": torch.rand(2, 40, 3, generator=generator) * 3,
        "features": torch.randn(2, 40, D, generator=generator),
        "words": torch.randn(2, 5, W, generator=generator),
        "word_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool(),
    }


def one(scene: dict[str, torch.Tensor], points: int, words: int) -> dict[str, torch.Tensor]:
    """Return the second scene alone, cut to its points and words."""
    cut = {"xyz": points, "features": points, "words": words, "word_mask": words}
    return {name: value[1:, : cut[name]] for name, value in scene.items()}


def test_padded_words_and_points_change_nothing(head, scene):
    scene["xyz"][1, 30:] = 0
    scene["features"][1, 30:] = 0
    both = head(**scene, lengths=torch.tensor([40, 30]))
    alone = head(**one(scene, points=30, words=3))
    assert both.shape == (2, 40)
    torch.testing.assert_close(both[1, :30], alone[0])


def test_other_words_give_another_mask(head, scene):
    before = head(**scene)
    scene["words"][0] += 1
    after = head(**scene)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("points", [1, 3])
def test_a_cloud_smaller_than_the_tokens(head, scene, points):
    assert head(**one(scene, points=points, words=3)).isfinite().all()


def test_every_parameter_gets_a_gradient(head, scene):
    head.train()(**scene).square().mean().backward()
    missing = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_distances_do_not_depend_on_the_turn_of_a_room():
    bias = DistanceBias(2)
    torch.nn.init.normal_(bias.to_heads.weight)
    xyz = torch.rand(1, 6, 3, generator=torch.Generator().manual_seed(0)) * 3
    turned = torch.stack([xyz[..., 2], xyz[..., 1], -xyz[..., 0]], -1)  # 90 degrees about up
    values = bias(xyz)
    assert values.shape == (2, 7, 7)
    torch.testing.assert_close(values, bias(turned))
    assert not values[:, 0].any()  # the query has no place
    assert not torch.allclose(values, values.transpose(1, 2))  # above is not below
