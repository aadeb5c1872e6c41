"""Base of sources of released scenes: one file of the release per scene, labels checked."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from lavis.common.errors import require_choice
from lavis.datasets.sources.released import ReleasedSource
from lavis.datasets.stores.point_stores import PointStore
from lavis.datasets.stores.scene_store import CheckedLabels, SceneStore
from lavis.processors.point_transforms import PointFields

UP_AXES = ("y", "z")


class SceneSource(ReleasedSource):
    """Scenes in metres with semantic_label and instance_label; `read_scene` reads one."""

    def read_scene(self, object_id: str) -> PointFields:
        """Return the fields of a scene as released.

        Raises:
            OSError, ValueError, LookupError: a file cannot be read, or has another layout.
        """
        raise TypeError(f"{type(self).__name__} has to define read_scene()")

    def scene_path(self, object_id: str) -> Path:
        """Return what holds a scene, for messages."""
        return self.path("points.storage") / object_id

    def open_store(self) -> PointStore:
        """Return the scenes: upright, centred, in a random order, with known labels."""
        points = self.info.points
        require_choice("up axis", str(points.up_axis), UP_AXES, self.key("points.up_axis"))
        store = SceneStore(
            self._checked_scene, str(points.up_axis), int(points.num_points), int(points.seed)
        )
        return CheckedLabels(store, len(self.class_names()))

    def _checked_scene(self, object_id: str) -> PointFields:
        return self.checked(self.scene_path(object_id), lambda: self.read_scene(object_id))

    @cached_property
    def store(self) -> PointStore:
        """The scenes; they are upright already."""
        return self.open_store()
