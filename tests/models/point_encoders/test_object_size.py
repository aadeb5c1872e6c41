"""An object's size as a token and in words."""

from __future__ import annotations

import pytest
import torch

from lavis.models.point_encoders.object_size import SizeToken, encode_size, size_text


def test_equal_ratios_are_equal_steps() -> None:
    edges = torch.tensor([[1.0, 1, 1], [1.1, 1, 1], [10.0, 10, 10], [11.0, 10, 10]])
    codes = encode_size(edges)
    assert codes.shape == (4, 36)
    step, same_step = (codes[1] - codes[0]).norm(), (codes[3] - codes[2]).norm()
    assert step.item() == pytest.approx(same_step.item(), rel=1e-4)


def test_whole_numbers_up_to_48_are_apart() -> None:
    numbers = torch.arange(1, 49).float()
    codes = encode_size(torch.stack([numbers, *2 * [torch.full((48,), 48.0)]], 1))
    distance = torch.cdist(codes, codes) + 10 * torch.eye(48)
    noise = encode_size(torch.tensor([[48.1, 48, 48]])) - encode_size(
        torch.tensor([[48.0, 48, 48]])
    )
    assert distance.min() > 5 * noise.norm()


@pytest.mark.parametrize("edges", [[0.0, 0.0, 0.0], [3.0, 0.0, 2.0], [1e30, 1.0, 1.0]])
def test_flat_tiny_and_huge_boxes_stay_finite(edges: list[float]) -> None:
    token = SizeToken(8)(torch.tensor([edges]))
    assert token.shape == (1, 8)
    assert torch.isfinite(token).all()


def test_size_in_words_is_footprint_then_height_and_ignores_quarter_turns() -> None:
    assert size_text([4.03, 1.36, 1.97]) == "2.0 x 4.0 x 1.4"
    assert size_text([1.97, 1.36, 4.03]) == "2.0 x 4.0 x 1.4"


def test_an_unknown_size_is_a_zero_token_with_finite_gradients() -> None:
    module = SizeToken(8)
    boxes = torch.tensor([[1.0, 2.0, 3.0], [float("nan")] * 3, [1.0, float("nan"), 3.0]])
    token = module(boxes)
    torch.testing.assert_close(token[0], module(boxes[:1])[0])
    assert token[0].abs().sum() > 0
    assert token[1:].abs().sum() == 0
    token.square().sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients)
    module.zero_grad()
    module(boxes[1:]).sum().backward()
    assert all(parameter.grad.abs().sum() == 0 for parameter in module.parameters())


def test_an_unknown_size_in_words() -> None:
    assert size_text([float("nan")] * 3) == "unknown"
