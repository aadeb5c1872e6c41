"""Point clouds with captions, questions or labels.

A sample is a dict: point_cloud float32 [N,3|6], box_size float32 [3], text_input, instance_id,
object_id and the fields of the task. `box_size` is the bounding box (x, y, z) of the cloud as it
was stored, in the data's own unit: what normalisation and augmentation take away. Augmentation is
a function of (seed, epoch, instance id): neither the number of workers nor of processes changes it.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lavis.datasets.datasets.base_dataset import BaseDataset

from lavis.common.errors import ConfigError, DataError, explain
from lavis.datasets.datasets.annotations import (
    Entry,
    check_text_weights,
    choose_text,
    draw_field,
    read_annotation,
    repeat_types,
    sample_rng,
    take,
)
from lavis.datasets.datasets.mirroring import mirror_cloud, mirror_entry
from lavis.datasets.datasets.point_stores import PointStore, check_cloud
from lavis.datasets.samples import Batch, Sample, collate

OPTIONAL_FIELDS = ("description", "colored_caption", "category")


class PointTextDataset(BaseDataset):
    """Objects with one caption each (captioning, pretraining).

    Sample: point_cloud, box_size, text_input (processed caption), instance_id, object_id, caption,
    and when annotated description, colored_caption, category, label.

    Args:
        point_processor: `__call__(cloud, rng)`, or any callable on a cloud.
        text_processor: applied to the caption or question.
        point_store: where clouds come from.
        ann_paths: JSON files, lists of records.
        limit: keep so many records, chosen by a hash of their id; None keeps all.
        seed: of the augmentation.
        class_names: label texts in the order of the labels.
        train_ann_paths: annotations of the training split, for baselines.
        max_bad_fraction: share of unusable clouds that may be left out (see `drop_bad_samples`).
        text_weights: fields that `text_input` is drawn from, and how often, as OpenShape draws one
            of several texts per object and epoch; None is always `caption`.
        mirror_probability: share of samples that are seen in a mirror, cloud and words.
        size_drop: share of samples whose box is NaN, "size unknown"; for training.
        text_field: the field that serves as `caption`.

    Attributes:
        data_version: {"name", "version", "split_file_sha256"} for result files, where the builder
            knows it.
    """

    # Class attributes that a subclass changes.
    id_key = "object_id"
    required_text: tuple[str, ...] = ("object_id", "caption")
    class_templates: Sequence[str] | None = None
    data_version: dict[str, Any] | None = None

    def __init__(
        self,
        point_processor: Callable[..., torch.Tensor],
        text_processor: Callable[[str], str],
        point_store: PointStore,
        ann_paths: Sequence[str | Path],
        *,
        limit: int | None = None,
        seed: int = 42,
        class_names: Sequence[str] = (),
        train_ann_paths: Sequence[str | Path] = (),
        max_bad_fraction: float = 0.0,
        text_weights: Mapping[str, float] | None = None,
        mirror_probability: float = 0.0,
        size_drop: float = 0.0,
        text_field: str = "caption",
    ) -> None:
        super().__init__(vis_processor=point_processor, text_processor=text_processor)
        self.point_processor, self.point_store = point_processor, point_store
        self.ann_paths, self.train_ann_paths = list(ann_paths), list(train_ann_paths)
        self.class_names, self.seed, self.limit = list(class_names), seed, limit
        self.label_of = {name: label for label, name in enumerate(self.class_names)}
        self.max_bad_fraction = max_bad_fraction
        self.mirror_probability = mirror_probability
        self.size_drop = check_share("build_info.size_drop", size_drop)
        self.bad_samples: list[dict[str, str]] = []
        # Shared memory: worker processes that live across epochs see the epoch, too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._seeded = "rng" in inspect.signature(point_processor).parameters
        self._reference: PointTextDataset | None = None
        self.text_field = text_field
        self.annotation = take(self._read(self.ann_paths), limit, self.id_key)
        self._add_instance_ids()
        self._drop_empty_text()
        self.text_weights = dict(text_weights or {})
        check_text_weights(self.text_weights, self.annotation)
        if max_bad_fraction > 0:
            self.drop_bad_samples()

    def _read(self, paths: Sequence[str | Path]) -> list[Entry]:
        """Read records, with the chosen text as `caption`."""
        return choose_text(read_annotation(paths), self.text_field)

    def _add_instance_ids(self, key: str = "instance_id") -> None:
        for entry in self.annotation:
            entry[key] = str(entry.get(self.id_key, ""))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that augmentation depends on."""
        self._epoch.fill_(epoch)

    def set_seed(self, seed: int) -> None:
        """Choose the seed that augmentation depends on; call it before workers start."""
        self.seed = seed

    def __getitem__(self, index: int) -> Sample:
        entry = self.annotation[index]
        mirrored = self._is_mirrored(entry)
        if mirrored:
            entry = mirror_entry(entry)
        return {**self.load_object(entry, mirrored), **self.text_fields(entry)}

    def _is_mirrored(self, entry: Entry) -> bool:
        if not self.mirror_probability:
            return False
        rng = sample_rng(self.seed, int(self._epoch), f"mirror:{entry['instance_id']}")
        return bool(rng.random() < self.mirror_probability)

    def load_object(self, entry: Entry, mirrored: bool = False) -> Sample:
        """Return a record's processed cloud, float32 [N,3|6], and its box before that, [3].

        The box is NaN where the size is unknown: withheld, or of a store whose scale is NaN.
        """
        object_id = entry["object_id"]
        cloud = check_cloud(self.point_store.load(object_id), object_id)
        if mirrored:
            cloud = mirror_cloud(cloud)
        scale = math.nan if self._size_is_withheld(entry) else self.point_store.scale(object_id)
        box = np.ptp(cloud[:, :3], axis=0) * np.float32(scale)  # [3]
        return {"point_cloud": self._process(cloud, entry), "box_size": torch.from_numpy(box)}

    def _size_is_withheld(self, entry: Entry) -> bool:
        if not self.size_drop:
            return False
        rng = sample_rng(self.seed, int(self._epoch), f"size:{entry['instance_id']}")
        return bool(rng.random() < self.size_drop)

    def _process(self, cloud: np.ndarray, entry: Entry) -> torch.Tensor:
        if not self._seeded:
            return self.point_processor(cloud)
        rng = sample_rng(self.seed, int(self._epoch), entry["instance_id"])
        return self.point_processor(cloud, rng=rng)

    def text_fields(self, entry: Entry) -> Sample:
        """Return everything of a sample but its cloud."""
        fields = {
            "text_input": self.text_processor(self.drawn_text(entry)),
            "instance_id": entry["instance_id"],
            "object_id": entry["object_id"],
            "caption": entry["caption"],
        }
        optional: Sample = {key: entry[key] for key in OPTIONAL_FIELDS if key in entry}
        return {**fields, **optional, **self.label_field(entry)}

    def drawn_text(self, entry: Entry) -> str:
        """Return the record's text of this epoch."""
        if not self.text_weights:
            return entry["caption"]
        rng = sample_rng(self.seed, int(self._epoch), f"text:{entry['instance_id']}")
        return entry[draw_field(self.text_weights, rng)]

    def label_field(self, entry: Entry) -> Sample:
        """Return {"label": number} when the record has a known category."""
        name = str(entry.get("category", "")).lower()
        return {"label": self.label_of[name]} if name in self.label_of else {}

    def collater(self, samples: list[Sample]) -> Batch:
        """Make a batch of samples by the table of fields (lavis/datasets/samples.py)."""
        return collate(samples)

    def train_annotation(self) -> list[Entry]:
        """Return the records of the training split, for baselines."""
        return self._read(self.train_ann_paths or self.ann_paths)

    def train_labels(self) -> list[int]:
        """Return the labels of the training objects whose class is among `class_names`."""
        names = [str(entry.get("category", "")).lower() for entry in self.train_annotation()]
        return [self.label_of[name] for name in names if name in self.label_of]

    def set_reference(self, dataset: PointTextDataset) -> None:
        """Name the training objects under evaluation processing (see `reference_dataset`)."""
        self._reference = dataset

    def reference_dataset(self) -> PointTextDataset:
        """Return the training objects with evaluation processing, for nearest neighbours."""
        if self._reference is None:
            raise DataError(
                explain("this data set has no training split", where=str(self.ann_paths))
            )
        return self._reference

    def drop_bad_samples(self) -> None:
        """Read every cloud once; leave out and list the unusable ones.

        Done before training and not on the way, so that every process counts the same samples.

        Raises:
            DataError: more than `max_bad_fraction` of the records are unusable.
        """
        problems: dict[str, str] = {}
        for object_id in dict.fromkeys(entry["object_id"] for entry in self.annotation):
            try:
                check_cloud(self.point_store.load(object_id), object_id)
            except DataError as error:
                problems[object_id] = str(error)
        self._leave_out(lambda entry: problems.get(entry["object_id"]))

    def _drop_empty_text(self) -> None:
        def problem(entry: Entry) -> str | None:
            empty = [key for key in self.required_text if not str(entry.get(key) or "").strip()]
            return f"empty or missing {', '.join(empty)}" if empty else None

        self._leave_out(problem)

    def _leave_out(self, problem: Callable[[Entry], str | None]) -> None:
        """Drop and list the records with a problem; too many are an error."""
        kept, total = [], len(self.annotation)
        bad = []
        for entry in self.annotation:
            reason = problem(entry)
            if reason is None:
                kept.append(entry)
            else:
                bad.append({"instance_id": entry["instance_id"], "reason": reason})
        if len(bad) > self.max_bad_fraction * total:
            raise DataError(
                explain(
                    f"{len(bad)} of {total} records cannot be used",
                    where=f"{self.ann_paths}: {[b['instance_id'] for b in bad[:10]]}",
                    got=bad[0]["reason"],
                    expected=f"at most a share of {self.max_bad_fraction}",
                    fix="repair the records, or raise build_info.max_bad_fraction",
                )
            )
        if bad:
            names = ", ".join(b["instance_id"] for b in bad[:20])
            logging.warning("%d of %d records left out: %s", len(bad), total, names)
        self.bad_samples += bad
        self.annotation = kept


