"""Data loaders of the runner: single-data-set training batches, unpadded evaluation shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import default_collate

from lavis.common.errors import ConfigError
from lavis.common.preemption import ignore_stop_signals
from lavis.runners.samplers import BatchGeometry, EvalShard, TrainBatches, epoch_steps

SameObject = Literal["same_object"]
SAME_OBJECT: Final[SameObject] = "same_object"


class Fetched(NamedTuple):
    """Samples of one batch and the index of their data set."""

    member: int
    samples: list[Any]


class MixedDataset(Dataset):
    """Several map-style data sets under one range of indices.

    Batches come from one member at a time and are collated by that member, so the members may have
    different fields (stock LAVIS collates with the first member's collater and drops fields).
    """

    def __init__(self, members: Sequence[Any]) -> None:
        self.members = list(members)
        self.sizes = [len(member) for member in self.members]
        self.ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def bad_samples(self) -> list[Any]:
        """What the members left out as unusable, with the reasons."""
        return [bad for member in self.members for bad in getattr(member, "bad_samples", ())]

    def text_lengths(self) -> np.ndarray:
        """Return the words of every sample's text, by global index.

        Raises:
            ConfigError: a member has no annotation with texts.
        """
        lengths: list[int] = []
        for member in self.members:
            annotation = getattr(member, "annotation", None)
            if annotation is None:
                message = "a data set without annotation cannot be sorted by text length"
                raise ConfigError(message, where="run.length_buckets", got=type(member))
            lengths += [len(_first_text(entry).split()) for entry in annotation]
        return np.asarray(lengths)

    def neighbours(self, wanted: Mapping[str, Sequence[str]]) -> dict[int, list[int]]:
        """Return {global index: neighbours in the same data set} of lists by instance id.

        An object may have several samples (captions); ids that are not trained on are left out.

        Raises:
            ConfigError: no id of the lists is one of the training data, or there are no ids.
        """
        found: dict[int, list[int]] = {}
        for start, member in zip([0, *self.ends[:-1]], self.members, strict=True):
            samples: dict[str, list[int]] = {}
            for index, entry in enumerate(getattr(member, "annotation", None) or ()):
                samples.setdefault(str(entry["instance_id"]), []).append(int(start) + index)
            for name in samples.keys() & wanted.keys():
                near = [i for other in wanted[name] for i in samples.get(str(other), ())]
                found |= dict.fromkeys(samples[name], near)
        if not any(found.values()):
            message = "no neighbour list names two objects of the training data"
            got = f"{len(wanted)} lists"
            raise ConfigError(message, where="run.batch_plan", got=got)
        return found

    def siblings(self) -> dict[int, list[int]]:
        """Return {global index: samples of the same object} of objects with several samples.

        Raises:
            ConfigError: every object has one sample.
        """
        found: dict[int, list[int]] = {}
        for start, member in zip([0, *self.ends[:-1]], self.members, strict=True):
            samples: dict[str, list[int]] = {}
            for index, entry in enumerate(getattr(member, "annotation", None) or ()):
                samples.setdefault(str(entry["object_id"]), []).append(int(start) + index)
            for same in samples.values():
                found |= dict.fromkeys(same, same)
        if all(len(same) < 2 for same in found.values()):
            message = "no object of the training data has several samples"
            raise ConfigError(message, where="run.batch_plan", got=SAME_OBJECT, fix="leave it out")
        return found

    def locate(self, index: int) -> tuple[int, int]:
        """Return (member, index within it) of a global index."""
        member = int(np.searchsorted(self.ends, index, side="right"))
        return member, index - int(self.ends[member]) + self.sizes[member]

    def __getitem__(self, index: int) -> Any:
        member, local = self.locate(index)
        return self.members[member][local]

    def __getitems__(self, indices: list[int]) -> Fetched:
        """Fetch one batch (torch's fetcher calls this when it exists)."""
        located = [self.locate(index) for index in indices]
        member = located[0][0]
        locals_ = [local for _, local in located]
        dataset = self.members[member]
        if hasattr(dataset, "__getitems__"):
            return Fetched(member, dataset.__getitems__(locals_))
        return Fetched(member, [dataset[local] for local in locals_])

    def collater(self, fetched: Any) -> Any:
        """Collate what `__getitems__` fetched, with the collater of the data set it is from."""
        return _collate_fn(self.members[fetched.member])(fetched.samples)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of every member; augmentation depends on it."""
        for member in self.members:
            if hasattr(member, "set_epoch"):
                member.set_epoch(epoch)


def _collate_fn(dataset: Any) -> Any:
    return getattr(dataset, "collater", None) or default_collate


class TrainLoader:
    """Training batches of one rank, epoch by epoch.

    Args:
        datasets: the training data sets.
        geometry: samples per batch, ranks and accumulation.
        rank: this process.
        seed: order and worker seeds are functions of (seed, epoch).
        num_workers: loader processes.
        pin_memory: page-locked batches, for CUDA.
        repeats: how often an epoch passes through each data set; None is once.
        bucket_steps: so many steps are sorted by text length together; below 2: none.
        neighbours: {instance id: ids that share a step with it}; SAME_OBJECT: the samples of one
            object; None: any samples do.
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        geometry: BatchGeometry,
        *,
        rank: int = 0,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        repeats: Sequence[int] | None = None,
        bucket_steps: int = 0,
        neighbours: Mapping[str, Sequence[str]] | SameObject | None = None,
    ) -> None:
        self.dataset = MixedDataset(datasets)
        self.repeats, self.bucket_steps = repeats, bucket_steps
        self.lengths = self.dataset.text_lengths() if bucket_steps > 1 else None
        self.neighbours = self._neighbours(neighbours)
        self.geometry, self.rank, self.seed = geometry, rank, seed
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.steps_per_epoch = len(self._steps(0))

    def _neighbours(
        self, wanted: Mapping[str, Sequence[str]] | SameObject | None
    ) -> dict[int, list[int]] | None:
        if wanted is None:
            return None
        if wanted == SAME_OBJECT:
            return self.dataset.siblings()
        return self.dataset.neighbours(wanted)

    def _steps(self, epoch: int) -> list[np.ndarray]:
        """Return the samples of every optimiser step of an epoch."""
        return epoch_steps(
            self.dataset.sizes,
            self.geometry,
            self.seed,
            epoch,
            self.repeats,
            self.lengths,
            self.bucket_steps,
            self.neighbours,
        )

    def epoch(self, epoch: int, start_step: int = 0) -> tuple[DataLoader, list[int]]:
        """Return (loader, batches per step) of one epoch from optimiser step `start_step` on."""
        self.dataset.set_epoch(epoch)
        batches = TrainBatches(self._steps(epoch), self.geometry, self.rank, start_step)
        # Its own generator: a loader otherwise draws from torch's global one, which a resumed run
        # would do once more than the undisturbed run.
        worker_seed = np.random.SeedSequence([self.seed, epoch, self.rank]).generate_state(1)[0]
        loader = DataLoader(
            self.dataset,
            batch_sampler=batches,
            collate_fn=self.dataset.collater,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            generator=torch.Generator().manual_seed(int(worker_seed)),
            worker_init_fn=ignore_stop_signals,
        )
        return loader, batches.accum_counts


def eval_loader(
    dataset: Any,
    batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """Return the loader of this rank's share of an evaluation split; each sample on one rank."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EvalShard(len(dataset), rank, world_size),
        collate_fn=_collate_fn(dataset),
        num_workers=num_workers,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=ignore_stop_signals,
    )


def _first_text(entry: Mapping[str, Any]) -> str:
    """Return the caption of a record, else its question; of several texts the first."""
    text = next((entry[key] for key in ("caption", "question") if entry.get(key)), "")
    return str(text[0] if isinstance(text, list) else text)
