"""Objects with captions, questions or labels, read from annotation files.

A sample is a dict: point_cloud float32 [N,3|6], box_size float32 [3], text_input, instance_id,
object_id and the fields of the task (lavis/datasets/fields/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.datasets.datasets.annotations import (
    Entry,
    check_text_weights,
    choose_text,
    read_annotation,
    take,
)
from lavis.datasets.datasets.record_dataset import FieldLoader, RecordDataset, RecordStep
from lavis.datasets.datasets.record_texts import joined, one_text_each
from lavis.datasets.fields.points import PointLoader, SizeDrop
from lavis.datasets.fields.texts import CaptionLoader, QuestionLoader
from lavis.datasets.samples import Sample
from lavis.datasets.stores.point_stores import PointStore


class PointTextDataset(RecordDataset):
    """Objects with one or more captions each (captioning, pretraining).

    Args:
        point_processor: `__call__(cloud, rng)`, or any callable on a cloud.
        text_processor: applied to the caption or question.
        point_store: where clouds come from.
        ann_paths: JSON files, lists of records; or what `read` reads.
        limit: keep so many records, chosen by a hash of their id; None keeps all.
        seed: of the augmentation.
        class_names: label texts in the order of the labels.
        train_ann_paths: annotations of the training split, for baselines; empty: `ann_paths`, None:
            there is no training split.
        max_bad_fraction: share of unusable clouds that may be left out (see `drop_bad_samples`).
        text_weights: see `CaptionLoader`.
        size_drop: share of samples whose box is NaN, "size unknown"; for training.
        text_field: the field that serves as `caption`.
        steps: changes of a record before it is loaded.
        point_loader: how clouds are read.
        draws_texts: for training: draw one of several captions or answers per epoch, and keep
            records of one id apart. Else the first is `text_input`, all are references, and records
            of one id are joined.
        read: returns the records of annotation files, for releases in another layout.
    """

    needs_label = False

    def __init__(
        self,
        point_processor: Callable[..., Any],
        text_processor: Callable[[str], str],
        point_store: PointStore,
        ann_paths: Sequence[str | Path],
        *,
        limit: int | None = None,
        seed: int = 42,
        class_names: Sequence[str] = (),
        train_ann_paths: Sequence[str | Path] | None = (),
        max_bad_fraction: float = 0.0,
        text_weights: Mapping[str, float] | None = None,
        size_drop: float = 0.0,
        text_field: str = "caption",
        steps: Sequence[RecordStep] = (),
        point_loader: type[PointLoader] = PointLoader,
        draws_texts: bool = False,
        read: Callable[[Sequence[str | Path]], list[Entry]] = read_annotation,
    ) -> None:
        self.ann_paths, self._read_files = list(ann_paths), read
        self.train_ann_paths = None if train_ann_paths is None else list(train_ann_paths)
        self.class_names, self.text_field = list(class_names), text_field
        self.text_weights, self.draws_texts = dict(text_weights or {}), draws_texts
        self._labels = CaptionLoader(str, {}, self.class_names, self.needs_label)
        super().__init__(
            take(self._items(), limit, self.id_key),
            [
                point_loader(point_store, point_processor),
                *([SizeDrop(size_drop)] if size_drop else []),
                self.text_loader(text_processor),
            ],
            steps=steps,
            seed=seed,
            where=str(self.ann_paths),
            max_bad_fraction=max_bad_fraction,
        )
        self.text_processor = text_processor
        check_text_weights(self.text_weights, self.annotation)
        if max_bad_fraction > 0:
            self.drop_bad_samples()

    def text_loader(self, text_processor: Callable[[str], str]) -> FieldLoader:
        """Return what loads the texts of a record."""
        return CaptionLoader(
            text_processor,
            self.text_weights,
            self.class_names,
            self.needs_label,
            self.draws_texts,
        )

    def _items(self) -> list[Entry]:
        """Read the records of this split; those of one id are one item of an evaluation."""
        records = self._read(self.ann_paths)
        return records if self.draws_texts else joined(records, self.id_key, str(self.ann_paths))

    def _read(self, paths: Sequence[str | Path]) -> list[Entry]:
        """Read records, with the chosen text as `caption`."""
        records = [one_text_each(record) for record in self._read_files(paths)]
        return choose_text(records, self.text_field)

    def label_field(self, record: Entry) -> Sample:
        """Return {"label": number} when the record has a known category."""
        return self._labels.label(record)

    def train_annotation(self) -> list[Entry]:
        """Return the records of the training split, for baselines."""
        if self.train_ann_paths is None:
            return []
        return self._read(self.train_ann_paths or self.ann_paths)

    def train_labels(self) -> list[int]:
        """Return the labels of the training objects whose class is among `class_names`."""
        labels = CaptionLoader(str, {}, self.class_names)  # other classes are left out
        return [n for record in self.train_annotation() for n in labels.label(record).values()]


class PointQADataset(PointTextDataset):
    """Questions about objects; several per object."""

    id_key = "question_id"
    required_text = ("question_id", "object_id", "question", "answer")

    def text_loader(self, text_processor: Callable[[str], str]) -> FieldLoader:
        """Return what loads a question and its answers."""
        return QuestionLoader(text_processor, self.draws_texts)


class PointRetrievalDataset(PointTextDataset):
    """Captions and objects to be matched; objects with equal captions are all right answers.

    Of several captions of an object the first is matched.

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
    needs_label = True
