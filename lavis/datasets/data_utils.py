"""Moving and grouping samples: replaces the stock module, which imports decord.

Video decoding and archive handling are left out: point clouds need neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lavis.datasets.datasets.base_dataset import ConcatDataset


def apply_to_sample(function: Callable[[torch.Tensor], Any], sample: Any) -> Any:
    """Apply `function` to every tensor in nested dicts, lists and tuples."""
    if torch.is_tensor(sample):
        return function(sample)
    if isinstance(sample, dict):
        return {key: apply_to_sample(function, value) for key, value in sample.items()}
    if isinstance(sample, (list, tuple)):
        return type(sample)(apply_to_sample(function, value) for value in sample)
    return sample


def move_to_device(samples: Any, device: torch.device | str) -> Any:
    """Copy every tensor of a batch to `device`."""
    return apply_to_sample(lambda tensor: tensor.to(device, non_blocking=True), samples)


def move_to_cuda(sample: Any) -> Any:
    """Copy every tensor of a batch to the current CUDA device (stock name)."""
    return move_to_device(sample, "cuda")


def prepare_sample(samples: Any, cuda_enabled: bool = True) -> Any:
    """Copy a batch to CUDA when asked (stock name and signature)."""
    return move_to_cuda(samples) if cuda_enabled else samples


def reorg_datasets_by_split(datasets: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn {data set: {split: dataset}} into {split: [datasets]}."""
    by_split: dict[str, list[Any]] = {}
    for splits in datasets.values():
        for split, dataset in splits.items():
            by_split.setdefault(split, []).append(dataset)
    return by_split


def concat_datasets(datasets: dict[str, list[Any]]) -> dict[str, Any]:
    """Join the training data sets into one; any other split must come from one data set."""
    joined: dict[str, Any] = {}
    for split, members in datasets.items():
        if split != "train" and len(members) > 1:
            raise ValueError(f"split {split!r} comes from {len(members)} data sets, expected one")
        joined[split] = members[0] if len(members) == 1 else ConcatDataset(members)
    return joined
