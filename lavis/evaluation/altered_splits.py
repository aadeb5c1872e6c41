"""Splits with altered clouds, evaluated in the same launch as the split itself.

Corruptions (corruptions.py) and controls (controls.py) are both such changes. An altered split is a
copy of the split's data set with another point store. Annotations and training objects are shared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# (store of the split, ids of its objects) -> store of the altered split
StoreMaker = Callable[[Any, Sequence[str]], Any]


def add_altered_splits(
    datasets: Mapping[str, dict[str, Any]],
    splits: Sequence[str],
    store_makers: Mapping[str, StoreMaker],
) -> list[str]:
    """Add altered copies of each split to its data set.

    Args:
        datasets: {data set: {split: dataset with `point_store` and `annotation`}}; gets the new
            splits.
        splits: the splits to copy.
        store_makers: {name of the alteration: what makes its store}.

    Returns:
        The new splits' names, "<split>_<alteration>".
    """
    added = []
    for name, make_store in store_makers.items():
        for split in splits:
            label = f"{split}_{name}"
            for members in datasets.values():
                if split in members:
                    members[label] = altered_copy(members[split], name, make_store)
            added.append(label)
    return added


def altered_copy(dataset: Any, name: str, make_store: StoreMaker) -> Any:
    """Return a copy of a data set that reads its clouds from an altered store.

    The copy has two further attributes: `original_store`, and `alteration`, the name.
    """
    altered = copy.copy(dataset)
    altered.original_store = original_store(dataset)
    altered.alteration = name
    altered.point_store = make_store(dataset.point_store, object_ids(dataset))
    return altered


def original_store(dataset: Any) -> Any:
    """Return the unchanged point store of a split, altered or not; baselines read this one."""
    return getattr(dataset, "original_store", None) or dataset.point_store


def object_ids(dataset: Any) -> list[str]:
    """Return the distinct object ids of a split, in order of first appearance."""
    return list(dict.fromkeys(str(entry["object_id"]) for entry in dataset.annotation))


def alteration_rng(seed: int, name: str, object_id: str) -> np.random.Generator:
    """Return the generator of one object's alteration: the same for every model and order."""
    return np.random.default_rng([seed, *f"{name}:{object_id}".encode()])
