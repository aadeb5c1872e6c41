"""The data set class: records, and field loaders that make a sample of each.

    dataset = RecordDataset(records, [PointLoader(store, processor), CaptionLoader(str.lower)])
    dataset[0]                       # {"point_cloud": …, "box_size": …, "text_input": …, …}

A loader has a `stream` and `load(record, rng) -> fields`; later loaders replace fields of earlier
ones. `rng` is a function of (seed, epoch, stream, instance id): neither the number of workers nor
of processes changes a sample.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from lavis.datasets.datasets.base_dataset import BaseDataset

from lavis.common.errors import DataError
from lavis.datasets.datasets.annotations import Entry, sample_rng
from lavis.datasets.datasets.record_texts import one_text_each, text_problem
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.samples import Batch, Sample, collate
from lavis.datasets.stores.point_stores import PointStore


class FieldLoader(Protocol):
    """Load some fields of a sample."""

    @property
    def stream(self) -> str:
        """Name of the random numbers; loaders with different names draw independently."""
        ...

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return fields of the table in lavis/datasets/samples.py, or none."""
        ...


class RecordStep(Protocol):
    """Change a record before its fields are loaded (mirroring, …)."""

    @property
    def stream(self) -> str:
        """As of a `FieldLoader`."""
        ...

    def __call__(self, record: Entry, rng: np.random.Generator) -> Entry:
        """Return the record or a changed copy."""
        ...


class RecordDataset(BaseDataset):
    """Samples made of records by field loaders.

    Args:
        records: mappings with `id_key` and `required_text`; `instance_id` is added.
        loaders: what a sample consists of, in order.
        steps: changes of a record before it is loaded.
        seed: of everything that is drawn.
        where: files or source of the records, for messages.
        max_bad_fraction: share of records that may be left out as unusable.

    Attributes:
        annotation: the records in use.
        bad_samples: records left out, with reasons.
        class_names, class_templates: for classification, where the source has classes.
        class_embeds: float32 [K,E], embeddings of the class names that came with the data.
        unit: of the sizes, where texts name whole ones of it: "stud"; None: they name none.
        data_version: {"name", "version", "split_file_sha256"} for result files, where the builder
            knows it.

    Raises:
        DataError: more than `max_bad_fraction` of the records lack a required text, or hold
            something else in its place (lavis/datasets/datasets/record_texts.py).
    """

    id_key = "object_id"
    required_text: tuple[str, ...] = ("object_id", "caption")
    class_names: Sequence[str] = ()
    class_templates: Sequence[str] | None = None
    class_embeds: np.ndarray | None = None
    unit: str | None = None
    data_version: dict[str, Any] | None = None

    def __init__(
        self,
        records: Sequence[Entry],
        loaders: Sequence[FieldLoader],
        *,
        steps: Sequence[RecordStep] = (),
        seed: int = 42,
        where: str = "records",
        max_bad_fraction: float = 0.0,
    ) -> None:
        super().__init__()
        self.loaders, self.steps, self.seed = tuple(loaders), tuple(steps), seed
        self.where, self.max_bad_fraction = where, max_bad_fraction
        self.bad_samples: list[dict[str, str]] = []
        # Shared memory: persistent worker processes read the epoch, too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._reference: RecordDataset | None = None
        self.annotation: list[Entry] = [
            {**one_text_each(record), "instance_id": str(record.get(self.id_key, ""))}
            for record in records
        ]
        self.leave_out(lambda record: text_problem(record, self.required_text))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that random draws depend on."""
        self._epoch.fill_(epoch)

    def rng(self, stream: str, record: Entry) -> np.random.Generator:
        """Return the random numbers of one stream for one record in this epoch."""
        return sample_rng(self.seed, int(self._epoch), stream + record["instance_id"])

    def __getitem__(self, index: int) -> Sample:
        record = self.annotation[index]
        for step in self.steps:
            record = step(record, self.rng(step.stream, record))
        sample: Sample = {}
        for loader in self.loaders:
            sample |= loader.load(record, self.rng(loader.stream, record))
        return sample

    def collater(self, samples: list[Sample]) -> Batch:
        """Make a batch of samples by the table of fields (lavis/datasets/samples.py)."""
        return collate(samples)

    @property
    def _point_loader(self) -> PointLoader:
        return next(loader for loader in self.loaders if isinstance(loader, PointLoader))

    @property
    def point_store(self) -> PointStore:
        """Store of the clouds."""
        return self._point_loader.store

    @point_store.setter
    def point_store(self, store: PointStore) -> None:
        replaced = dataclasses.replace(self._point_loader, store=store)
        self.loaders = tuple(
            replaced if isinstance(loader, PointLoader) else loader for loader in self.loaders
        )

    @property
    def point_processor(self) -> Callable[..., Any]:
        """Processor of every cloud."""
        return self._point_loader.processor

    def text_fields(self, record: Entry) -> Sample:
        """Return the fields of a record that need no cloud."""
        sample: Sample = {}
        for loader in self.loaders:
            if loader.stream == "text:":
                sample |= loader.load(record, self.rng(loader.stream, record))
        return sample

    def train_annotation(self) -> list[Entry]:
        """Return the records of the training split, for baselines."""
        return self.reference_dataset().annotation

    def set_reference(self, dataset: RecordDataset) -> None:
        """Name the training objects under evaluation processing (see `reference_dataset`)."""
        self._reference = dataset

    def reference_dataset(self) -> RecordDataset:
        """Return the training objects with evaluation processing, for nearest neighbours."""
        if self._reference is None:
            raise DataError("this data set has no training split", where=self.where)
        return self._reference

    def drop_bad_samples(self) -> None:
        """Read every cloud once; leave out and list the unusable ones.

        Done before training and not on the way, so that every process counts the same samples.

        Raises:
            DataError: more than `max_bad_fraction` of the records are unusable.
        """
        problems: dict[str, str] = {}
        for record in {record["object_id"]: record for record in self.annotation}.values():
            try:
                self._point_loader.read(record)
            except DataError as error:
                problems[record["object_id"]] = str(error)
        self.leave_out(lambda record: problems.get(record["object_id"]))

    def leave_out(self, problem: Callable[[Entry], str | None]) -> None:
        """Drop and list the records with a problem; too many are an error."""
        reasons = [problem(record) for record in self.annotation]
        bad = [
            {"instance_id": record["instance_id"], "reason": reason}
            for record, reason in zip(self.annotation, reasons)
            if reason is not None
        ]
        total = len(self.annotation)
        if len(bad) > self.max_bad_fraction * total:
            raise DataError(
                f"{len(bad)} of {total} records cannot be used",
                where=f"{self.where}: {[b['instance_id'] for b in bad[:10]]}",
                got=bad[0]["reason"],
                expected=f"at most a share of {self.max_bad_fraction}",
                fix="repair the records, or raise build_info.max_bad_fraction",
            )
        if bad:
            names = ", ".join(b["instance_id"] for b in bad[:20])
            logging.warning("%d of %d records left out: %s", len(bad), total, names)
        self.bad_samples += bad
        self.annotation = [
            record for record, reason in zip(self.annotation, reasons) if reason is None
        ]
