"""Mirrored objects and their texts.

A mirror turns a left wing into a right one, so cloud and words change together. Data have few
handed parts; the mirror doubles them, and what it makes is the real counterpart where there is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.fields.points import PointLoader
from lavis.processors.point_transforms import PointFields

TEXT_FIELDS = ("caption", "colored_caption", "description", "question", "answer")
_OTHER = {"left": "right", "right": "left"}
_SIDE = re.compile(r"\b(left|right)\b(?![ -]angle)", re.IGNORECASE)  # a right angle stays right


def mirror_cloud(cloud: np.ndarray) -> np.ndarray:
    """Reflect xyz or a cloud [N,3|6] in the plane x = 0, left to right; returns a copy."""
    mirrored = cloud.copy()
    mirrored[:, 0] = -mirrored[:, 0]
    return mirrored


def mirror_text(text: str) -> str:
    """Exchange the words left and right; a capital stays a capital."""

    def other(match: re.Match[str]) -> str:
        word = _OTHER[match[0].lower()]
        return word.capitalize() if match[0][0].isupper() else word

    return _SIDE.sub(other, text)


def mirror_entry(entry: Entry) -> Entry:
    """Return a record whose texts describe the mirrored object."""
    said: Entry = {key: mirror_text(entry[key]) for key in TEXT_FIELDS if key in entry}
    if "answers" in entry:
        said["answers"] = [mirror_text(answer) for answer in entry["answers"]]
    return {**entry, **said}


@dataclass(frozen=True)
class Mirror:
    """Show a share of the records in a mirror: texts here, the cloud in `MirrorPointLoader`."""

    probability: float
    stream = "mirror:"

    def __call__(self, record: Entry, rng: np.random.Generator) -> Entry:
        """Return the record or its mirrored copy."""
        if not self.probability or rng.random() >= self.probability:
            return record
        return {**mirror_entry(record), "mirrored": True}


@dataclass(frozen=True)
class MirrorPointLoader(PointLoader):
    """Load clouds, those of mirrored records reflected."""

    def read(self, record: Entry) -> np.ndarray | PointFields:
        """Return an object's points, as the store gives them."""
        points = super().read(record)
        if not record.get("mirrored"):
            return points
        if isinstance(points, np.ndarray):
            return mirror_cloud(points)
        assert set(points) <= {"xyz", "rgb"}  # what else a mirror changes (normals) is not known
        return {**points, "xyz": mirror_cloud(points["xyz"])}
