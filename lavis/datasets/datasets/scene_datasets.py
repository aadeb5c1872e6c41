"""Scenes: clouds with a class and an instance per point; boxes; frames; referring expressions.

A sample is that of `PointTextDataset` with semantic_label and instance_label [N], -1 for none.
`text_input` is the scene's caption, or the referring expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.datasets.point_text_datasets import PointTextDataset
from lavis.datasets.datasets.record_dataset import FieldLoader
from lavis.datasets.fields.boxes import BoxLoader, MovedBoxLoader
from lavis.datasets.fields.frames import FrameBoxLoader, FrameLoader, frames_of
from lavis.datasets.samples import Field, Sample, register_field

register_field("target_instance", Field("[B]"))


class SceneSegmentationDataset(PointTextDataset):
    """Scenes with labels of their points; `class_names` are those of semantic_label."""


class SceneDetectionDataset(PointTextDataset):
    """Scenes with boxes, box_label and box_instance of their objects (fields/boxes.py).

    In training boxes follow the random steps; in evaluation they are those of the whole scene.
    """

    def __init__(self, *args: Any, draws_texts: bool = False, **kwargs: Any) -> None:
        loader = MovedBoxLoader if draws_texts else BoxLoader
        super().__init__(*args, draws_texts=draws_texts, point_loader=loader, **kwargs)


class FrameDataset(PointTextDataset):
    """RGB-D frames: image, back-projected cloud, and pixel_of_point [N,2] (fields/frames.py).

    Args:
        args, kwargs: of `PointTextDataset`; `point_store` is a `FrameStore`, or has one as `store`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loaders += (FrameLoader(frames_of(self.point_store)),)


class FrameDetectionDataset(FrameDataset):
    """RGB-D frames with annotated boxes [K,7], turned about the up axis, and box_label [K]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, point_loader=FrameBoxLoader, **kwargs)


@dataclass(frozen=True)
class ReferenceLoader:
    """Load an expression: text_input (processed), ids, caption, kind, target_instance.

    Attributes:
        text_processor: applied to the expression.
    """

    text_processor: Callable[[str], str]
    stream = "text:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the expression and the label of the object that it means."""
        return {
            "text_input": self.text_processor(record["caption"]),
            "instance_id": record["instance_id"],
            "question_id": record["question_id"],
            "object_id": record["object_id"],
            "caption": record["caption"],
            "kind": record.get("kind", ""),
            "target_instance": int(record["target_instance"]),
        }


class ReferringDataset(PointTextDataset):
    """Expressions, each of which means one object of a scene: the points with
    instance_label == target_instance. Several expressions per scene, which see the same points in
    an epoch, so that a model encodes a scene once for all of them in a batch."""

    id_key = "question_id"
    required_text = ("question_id", "object_id", "caption")

    def rng(self, stream: str, record: Entry) -> np.random.Generator:
        """Return the random numbers of one stream for one scene in this epoch."""
        return super().rng(stream, {**record, "instance_id": str(record["object_id"])})

    def text_loader(self, text_processor: Callable[[str], str]) -> FieldLoader:
        """Return what loads an expression and its target."""
        return ReferenceLoader(text_processor)
