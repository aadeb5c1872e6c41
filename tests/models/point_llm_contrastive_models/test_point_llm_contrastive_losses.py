"""Projector and losses of PointLLM-Contrastive: the release's numbers, and the memory bank."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lavis.models.point_llm_contrastive_models.aligned_llm import AlignedLanguageModel
from lavis.models.point_llm_contrastive_models.contrast import (
    MemoryBank,
    bank_contrast,
    batch_contrast,
)
from lavis.models.point_llm_contrastive_models.projector import TokenProjector


def wave(*shape: int, phase: float) -> torch.Tensor:
    """A fixed tensor that needs no random generator."""
    i = torch.arange(int(torch.tensor(shape).prod()), dtype=torch.float64)
    return torch.sin(0.7 * i + phase + 0.003 * i * i).float().reshape(shape)


@torch.no_grad()
def fill(module: torch.nn.Module, gain: float, norm: str) -> None:
    """Give every parameter the value that the release's numbers below were computed with."""
    for index, (name, weight) in enumerate(sorted(module.named_parameters())):
        scale = norm in name and name.endswith("weight")
        weight.copy_(wave(*weight.shape, phase=index) * gain + (1.0 if scale else 0.0))


def test_projector_equals_the_release():
    # src/projector/projector_sequence.py (16eca1f) on the same weights and input.
    projector = TokenProjector(6, 10, hidden_dim=8)
    fill(projector, 0.3, "ln")
    projected = projector(wave(2, 3, 6, phase=0.5))
    expected = [-0.744173, -0.212103, -1.00726, -0.125566, -0.824103]
    expected += [-0.891824, -1.115869, -0.008148, 2.528086]
    assert projected.flatten()[::7].tolist() == pytest.approx(expected, abs=1e-5)
    assert projected.double().square().sum().item() == pytest.approx(85.516890, abs=1e-4)


def test_bank_contrast_equals_the_release_over_three_steps():
    # Stage1Trainer._compute_contrastive_loss (16eca1f), batches of two, a bank of five.
    bank = MemoryBank(5, 10)
    bank.points.copy_(F.normalize(wave(5, 10, phase=2.0), dim=-1))
    bank.texts.copy_(F.normalize(wave(5, 10, phase=3.0), dim=-1))
    table = wave(12, 10, phase=4.0)
    texts = F.normalize(torch.stack([table[[1, 2, 3]].mean(0), table[[4, 5]].mean(0)]), dim=-1)
    found = []
    for step in range(3):
        points = F.normalize(wave(2, 3, 10, phase=5.0 + step).mean(1), dim=-1)
        found.append(bank.contrast(points, texts, 0.07).item())
    assert found == pytest.approx([2.1427390, 6.7252045, 9.4644547], abs=1e-5)
    assert bank.position.item() == 1
    first = [-0.2202643, -0.3030964, 0.4526975, -0.4700020, 0.6055319]
    assert bank.points[:, 0].tolist() == pytest.approx(first, abs=1e-5)


def test_generative_loss_equals_the_release_for_single_items(tiny_llama):
    # Stage1Trainer._compute_generative_loss (16eca1f) with this language model and tokenizer.
    llm = AlignedLanguageModel(tiny_llama, torch.float32)
    fill(llm.model, 0.2, "norm")
    points, edges = wave(2, 3, 32, phase=8.0), wave(2, 32, phase=9.0)
    found = []
    for row, (prompt, target) in enumerate((("name it", " a red cog"), ("what", " hat"))):
        prefix = torch.cat([edges[:1], points[row], edges[1:]])[None]
        found.append(llm.loss(prefix, [prompt], [target]).item())
    assert found == pytest.approx([6.0712676, 6.2086878], abs=1e-5)


def test_batch_contrast_counts_equal_texts_as_positives():
    points = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    texts = points[[0, 0, 2]]
    logits = points @ texts.T / 0.07
    target = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(batch_contrast(points, texts, ["a", "A ", "b"]), expected)


def test_the_bank_is_first_in_first_out_and_rests_in_evaluation():
    bank = MemoryBank(3, 2)
    rows = torch.arange(8.0).reshape(4, 2)
    bank.add(rows[:2], rows[:2])
    bank.add(rows[2:], rows[2:])
    assert bank.points.tolist() == [[6.0, 7.0], [2.0, 3.0], [4.0, 5.0]]
    before = bank.texts.clone()
    bank.eval().contrast(F.normalize(rows[1:3], dim=-1), F.normalize(rows[1:3], dim=-1))
    assert torch.equal(bank.texts, before)
    bank.add(rows, rows)  # more pairs than entries: the last three stay
    assert sorted(bank.points[:, 0].tolist()) == [2.0, 4.0, 6.0]


def test_bank_contrast_of_perfect_pairs_is_small():
    units = torch.eye(4)
    assert bank_contrast(units[:2], units[:2], units[2:], units[2:]).item() < 1e-5
