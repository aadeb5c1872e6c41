"""Training order and evaluation shards as pure functions of seed, epoch and rank.

Training: the order of an epoch depends on (seed, epoch) alone. It is cut into optimiser steps
first and only then into batches and ranks, so that the set of samples behind each step is the same
for any world size and accumulation that give the same global batch.

Evaluation: strided shards without padding. Each sample is scored exactly once for any number of
samples and ranks; shards may differ by one sample, so nothing may synchronise per batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from lavis.common.errors import ConfigError


@dataclass(frozen=True)
class BatchGeometry:
    """How many samples a step takes: `batch_size` per rank x `world_size` x `accum` batches."""

    batch_size: int
    world_size: int = 1
    accum: int = 1

    @property
    def across_ranks(self) -> int:
        """Samples of one batch over all ranks."""
        return self.batch_size * self.world_size

    @property
    def global_batch(self) -> int:
        """Samples of one optimiser step."""
        return self.across_ranks * self.accum


def epoch_steps(
    sizes: Sequence[int],
    geometry: BatchGeometry,
    seed: int,
    epoch: int,
    repeats: Sequence[int] | None = None,
    lengths: np.ndarray | None = None,
    bucket_steps: int = 0,
    neighbours: Mapping[int, Sequence[int]] | None = None,
) -> list[np.ndarray]:
    """Return the samples of every optimiser step of one epoch.

    Args:
        sizes: number of samples of each training data set.
        geometry: how many samples a step takes.
        seed, epoch: the order is a function of these.
        repeats: how often an epoch passes through each data set; None is once.
        lengths: of every sample's text, by global index; None: batches of any length.
        bucket_steps: so many steps are sorted by length together, then cut and shuffled.
        neighbours: {global index: similar ones}, which share a step; None: any samples do.

    Returns:
        One array of global indices per step, each from a single data set (data sets may have
        different fields). Data sets are mixed in proportion to their size. The last step of a data
        set may be partial: its length is a multiple of `geometry.across_ranks`, and what is left
        over is dropped this epoch (another remainder each epoch).

    Raises:
        ConfigError: a data set is smaller than one batch over all ranks.
    """
    rng = np.random.default_rng([seed, epoch])
    steps: list[np.ndarray] = []
    offset = 0
    for size, passes in zip(sizes, repeats or [1] * len(sizes), strict=True):
        if size < geometry.across_ranks:
            raise _too_small(size, geometry)
        usable = size - size % geometry.across_ranks
        starts = range(0, usable, geometry.global_batch)
        for _ in range(passes):
            order = rng.permutation(size) + offset
            if lengths is not None and bucket_steps > 1:
                order = sort_in_buckets(order, lengths, geometry, bucket_steps, rng)
            if neighbours is not None:
                order = gather_neighbours(order, neighbours, geometry.global_batch)
            steps += [order[s : min(s + geometry.global_batch, usable)] for s in starts]
        offset += size
    if len(sizes) > 1:
        steps = [steps[index] for index in rng.permutation(len(steps))]
    return steps


def sort_in_buckets(
    order: np.ndarray,
    lengths: np.ndarray,
    geometry: BatchGeometry,
    bucket_steps: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return `order` with samples of similar length in the same step.

    Windows of `bucket_steps` steps are sorted (ties keep their random order) and their steps
    shuffled, so that padding shrinks while the order of lengths stays random.
    """
    batch = geometry.global_batch
    window = batch * bucket_steps
    sorted_order = order.copy()
    for start in range(0, len(order) - window + 1, window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        steps = part.reshape(bucket_steps, batch)[rng.permutation(bucket_steps)]
        sorted_order[start : start + window] = steps.ravel()
    return sorted_order


def gather_neighbours(
    order: np.ndarray, neighbours: Mapping[int, Sequence[int]], batch: int
) -> np.ndarray:
    """Return `order` with each sample followed by its neighbours (hard negatives).

    Steps of `batch` samples are filled with seeds in the given order, each followed by those of
    its neighbours that are left. A step's last seed may have room for some of them only; the others
    become seeds later. Each sample stays exactly once.
    """
    left = set(order.tolist())
    filled: list[int] = []
    for seed in order.tolist():
        if seed in left:
            room = batch - len(filled) % batch
            group = dict.fromkeys([seed, *(n for n in neighbours.get(seed, ()) if n in left)])
            chosen = list(group)[:room]
            left.difference_update(chosen)
            filled += chosen
    return np.asarray(filled, dtype=order.dtype)


def _too_small(size: int, geometry: BatchGeometry) -> ConfigError:
    """Compose the message for a data set that fills no batch."""
    return ConfigError(
        "a training data set is smaller than one batch",
        where="run.batch_size_train",
        got=f"{size} samples",
        expected=f"at least {geometry.batch_size} x {geometry.world_size} processes",
        fix="lower run.batch_size_train",
    )


class TrainBatches(Sampler[list[int]]):
    """Batches of one rank for one epoch, from optimiser step `start_step` on.

    Iterating yields lists of `batch_size` indices; `accum_counts[s]` batches belong to step s.
    """

    def __init__(
        self, steps: Sequence[np.ndarray], geometry: BatchGeometry, rank: int, start_step: int = 0
    ) -> None:
        self.geometry = geometry
        self.rank = rank
        self.steps = steps[start_step:]
        self.accum_counts = [len(step) // geometry.across_ranks for step in self.steps]

    def __len__(self) -> int:
        return sum(self.accum_counts)

    def __iter__(self) -> Iterator[list[int]]:
        per_rank = self.geometry.batch_size
        for step in self.steps:
            # [accum, world_size, batch_size]: contiguous, so rank and accumulation exchange freely.
            for batch in step.reshape(-1, self.geometry.world_size, per_rank):
                yield batch[self.rank].tolist()


class EvalShard(Sampler[int]):
    """Indices rank, rank + world_size, ... below `size`: no padding, each index on one rank."""

    def __init__(self, size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, size, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
