"""The texts, ids and labels of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.datasets.annotations import Entry, draw_field
from lavis.datasets.datasets.record_texts import drawn_text
from lavis.datasets.samples import Sample

OPTIONAL_FIELDS = ("description", "colored_caption", "category")


@dataclass(frozen=True)
class CaptionLoader:
    """Load a caption: text_input (processed), instance_id, object_id, caption, and when annotated
    description, colored_caption, category, label.

    Attributes:
        text_processor: applied to the drawn text.
        text_weights: fields that `text_input` is drawn from, and how often, as OpenShape draws one
            of several texts per object and epoch; empty is always `caption`.
        class_names: label texts in the order of the labels.
        needs_label: refuse records whose category is not among `class_names`.
        draws: of several captions draw one per epoch (training); else the first (evaluation).
    """

    text_processor: Callable[[str], str]
    text_weights: Mapping[str, float] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    needs_label: bool = False
    draws: bool = False
    stream = "text:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the texts, ids and label."""
        name = draw_field(self.text_weights, rng) if self.text_weights else "caption"
        return {
            "text_input": self.text_processor(
                drawn_text(record, name, rng if self.draws else None)
            ),
            "instance_id": record["instance_id"],
            "object_id": record["object_id"],
            "caption": record["caption"],
            **{key: record[key] for key in OPTIONAL_FIELDS if key in record},
            **self.label(record),
        }

    @cached_property
    def _label_of(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.class_names)}

    def label(self, record: Entry) -> Sample:
        """Return {"label": number} when the record has a known category.

        Raises:
            DataError: it has none, and labels are needed.
        """
        name = str(record.get("category", "")).lower()
        if name in self._label_of:
            return {"label": self._label_of[name]}
        if not self.needs_label:
            return {}
        raise DataError(
            "a record's category is not among the classes",
            where=f"object {record.get('object_id')}",
            got=record.get("category"),
            expected=list(self.class_names[:10]),
            fix="annotations and classes.json must come from the same preparation",
        )


@dataclass(frozen=True)
class QuestionLoader:
    """Load a question: text_input = question (processed), instance_id, question_id, object_id,
    answer (the one to learn), answers (all that are right), family, question_type.

    Attributes:
        text_processor: applied to the question.
        draws: of several answers draw one per epoch (training); else the first (evaluation).
    """

    text_processor: Callable[[str], str]
    draws: bool = False
    stream = "text:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the question, its answers and ids."""
        question = self.text_processor(record["question"])
        return {
            "text_input": question,
            "question": question,
            "instance_id": record["instance_id"],
            "question_id": record["question_id"],
            "object_id": record["object_id"],
            "answer": drawn_text(record, "answer", rng if self.draws else None),
            "answers": list(record.get("answers") or [record["answer"]]),
            "family": record.get("family", ""),
            "question_type": record.get("question_type", ""),
        }
