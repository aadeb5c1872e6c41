"""ScanNet v2: scans with a class and an instance per vertex (20 classes of the benchmark).

<scans>/<scene>/<scene>_vh_clean_2.ply                       vertices with colours, metres, up +z
                <scene>_vh_clean_2.0.010000.segs.json        segIndices: a segment per vertex
                <scene>.aggregation.json                     segGroups: objectId, label, segments
                <scene>.txt                                  axisAlignment: 16 numbers, row by row
scannetv2-labels.combined.tsv                                raw_category -> nyu40id
scannetv2_<split>.txt                                        a scene a line

Walls, floors and objects outside the 20 classes have no instance, as in the benchmark. Scenes of
the test split have no annotation: their labels are -1.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.common.files import file_below
from lavis.common.text_files import read_json, read_text
from lavis.datasets.class_names import SCANNET20
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.readers.files import read_cloud
from lavis.datasets.scene_text import caption_of
from lavis.datasets.sources.scenes import SceneSource
from lavis.processors.point_transforms import PointFields

# Of NYU's 40 classes, in the order of SCANNET20.
NYU40_IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
_STUFF = (SCANNET20.index("wall"), SCANNET20.index("floor"))
_NAMED_CLASSES = 8  # of a caption


class ScanNetSource(SceneSource):
    """Read ScanNet's scans as released."""

    origin = (
        "ScanNet v2 (github.com/ScanNet/ScanNet, after its form): scans/<scene>/ with "
        "<scene>_vh_clean_2.ply, <scene>_vh_clean_2.0.010000.segs.json, <scene>.aggregation.json "
        "and <scene>.txt; scannetv2-labels.combined.tsv; scannetv2_<split>.txt of Tasks/Benchmark"
    )
    fixed_classes = SCANNET20

    def read(self, path: Path) -> list[Entry]:
        """Return a record per scene of a split file."""
        scenes = read_text(path).split()
        return [{"object_id": scene, "caption": self._caption(scene)} for scene in scenes]

    def _caption(self, scene: str) -> str:
        groups = self._groups(scene) or []
        names = [str(group["label"]).lower() for group in groups]
        objects = [name for name in names if self._label_of(name) not in (-1, *_STUFF)]
        return caption_of("a room", objects, _NAMED_CLASSES)

    def read_scene(self, object_id: str) -> PointFields:
        """Return xyz (aligned with the walls where the release allows it), rgb and labels."""
        cloud = read_cloud(self._file(object_id, "_vh_clean_2.ply"), object_id=object_id)
        count = len(cloud.xyz)
        semantic, instance = np.full(count, -1), np.full(count, -1)
        groups = self._groups(object_id)
        if groups is not None:
            segments = self._segments(object_id, count)
            for group in groups:
                label = self._label_of(str(group["label"]).lower())
                inside = np.isin(segments, group["segments"])
                semantic[inside] = label
                instance[inside] = -1 if label in (-1, *_STUFF) else int(group["objectId"])
        colors = {} if cloud.rgb is None else {"rgb": cloud.rgb}
        xyz = self._aligned(object_id, cloud.xyz)
        return {"xyz": xyz, **colors, "semantic_label": semantic, "instance_label": instance}

    def _file(self, scene: str, suffix: str) -> Path:
        return file_below(self.path("points.storage"), f"{scene}/{scene}{suffix}")

    def _groups(self, scene: str) -> list[dict[str, Any]] | None:
        """Return the objects of a scene; None where it has no annotation."""
        path = self._file(scene, ".aggregation.json")
        if not path.exists():
            return None
        return self.checked(path, lambda: [_group(group) for group in read_json(path)["segGroups"]])

    def _segments(self, scene: str, count: int) -> np.ndarray:
        """Return the segment of each vertex: [N].

        Raises:
            ValueError: a segment for another number of vertices.
        """
        path = self._file(scene, "_vh_clean_2.0.010000.segs.json")
        segments = np.asarray(read_json(path)["segIndices"])
        if segments.shape != (count,):
            raise ValueError(f"{path.name}: {len(segments)} segments, {count} vertices")
        return segments

    def _aligned(self, scene: str, xyz: np.ndarray) -> np.ndarray:
        """Return coordinates turned so that walls are along the axes."""
        path = self._file(scene, ".txt")
        if not path.exists():
            return xyz
        for line in read_text(path).splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "axisAlignment":
                matrix = np.array(value.split(), np.float64).reshape(4, 4)
                return xyz @ matrix[:3, :3].T + matrix[:3, 3]
        return xyz

    def _label_of(self, name: str) -> int:
        """Return the label of a raw category; -1 outside the 20 classes.

        Raises:
            DataError: a category that the table does not have.
        """
        if name not in self._labels:
            path = self.path("class_names.storage")
            what = "a label of ScanNet is outside the table"
            raise DataError(what, where=str(path), got=name, expected="a raw_category")
        return self._labels[name]

    @cached_property
    def _labels(self) -> Mapping[str, int]:
        """{raw category: label} of the release's table."""
        path = self.path("class_names.storage")
        place = {nyu: label for label, nyu in enumerate(NYU40_IDS)}

        def read() -> dict[str, int]:
            rows = csv.DictReader(read_text(path).splitlines(), delimiter="\t")
            return {r["raw_category"].lower(): place.get(int(r["nyu40id"]), -1) for r in rows}

        return self.checked(path, read)


def _group(group: Any) -> dict[str, Any]:
    """Return an object of an annotation.

    Raises:
        ValueError: it lacks something.
    """
    names = ("objectId", "label", "segments")
    missing = [name for name in names if not isinstance(group, Mapping) or name not in group]
    if missing:
        raise ValueError(f"a segGroup without {', '.join(missing)}")
    return {name: group[name] for name in names}
