"""Write a cloud whose points have labels: PLY in the colours of the labels, or a rotatable page.

write_labelled("room.html", cloud, label, ["bed", "chair", "floor lamp"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lavis.common.errors import ConfigError, DataError
from lavis.common.files import replace_file
from lavis.evaluation.scenes.pictures import class_colors, label_picture, scene_page

FORMATS = (".ply", ".html")


def write_labelled(
    path: str | Path, cloud: np.ndarray, label: np.ndarray, names: Sequence[str]
) -> Path:
    """Write a labelled cloud.

    Args:
        path: ends in `.ply` or `.html`.
        cloud: [N,3|6], up +y, rgb in [0,1].
        label: [N], 0 to K-1.
        names: of the K labels.

    Raises:
        ConfigError: another ending.
        DataError: not one known label per point.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        what = "unknown format of a labelled cloud"
        raise ConfigError(what, where=str(path), got=path.suffix, expected=FORMATS)
    if len(label) != len(cloud) or not ((label >= 0) & (label < len(names))).all():
        what, got = "a cloud needs one known label per point", f"{len(label)} of {len(cloud)}"
        raise DataError(what, where=str(path), got=got, expected=f"below {len(names)}")
    if path.suffix.lower() == ".ply":
        replace_file(path, _ply(cloud, label, names))
    else:
        picture = label_picture(path.stem, cloud, label, label, names)
        picture["panels"] = [picture["panels"][0], picture["panels"][2] | {"name": "labels"}]
        replace_file(path, scene_page(path.stem, [picture]).encode("utf-8"))
    return path


def _ply(cloud: np.ndarray, label: np.ndarray, names: Sequence[str]) -> bytes:
    """Return a binary PLY: x y z, red green blue of the label, label; the names as comments."""
    layout = [(n, "<f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")]
    rows = np.zeros(len(cloud), dtype=[*layout, ("label", "<i4")])
    colors = np.rint(255 * class_colors(len(names))).astype(np.uint8)[label]
    for (name, _), column in zip(layout, [*cloud[:, :3].T, *colors.T], strict=True):
        rows[name] = column
    rows["label"] = label
    kinds = {"<f4": "float", "u1": "uchar", "<i4": "int"}
    head = [
        *("ply", "format binary_little_endian 1.0"),
        *(f"comment label {k} {' '.join(name.split())}" for k, name in enumerate(names)),
        f"element vertex {len(cloud)}",
        *(f"property {kinds[kind]} {name}" for name, kind in [*layout, ("label", "<i4")]),
        "end_header",
    ]
    return ("\n".join(head) + "\n").encode("utf-8") + rows.tobytes()
