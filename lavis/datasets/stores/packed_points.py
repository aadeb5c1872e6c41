"""Point clouds of a whole data set in memory-mapped arrays: 9 bytes a coloured point.

    points_xyz.npy    int16 [n,P,3]   coordinate in the unit sphere times 32767
    points_rgb.npy    uint8 [n,P,3]   colour times 255
    points_scale.npy  float32 [n]     radius of that sphere in the data's own unit

The grid of 1/32767 is finer than the 14-bit quantisation of the source meshes. Opening costs
nothing, a row is one page-cache read, and processes share the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lavis.common.errors import DataError, ShapeError
from lavis.datasets.readers.values import unit_colors
from lavis.datasets.stores.decode import decode, decode_both

XYZ_NAME = "points_xyz.npy"
RGB_NAME = "points_rgb.npy"
SCALE_NAME = "points_scale.npy"
XYZ_SCALE = 32767.0
RGB_SCALE = 255.0
_XYZ_STEP, _RGB_STEP = np.float32(1 / XYZ_SCALE), np.float32(1 / RGB_SCALE)


def pack_xyz(xyz: np.ndarray) -> np.ndarray:
    """Quantise coordinates [...,3] in [-1,1] to int16.

    Raises:
        ShapeError: a coordinate is not finite or lies outside [-1,1].
    """
    if not np.isfinite(xyz).all() or np.abs(xyz).max(initial=0.0) > 1.0 + 1e-6:
        raise ShapeError("coordinates cannot be packed", expected="finite values in [-1, 1]")
    return np.rint(np.clip(xyz, -1.0, 1.0) * XYZ_SCALE).astype(np.int16)


def pack_rgb(rgb: np.ndarray) -> np.ndarray:
    """Return colours [...,3] as uint8.

    Raises:
        ShapeError: a range that is neither [0,1] nor 0 to 255.
    """
    if rgb.dtype == np.uint8:
        return rgb
    try:
        colors = unit_colors(rgb.reshape(-1, 3)).rgb
        if colors is None:
            raise ValueError("normals")
    except ValueError as error:
        expected = "uint8, [0,1], or 0 to 255"
        raise ShapeError("colours cannot be packed", got=error, expected=expected) from error
    return np.rint(colors * RGB_SCALE).astype(np.uint8).reshape(rgb.shape)


class PackedPointWriter:
    """Fill the arrays row by row; `close` (or leaving the `with` block) flushes them."""

    def __init__(self, folder: Path, num_objects: int, num_points: int) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (num_objects, num_points, 3)
        create = np.lib.format.open_memmap
        self.xyz = create(self.folder / XYZ_NAME, mode="w+", dtype=np.int16, shape=shape)
        self.rgb = create(self.folder / RGB_NAME, mode="w+", dtype=np.uint8, shape=shape)
        self.scale = create(
            self.folder / SCALE_NAME, mode="w+", dtype=np.float32, shape=(num_objects,)
        )

    def write(self, row: int, xyz: np.ndarray, rgb: np.ndarray, scale: float) -> None:
        """Store one object.

        Args:
            row: its row.
            xyz: [P,3], int16 as packed or float in [-1,1].
            rgb: [P,3] or [3], uint8, or as `unit_colors` reads them.
            scale: length of one unit of xyz, in the data's own unit.

        Raises:
            ShapeError: coordinates outside [-1,1], colours of another range, or no scale.
        """
        if scale <= 0 or scale > float(np.finfo(np.float32).max):  # NaN: the unit is unknown
            raise ShapeError("a scale cannot be packed", got=scale, expected="above 0")
        self.xyz[row] = xyz if xyz.dtype == np.int16 else pack_xyz(xyz)
        self.rgb[row] = pack_rgb(np.asarray(rgb))
        self.scale[row] = scale

    def close(self) -> None:
        """Write everything to the disk."""
        self.xyz.flush()
        self.rgb.flush()
        self.scale.flush()

    def __enter__(self) -> PackedPointWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class PackedPoints:
    """Read packed clouds. Safe to fork and to pickle: a copy opens the files again."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.xyz = _open(self.folder / XYZ_NAME, np.dtype(np.int16), ("n", "P", "3"))
        self.rgb = _open(self.folder / RGB_NAME, np.dtype(np.uint8), ("n", "P", "3"))
        self.scale = _open(self.folder / SCALE_NAME, np.dtype(np.float32), ("n",))
        if self.xyz.shape != self.rgb.shape or self.xyz.shape[:1] != self.scale.shape:
            raise DataError(
                "coordinates, colours and scales differ in shape",
                where=str(self.folder),
                got=f"{self.xyz.shape}, {self.rgb.shape} and {self.scale.shape}",
                fix="delete the folder and prepare it again",
            )

    @property
    def num_points(self) -> int:
        """Points of each object."""
        return self.xyz.shape[1]

    def __len__(self) -> int:
        return self.xyz.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        """Return one cloud, float32 [P,6]: xyz in the unit sphere, rgb in [0,1].

        Raises:
            IndexError: there is no such row.
        """
        return np.concatenate(self.fields(row), axis=1)

    def fields(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return xyz and rgb of one cloud, each float32 [P,3]: five times as fast as one array.

        Raises:
            IndexError: there is no such row.
        """
        return decode_both(self.xyz[row], self.rgb[row], _XYZ_STEP, _RGB_STEP)

    def batch(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return xyz and rgb of several objects, each float32 [B,P,3].

        Two arrays, because decoding into one interleaved array is slower than decoding itself.
        """
        index = np.asarray(rows, dtype=np.int64)
        xyz = decode(self.xyz[index], 1 / XYZ_SCALE)  # [B,P,3]
        return xyz, decode(self.rgb[index], 1 / RGB_SCALE)

    def box_sizes(self) -> np.ndarray:
        """Return every object's bounding box along x, y, z in the data's own unit: [n,3]."""
        edges = np.stack([np.ptp(cloud.astype(np.int32), axis=0) for cloud in self.xyz])  # [n,3]
        return (edges / XYZ_SCALE * self.scale[:, None]).astype(np.float32)

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]


def _open(path: Path, dtype: np.dtype, axes: tuple[str, ...]) -> np.ndarray:
    layout = f"[{','.join(axes)}]"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            "a packed point file cannot be read",
            where=str(path),
            got=str(error),
            expected=f"a {dtype} array {layout}",
            fix="delete the prepared folder and prepare it again",
        ) from error
    if array.dtype != dtype or array.ndim != len(axes) or array.shape[2:] not in ((), (3,)):
        raise DataError(
            "a packed point file has the wrong layout",
            where=str(path),
            got=f"{array.dtype} {array.shape}",
            expected=f"{dtype} {layout}",
            fix="delete the prepared folder and prepare it again",
        )
    return array.view(np.ndarray)  # an access to a memmap costs two microseconds
