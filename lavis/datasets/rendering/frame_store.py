"""Depth, normals and object ids of rendered views in one file: a zip of .npy, beside the colours.

    <object_id>/depth.npy       uint16 [V,H,W], steps of 0.0001 along forward; 0: nothing
    <object_id>/normal.npy      int8 [V,H,W,3] times 127, in the world; 0: nothing
    <object_id>/object_id.npy   int16 [V,H,W]; -1: nothing
    <object_id>/radius.npy      float64, length of one unit in the data's own unit
    cameras.json                the V cameras, the same for every object

Objects lie in the unit sphere about the middle of their box.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.rendering.cameras import Camera
from lavis.datasets.rendering.ray_cast import Frame
from lavis.datasets.rendering.view_store import write_facts, zip_entry

CAMERAS_NAME = "cameras.json"
DEPTH_STEP, NORMAL_STEP = 1e-4, 1 / 127


def pack_frames(frames: Sequence[Frame], radius: float) -> dict[str, np.ndarray]:
    """Return the arrays of an object's views as they are stored."""
    depth = np.stack([frame.depth for frame in frames])
    steps = np.where(np.isfinite(depth), np.rint(depth / DEPTH_STEP), 0)
    normal = np.stack([frame.normal for frame in frames])
    return {
        "depth": np.clip(steps, 0, np.iinfo(np.uint16).max).astype(np.uint16),
        "normal": np.rint(normal / NORMAL_STEP).astype(np.int8),
        "object_id": np.stack([frame.object_id for frame in frames]).astype(np.int16),
        "radius": np.array(radius),
    }


class FrameWriter:
    """Writes a new file; the bytes depend on the frames and their order alone."""

    def __init__(
        self, path: Path, cameras: Sequence[Camera], facts: Mapping[str, Any] | None = None
    ) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        write_facts(self._zip, facts)
        self._zip.writestr(zip_entry(CAMERAS_NAME), json.dumps([_stated(c) for c in cameras]))

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def add(self, object_id: str, arrays: dict[str, np.ndarray]) -> None:
        """Add the arrays of an object."""
        for name, values in arrays.items():
            content = io.BytesIO()
            np.save(content, values)
            entry = zip_entry(f"{object_id}/{name}.npy")
            self._zip.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, 6)


class FrameStore:
    """Reads frames by object.

    Attributes:
        cameras: of every object.

    Raises:
        DataError: no such file, or a damaged one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.cameras = [_camera(facts) for facts in json.loads(self._read(CAMERAS_NAME))]

    def _read(self, name: str) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as file:
                return file.read(name)
        except DAMAGE as error:
            what, where = "a file of rendered frames cannot be read", f"{self.path}: {name}"
            raise DataError(what, where=where, got=str(error)) from error

    def _array(self, object_id: str, name: str) -> np.ndarray:
        content = io.BytesIO(self._read(f"{object_id}/{name}.npy"))
        return np.load(content, allow_pickle=False)

    def depth(self, object_id: str) -> np.ndarray:
        """Return float32 [V,H,W] along forward; infinite where nothing is."""
        steps = self._array(object_id, "depth")
        return np.where(steps > 0, steps * np.float32(DEPTH_STEP), np.float32(np.inf))

    def normals(self, object_id: str) -> np.ndarray:
        """Return float32 [V,H,W,3], nearly unit; zero where nothing is."""
        return self._array(object_id, "normal") * np.float32(NORMAL_STEP)

    def object_ids(self, object_id: str) -> np.ndarray:
        """Return int32 [V,H,W]; -1 where nothing is."""
        return self._array(object_id, "object_id").astype(np.int32)

    def radius(self, object_id: str) -> float:
        """Return the length of one unit in the data's own unit."""
        return float(self._array(object_id, "radius"))

    def points(self, object_id: str, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the points [N,3] that a view sees, and their pixels [N,2] (column, row)."""
        depth = self.depth(object_id)[view]
        rows, columns = np.nonzero(np.isfinite(depth))
        pixels = np.stack([columns, rows], 1)
        camera = self.cameras[view]
        return camera.back_project(pixels + 0.5, depth[rows, columns].astype(np.float64)), pixels


def _stated(camera: Camera) -> dict[str, Any]:
    return {
        "position": np.asarray(camera.position).tolist(),
        "rotation": np.asarray(camera.rotation).tolist(),
        "focal": np.asarray(camera.focal).tolist(),
        "centre": np.asarray(camera.centre).tolist(),
        **{"width": camera.width, "height": camera.height},
    }


def _camera(stated: dict[str, Any]) -> Camera:
    names = ("position", "rotation", "focal")
    position, rotation, focal = (np.array(stated[name]) for name in names)
    centre = np.array(stated["centre"])
    return Camera(position, rotation, focal, stated["width"], stated["height"], centre)
