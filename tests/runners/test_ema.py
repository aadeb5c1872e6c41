"""The average of weights and batch statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lavis.runners.ema import Ema, batch_statistics


def normed():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False))
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    return model


def test_batch_statistics_are_averaged_with_the_weights():
    model = normed()
    average = Ema(model, 0.9)
    for value in batch_statistics(model).values():
        value.add_(1.0)
    average.update(1000)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with average.applied():
        assert model[1].running_mean.tolist() == pytest.approx([0.1, 0.1])
        assert model[2].running_var.tolist() == pytest.approx([1.1, 1.1])
        assert torch.equal(model.mask, own["mask"])
        assert torch.equal(model[1].num_batches_tracked, own["1.num_batches_tracked"])
    for name, value in model.state_dict().items():
        assert torch.equal(value, own[name])


def test_an_average_without_statistics_of_an_older_checkpoint_still_resumes():
    from lavis.runners.shard_files import load_tensors

    model = normed()
    average = Ema(model, 0.9)
    stored = {name: torch.full_like(p, 3.0) for name, p in model.named_parameters()}
    load_tensors(average.state_dict(), stored)
    assert average.average["0.weight"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert average.average["1.running_var"].tolist() == [1.0, 1.0]
