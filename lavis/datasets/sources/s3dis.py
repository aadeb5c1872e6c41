"""S3DIS: rooms of six office areas, an object a text file (13 classes).

Stanford3dDataset_v1.2_Aligned_Version/Area_<n>/<room>/Annotations/<class>_<number>.txt
                                                              x y z r g b a line; metres, up +z

Every file is an instance. Names outside the 13 classes (stairs) are clutter, as in PointNet's
preparation. The release has a few damaged lines (a stray byte in Area_5/hallway_6): a file's
lines that are not six numbers are left out and named, up to `MOST_BAD` of them.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from lavis.common.files import file_below
from lavis.datasets.class_names import S3DIS13
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.scene_text import caption_of, with_article
from lavis.datasets.sources.scenes import SceneSource
from lavis.processors.point_transforms import PointFields

MOST_BAD = 3  # lines of a file
_STRUCTURE = ("ceiling", "floor", "wall", "beam", "column", "clutter")
_COLUMNS = 6


class S3DISSource(SceneSource):
    """Read S3DIS as released; `storage` of a split is a folder of an area, or a list of them."""

    origin = (
        "Stanford3dDataset_v1.2_Aligned_Version.zip (cvg-data.inf.ethz.ch/s3dis, after its form): "
        "Area_<n>/<room>/Annotations/<class>_<number>.txt"
    )
    fixed_classes = S3DIS13

    def read(self, path: Path) -> list[Entry]:
        """Return a record per room of an area's folder."""
        rooms = sorted(folder.parent for folder in path.glob("*/Annotations") if folder.is_dir())
        return [
            {"object_id": f"{path.name}/{room.name}", "caption": _caption(room)} for room in rooms
        ]

    def read_scene(self, object_id: str) -> PointFields:
        """Return xyz, rgb and labels of a room."""
        folder = file_below(self.path("points.storage"), object_id)
        files = sorted((folder / "Annotations").glob("*.txt"))
        if not files:
            raise ValueError("no Annotations/*.txt")
        tables = [read_table(path) for path in files]
        counts = [len(table) for table in tables]
        labels = [S3DIS13.index(class_of(path)) for path in files]
        rows = np.concatenate(tables)
        return {
            "xyz": rows[:, :3],
            "rgb": np.clip(rows[:, 3:], 0, 255).astype(np.uint8),
            "semantic_label": np.repeat(labels, counts),
            "instance_label": np.repeat(np.arange(len(files)), counts),
        }


def class_of(path: Path) -> str:
    """Return the class of an object's file: "chair_12.txt" is a chair."""
    name = path.stem.rpartition("_")[0]
    return name if name in S3DIS13 else "clutter"


def _caption(room: Path) -> str:
    kind = room.name.rpartition("_")[0] or room.name
    words = "".join(f" {c}" if c.isupper() else c for c in kind).lower()
    labels = [class_of(path) for path in (room / "Annotations").glob("*.txt")]
    return caption_of(with_article(words), [n for n in labels if n not in _STRUCTURE])


def read_table(path: Path) -> np.ndarray:
    """Return the lines of an object's file: float64 [N,6].

    Raises:
        ValueError: more than `MOST_BAD` lines that are not six numbers, or none that are.
    """
    content = path.read_bytes().rstrip()
    try:
        values = np.array(content.split(), np.float64)
        if values.size and values.size == _COLUMNS * (content.count(b"\n") + 1):
            return values.reshape(-1, _COLUMNS)
    except ValueError:
        pass  # a damaged line: read one by one
    rows, bad = [], []
    for number, line in enumerate(content.splitlines(), 1):
        row = _row(line)
        if row is not None:
            rows.append(row)
        elif line.strip():
            bad.append(number)
    if len(bad) > MOST_BAD or not rows:
        raise ValueError(
            f"{path.name}: lines {bad[:5]} of {len(rows) + len(bad)} are not 6 numbers"
        )
    if bad:
        logging.warning("%s: damaged lines left out: %s", path, bad)
    return np.array(rows)


def _row(line: bytes) -> list[float] | None:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        return None
    return row if len(row) == _COLUMNS else None