def check_share(key: str, share: float) -> float:
    """Return a share of samples when it is one.

    Raises:
        ConfigError: it is below 0 or above 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigError(explain("not a share", where=key, got=share, expected="0 to 1"))
    return share


class PointQADataset(PointTextDataset):
    """Questions about objects; several per object.

    Sample: point_cloud, box_size, text_input = question (processed), question_id = instance_id,
    object_id, answer (the one to learn), answers (all that are right), family, question_type.

    Args:
        question_repeats: {question type: how often an epoch names its questions}, so that rare
            types are learned, too.
    """

    id_key = "question_id"
    required_text = ("question_id", "object_id", "question", "answer")

    def __init__(
        self, *args: Any, question_repeats: Mapping[str, int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.annotation = repeat_types(self.annotation, question_repeats or {})

    def text_fields(self, entry: Entry) -> Sample:
        """Return everything of a sample but its cloud."""
        question = self.text_processor(entry["question"])
        return {
            "text_input": question,
            "question": question,
            "instance_id": entry["instance_id"],
            "question_id": entry["question_id"],
            "object_id": entry["object_id"],
            "answer": entry["answer"],
            "answers": list(entry.get("answers") or [entry["answer"]]),
            "family": entry.get("family", ""),
            "question_type": entry.get("question_type", ""),
        }


class PointRetrievalDataset(PointTextDataset):
    """Captions and objects to be matched; objects with equal captions are all right answers.

    Attributes:
        texts: the distinct processed captions, in order of first appearance.
        text_to_points: for each text the indices of its objects.
        point_to_text: for each object the index of its text.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        index: dict[str, int] = {}
        texts = [self.text_processor(entry["caption"]) for entry in self.annotation]
        self.point_to_text = [index.setdefault(text, len(index)) for text in texts]
        self.texts = list(index)
        self.text_to_points: list[list[int]] = [[] for _ in self.texts]
        for point, text in enumerate(self.point_to_text):
            self.text_to_points[text].append(point)


class PointClassificationDataset(PointTextDataset):
    """Objects with a class: every sample has `label`, an index into `class_names`."""

    required_text = ("object_id", "caption", "category")

    def label_field(self, entry: Entry) -> Sample:
        """Return {"label": number}; a category outside `class_names` is an error."""
        field = super().label_field(entry)
        if not field:
            raise DataError(
                explain(
                    "a record's category is not among the classes",
                    where=f"object {entry.get('object_id')}",
                    got=entry.get("category"),
                    expected=self.class_names[:10],
                    fix="annotations and classes.json must come from the same preparation",
                )
            )
        return field
