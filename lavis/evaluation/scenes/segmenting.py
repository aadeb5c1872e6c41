"""Label the points of one cloud by any words, and write the result as PLY or page.

found = segment_cloud(model, cloud, ["bed", "chair", "floor lamp"])
write_segmented(found, cloud, "room_segmented.html")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.errors import ConfigError, explain
from lavis.common.files import replace_file
from lavis.datasets.stores.point_stores import check_cloud
from lavis.evaluation.scenes.pictures import class_colors, label_picture, scene_page
from lavis.models.abilities import SceneSegmenter, check_abilities

FORMATS = (".ply", ".html")


@dataclass(frozen=True)
class SegmentedCloud:
    """Labels of the points of a cloud.

    Attributes:
        labels: the K words.
        label: int64 [N], index into `labels`.
        score: float32 [N], probability of the label among the words.
    """

    labels: list[str]
    label: np.ndarray
    score: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """Number of points of each word."""
        counts = np.bincount(self.label, minlength=len(self.labels)).tolist()
        return dict(zip(self.labels, counts, strict=True))


@torch.no_grad()
def segment_cloud(
    model: Any, cloud: np.ndarray, labels: Sequence[str] | None = None, name: str = "cloud"
) -> SegmentedCloud:
    """Label every point of a cloud.

    Args:
        model: a `SceneSegmenter` in evaluation mode.
        cloud: float [N,3|6], metres, up +y, rgb in [0,1].
        labels: any distinct words; None: the classes of training.
        name: of the cloud, for messages.

    Raises:
        ConfigError: the model cannot segment, or no words, or one twice.
        DataError: no points, or coordinates that are not finite.
    """
    check_abilities(model, {SceneSegmenter: "segment"}, "segment")
    words = list(model.class_names if labels is None else labels)
    if not words or len(set(words)) < len(words):
        what = "labels have to be distinct words"
        raise ConfigError(explain(what, where="--labels", got=words, expected="one or more"))
    points = torch.from_numpy(np.ascontiguousarray(check_cloud(cloud, name), dtype=np.float32))
    batch = {"point_cloud": points[None].to(model.device), "instance_id": [name]}
    logits = model.segment_points(batch, None if labels is None else words)  # [1,N,K]
    score, label = logits[0].float().softmax(-1).max(-1)
    return SegmentedCloud(words, label.cpu().numpy(), score.cpu().numpy())


def write_segmented(found: SegmentedCloud, cloud: np.ndarray, path: str | Path) -> Path:
    """Write a labelled cloud: `.ply` (points in the colours of labels) or `.html` (rotatable).

    Raises:
        ConfigError: another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        what = "unknown format of a segmented cloud"
        raise ConfigError(explain(what, where=str(path), got=path.suffix, expected=FORMATS))
    if path.suffix.lower() == ".ply":
        replace_file(path, _ply(found, cloud))
    else:
        picture = label_picture(path.stem, cloud, found.label, found.label, found.labels)
        picture["panels"] = [picture["panels"][0], picture["panels"][2]]
        replace_file(path, scene_page(path.stem, [picture]).encode("utf-8"))
    return path


def _ply(found: SegmentedCloud, cloud: np.ndarray) -> bytes:
    """Return a binary PLY: x y z, red green blue of the label, label; the words as comments."""
    layout = [(n, "<f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")]
    rows = np.zeros(len(cloud), dtype=[*layout, ("label", "<i4")])
    for axis, column in zip("xyz", cloud[:, :3].T, strict=True):
        rows[axis] = column
    colors = np.rint(255 * class_colors(len(found.labels))).astype(np.uint8)[found.label]
    for channel, column in zip(("red", "green", "blue"), colors.T, strict=True):
        rows[channel] = column
    rows["label"] = found.label
    kinds = {"<f4": "float", "u1": "uchar", "<i4": "int"}
    head = [
        *("ply", "format binary_little_endian 1.0"),
        *(f"comment label {k} {' '.join(word.split())}" for k, word in enumerate(found.labels)),
        f"element vertex {len(cloud)}",
        *(f"property {kinds[kind]} {name}" for name, kind in [*layout, ("label", "<i4")]),
        "end_header",
    ]
    return ("\n".join(head) + "\n").encode("utf-8") + rows.tobytes()
