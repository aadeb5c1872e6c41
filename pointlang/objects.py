"""Read objects from any file that the conversion reads (docs/your_data.md).

The file is read, sampled and turned by `lavis.datasets.convert`, so that a model gets the same
points here as from converted data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.convert.mesh_checks import MAX_FILE_BYTES
from lavis.datasets.convert.mesh_files import MESH_SUFFIXES
from lavis.datasets.convert.scan import NOT_READ
from lavis.datasets.convert.tasks import NO_COLOR, Job, convert_file
from lavis.datasets.convert.up_axis import CONVENTION
from lavis.datasets.stores.packed_points import XYZ_SCALE

NUM_POINTS = 8192
ROOM_POINTS = 200_000
FORMATS = " ".join([*MESH_SUFFIXES, *sorted(set(CONVENTION) - set(MESH_SUFFIXES))])


@dataclass(frozen=True)
class Object:
    """The points of one object or room.

    Attributes:
        name: the path as given.
        xyz: float32 [N,3], +y up, centred on the middle of the box, in the unit sphere.
        rgb: float32 [N,3] in [0,1]; grey where the file has no colour.
        size: float32 [3], edges of the bounding box (x, y up, z) in the file's unit.
        scale: radius of the unit sphere in the file's unit.
        notes: what was assumed about the file: up axis, missing colour.
    """

    name: str
    xyz: np.ndarray
    rgb: np.ndarray
    size: np.ndarray
    scale: float = 1.0
    notes: list[str] = field(default_factory=list)

    @property
    def points(self) -> np.ndarray:
        """xyz and rgb, float32 [N,6]."""
        return np.concatenate([self.xyz, self.rgb], axis=1)


def read_object(path: str | Path, up: str = "auto", num_points: int = NUM_POINTS) -> Object:
    """Read one mesh or cloud.

    Args:
        path: of the file.
        up: axis that is up in the file: auto (by format), y or z.
        num_points: points of a mesh, and the most of a cloud.

    Raises:
        DataError: the file is missing, of another format, too large, damaged or holds no object.
    """
    path = Path(path)
    _check_file(path)
    # The file's name decides the sampled points, wherever the file lies.
    job = Job(path.stem, str(path), str(path.parent), num_points, up=up)
    found = convert_file(job)
    if found.problem:
        what = "The file holds no object that can be read."
        fix = f"open it in a viewer and export it again as .glb or .ply; formats: {FORMATS}"
        raise DataError(what, where=str(path), got=found.problem, fix=fix)
    rgb = found.rgb.astype(np.float32) / 255
    return Object(
        str(path),
        found.xyz.astype(np.float32) / XYZ_SCALE,
        rgb,
        np.asarray(found.facts["size"], np.float32),
        float(found.facts["scale"]),
        _notes(found.facts, up, bool(np.allclose(rgb, NO_COLOR, atol=0.5 / 255))),
    )


def read_objects(
    paths: Sequence[str | Path], up: str = "auto", num_points: int = NUM_POINTS
) -> list[Object]:
    """Read several files, see `read_object`; the first bad one ends it."""
    return [read_object(path, up, num_points) for path in paths]


def object_of_array(points: np.ndarray, name: str = "array") -> Object:
    """Return the object of an array, +y up.

    Args:
        points: [N,3], or [N,6] with colours in [0,1].
        name: for messages.

    Raises:
        DataError: another shape, values that are not finite, or a single place.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] not in (3, 6) or not np.isfinite(points).all():
        got = f"shape {points.shape}, finite: {bool(np.isfinite(points).all())}"
        raise DataError("not a cloud", where=name, got=got, expected="finite [N,3] or [N,6]")
    low, high = points[:, :3].min(0), points[:, :3].max(0)
    xyz = points[:, :3] - (low + high) / 2
    radius = float(np.linalg.norm(xyz, axis=1).max())
    if radius <= 0:
        raise DataError("all points are at one place", where=name, got=f"{len(points)}")
    has_color = points.shape[1] == 6
    rgb = points[:, 3:] if has_color else np.full(xyz.shape, NO_COLOR)
    return Object(
        name,
        (xyz / radius).astype(np.float32),
        rgb.astype(np.float32),
        (high - low).astype(np.float32),
        radius,
        [] if has_color else [_GREY],
    )


_GREY = f"no colour in the file: grey {NO_COLOR} is used"


def _check_file(path: Path) -> None:
    """Refuse what can be refused without reading the file."""
    suffix = path.suffix.lower()
    what, got, expected = "", "", "a mesh or cloud"
    if not path.exists():
        what, got = "File not found.", "missing"
    elif not path.is_file():
        what, got = "Not a file.", "a folder" if path.is_dir() else "no regular file"
    elif suffix not in CONVENTION:
        hint = NOT_READ.get(suffix, "")
        what, expected = "The format is not read.", FORMATS
        got = f"{suffix or 'no suffix'}{': ' if hint else ''}{hint}"
    elif path.stat().st_size > MAX_FILE_BYTES:
        what = "The file is too large."
        got = f"{path.stat().st_size / 2**30:.1f} GiB"
        expected = f"at most {MAX_FILE_BYTES / 2**30:.0f} GiB; sample it to fewer points first"
    if what:
        raise DataError(what, where=str(path), got=got, expected=expected)


def _notes(facts: Mapping[str, Any], up: str, is_grey: bool) -> list[str]:
    by = "by the format; --up sets it" if up == "auto" else "as given"
    notes = [f"{facts['up']} is up ({by})"]
    notes += [_GREY] if is_grey else []
    return notes + [f"{kind}: {text}" for kind, text in dict(facts.get("notes") or {}).items()]
