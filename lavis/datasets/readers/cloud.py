"""A cloud as a file holds it, and how named arrays of a file become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lavis.datasets.readers.values import coordinate_problem, native_float, unit_colors

Arrays = Mapping[str, np.ndarray]

# Names in use, in lower case. A cloud may have 3 columns, or 6 with colours or normals.
CLOUD_NAMES = (
    *("xyz", "points", "coords", "coord", "coordinates", "positions", "position", "pos"),
    *("vertices", "verts", "point_cloud", "pointcloud", "points_xyz", "pc", "pcd", "cloud"),
)
COLOR_NAMES = ("rgb", "rgbs", "color", "colors", "colour", "colours", "points_rgb", "rgba")
NORMAL_NAMES = ("normal", "normals", "points_normal")
_XYZ_COLUMNS = (("x", "y", "z"),)
_COLOR_COLUMNS = (
    ("r", "g", "b"),
    ("red", "green", "blue"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
)
_NORMAL_COLUMNS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))


@dataclass(frozen=True)
class Cloud:
    """The points of a file.

    Attributes:
        xyz: [N,3] in the file's own unit, float32 or float64 (`native_float`), finite.
        rgb: float32 [N,3] in [0,1], None without colours.
        fields: everything else that the file holds for every point ([N] or [N,C]): `normal`, and
            labels, intensities … under the file's own names.
        notes: {kind: remark for the user}, see `Colors`.
    """

    xyz: np.ndarray
    rgb: np.ndarray | None = None
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def joined(self) -> np.ndarray:
        """Return xyz and, where there is colour, rgb: [N,3|6] in the type of xyz."""
        if self.rgb is None:
            return self.xyz
        return np.concatenate([self.xyz, self.rgb.astype(self.xyz.dtype, copy=False)], axis=1)


def make_cloud(
    xyz: np.ndarray, rgb: np.ndarray | None = None, fields: Arrays | None = None
) -> Cloud:
    """Check the parts of a cloud and bring them to the form of `Cloud`.

    Raises:
        ValueError: coordinates or colours that cannot be used, or parts of different length.
    """
    problem = coordinate_problem(xyz)
    if problem is not None:
        raise ValueError(problem)
    further = dict(fields or {})
    if rgb is not None and (rgb.ndim != 2 or rgb.shape[1] not in (3, 4)):
        raise ValueError(f"colours of shape {rgb.shape}")
    for name, values in [*further.items(), *([] if rgb is None else [("colours", rgb)])]:
        if values.shape[:1] != xyz.shape[:1]:
            raise ValueError(f"{len(xyz)} points, but {name} of shape {values.shape}")
    if rgb is None:
        return Cloud(native_float(xyz), None, further)
    colors = unit_colors(rgb[:, :3])  # a fourth column is opacity
    if colors.rgb is None:
        further.setdefault("normal", rgb[:, :3].astype(np.float32))
    return Cloud(native_float(xyz), colors.rgb, further, colors.notes)


def cloud_of_array(values: np.ndarray, fields: Arrays | None = None) -> Cloud:
    """Return the cloud of one array [N,3|6]: coordinates, then colours (or normals).

    Raises:
        ValueError: another shape, or see `make_cloud`.
    """
    if values.ndim != 2 or values.shape[1] not in (3, 6):
        raise ValueError(f"shape {values.shape}")
    rgb = values[:, 3:] if values.shape[1] == 6 else None
    return make_cloud(values[:, :3], rgb, fields)


def cloud_of_fields(arrays: Arrays, array_name: str | None = None) -> Cloud:
    """Return the cloud of named arrays, where their names leave no doubt.

    Args:
        arrays: what a file holds.
        array_name: the array with the coordinates; None looks for a name of `CLOUD_NAMES`, for x, y
            and z, or takes the only array of shape [N,3|6].

    Raises:
        ValueError: no coordinates, several candidates, or see `make_cloud`; what the file holds is
            named.
    """
    try:
        return _cloud_of_fields(arrays, array_name)
    except ValueError as error:
        raise ValueError(f"{error} (the file has {described(arrays)})") from error


def _cloud_of_fields(arrays: Arrays, array_name: str | None) -> Cloud:
    if array_name and array_name not in arrays:
        raise ValueError(f"no array {array_name!r}")
    names = _lower_names(arrays)
    used = [array_name] if array_name else _coordinates(arrays, names)
    cloud = _joined(arrays, used)
    has_colors = cloud.ndim == 2 and cloud.shape[1] == 6
    colors = _one_of(names, COLOR_NAMES, _COLOR_COLUMNS, "colours")
    normals = _one_of(names, NORMAL_NAMES, _NORMAL_COLUMNS, "normals")
    if has_colors and colors:
        raise ValueError(f"colours in {used[0]} and in {', '.join(colors)}")
    fields = {
        name: values
        for name, values in arrays.items()
        if name not in {*used, *colors, *normals} and values.shape[:1] == cloud.shape[:1]
    }
    if normals:
        fields["normal"] = _joined(arrays, normals)
    if has_colors or not colors:
        return cloud_of_array(cloud, fields)
    return make_cloud(cloud, _joined(arrays, colors), fields)


def described(arrays: Arrays) -> str:
    """Return the arrays of a file as "xyz float32 [9,3], …" for messages."""
    parts = [f"{n} {v.dtype} [{','.join(map(str, v.shape))}]" for n, v in arrays.items()]
    return ", ".join(parts[:12] + ["…"] * (len(parts) > 12)) or "no arrays"


def _lower_names(arrays: Arrays) -> dict[str, str]:
    """Return {name in lower case: name}."""
    names = {name.lower(): name for name in arrays}
    if len(names) < len(arrays):
        raise ValueError("names that differ in capitals only")
    return names


def _coordinates(arrays: Arrays, names: Mapping[str, str]) -> list[str]:
    """Return the name of the coordinates, or the names of x, y and z."""
    found = _one_of(names, CLOUD_NAMES, _XYZ_COLUMNS, "coordinates")
    if found:
        return found
    known = {*COLOR_NAMES, *NORMAL_NAMES}
    shaped = [
        name
        for name, values in arrays.items()
        if values.ndim == 2 and values.shape[1] in (3, 6) and name.lower() not in known
    ]
    if len(shaped) == 1:
        return shaped
    raise ValueError(f"several arrays [N,3|6]: {', '.join(shaped)}" if shaped else "no coordinates")


def _one_of(
    names: Mapping[str, str],
    whole: Sequence[str],
    columns: Sequence[Sequence[str]],
    what: str,
) -> list[str]:
    """Return the names under which a file holds something: one, three columns, or none."""
    found = [[names[name]] for name in whole if name in names]
    found += [[names[n] for n in three] for three in columns if set(three) <= set(names)]
    if len(found) > 1:
        candidates = " or ".join("+".join(candidate) for candidate in found)
        raise ValueError(f"several candidates for {what}: {candidates}")
    return found[0] if found else []


def _joined(arrays: Arrays, chosen: Sequence[str]) -> np.ndarray:
    """Return one array, or three as columns [N,3]."""
    if len(chosen) == 1:
        return arrays[chosen[0]]
    lengths = {name: len(arrays[name]) for name in chosen if arrays[name].ndim == 1}
    if len(lengths) < len(chosen) or len(set(lengths.values())) > 1:
        raise ValueError(f"columns that do not fit: {', '.join(chosen)}")
    return np.stack([arrays[name] for name in chosen], axis=1)
