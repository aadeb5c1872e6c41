"""The built-in rooms: composed scenes with labels, boxes, RGB-D frames and referring expressions.

Prepared at the first use by lavis/datasets/download_scripts/prepare_rooms.py. Rooms of the split
held_out have objects of classes that no other room has; their labels follow those of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lavis.common.errors import DataError
from lavis.common.text_files import read_json
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.download_scripts.rooms.classes import (
    FIRST_SEGMENT,
    FLOOR_LABEL,
    FLOOR_SEGMENT,
    WALL_LABEL,
    WALL_SEGMENT,
)
from lavis.datasets.fields.frames import FrameStore, RgbdFrame
from lavis.datasets.rendering.cameras import Camera
from lavis.datasets.rendering.view_store import ViewStore
from lavis.datasets.sources.prepared import PreparedSource
from lavis.datasets.stores.packed_fields import PackedFieldStore
from lavis.datasets.stores.point_stores import PointStore
from lavis.datasets.stores.scene_store import CheckedLabels

COMMAND = "python -m lavis.datasets.download_scripts.prepare_rooms"


class RoomsSource(PreparedSource):
    """Open the prepared rooms: segmentation, detection, and expressions."""

    family = "rooms"
    origin = COMMAND

    def make(self) -> None:
        """Prepare the folder unless it is there."""
        # trimesh, tqdm, embreex: only the process that prepares needs them.
        from lavis.datasets.download_scripts.prepare_rooms import prepare_rooms
        from lavis.datasets.download_scripts.rooms.room import Plan

        points = self.info.points
        plan = Plan(*(int(points[key]) for key in ("num_points", "views", "width", "height")))
        prepare_rooms(self.folder, int(points.num_rooms), plan, self.path("points.models"))

    @cached_property
    def all_classes(self) -> tuple[list[str], list[str]]:
        """The classes of training and the held-out ones; labels count through both."""
        path = self.folder / "classes.json"
        known = self.checked(path, lambda: read_json(path))
        return list(known["class_names"]), list(known["held_out_class_names"])

    def classes_of(self, split: str) -> Sequence[str]:
        """Return the names in the order of the labels; those of held_out end with its own."""
        seen, held_out = self.all_classes
        return [*seen, *held_out] if split == "held_out" else seen

    def open_store(self) -> PointStore:
        """Return the clouds with their labels."""
        return CheckedLabels(PackedFieldStore(self.folder / "points"), self.num_classes)

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return sum(map(len, self.all_classes))


class RoomFramesSource(RoomsSource):
    """Open the RGB-D frames of the prepared rooms."""

    def open_store(self) -> PointStore:
        """Return the clouds of the frames."""
        splits = {split: self.records(self.paths(split)) for split in self.splits}
        records = {entry["object_id"]: entry for part in splits.values() for entry in part}
        frames = RoomFrames(self.folder, records, self.classes_of("held_out"))
        points = self.info.points
        store = FrameStore(frames, None, int(points.frame_points), int(points.seed))
        return CheckedLabels(store, self.num_classes)


class RoomFrames:
    """Frames of the prepared rooms by "<room>/<view>".

    Args:
        folder: of the rooms.
        records: annotations of the frames by their id.
        class_names: in the order of the labels.
    """

    def __init__(
        self, folder: Path, records: Mapping[str, Entry], class_names: Sequence[str]
    ) -> None:
        self.records = records
        self.label_of = {name: label for label, name in enumerate(class_names)}
        kinds = ("rgb", "depth", "segment")
        self.stores = {kind: ViewStore(folder / f"frames_{kind}.zip") for kind in kinds}

    def frame(self, object_id: str) -> RgbdFrame:
        """Return a frame.

        Raises:
            DataError: no such frame, or one without a camera.
        """
        room, _, view = object_id.rpartition("/")
        camera = self.records.get(object_id, {}).get("camera")
        if not camera:
            what, got = "a frame has no camera", sorted(self.records.get(object_id, {}))
            raise DataError(what, where=object_id, got=got, fix=COMMAND)
        images = {k: s.load_view(room, int(view), None) for k, s in self.stores.items()}
        labels, instances = self._labels(images["segment"], self.records[object_id]["labels"])
        depth = images["depth"].astype(np.float32) / 1000
        position, rotation = np.array(camera["position"]), np.array(camera["rotation"])
        seen_by = Camera(
            position, rotation, camera["focal"], int(camera["width"]), int(camera["height"])
        )
        return RgbdFrame(object_id, images["rgb"], depth, seen_by, labels, instances)

    def _labels(self, segment: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return classes and instances [H,W] of a segment image; `names` are of the objects."""
        table = np.full(FIRST_SEGMENT + len(names), -1)
        table[WALL_SEGMENT], table[FLOOR_SEGMENT] = (
            self.label_of[name] for name in (WALL_LABEL, FLOOR_LABEL)
        )
        table[FIRST_SEGMENT:] = [self.label_of[name] for name in names]
        instance = segment.astype(np.int64) - FIRST_SEGMENT
        return table[segment], np.maximum(instance, -1)
