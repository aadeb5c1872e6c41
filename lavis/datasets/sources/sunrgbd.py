"""SUN RGB-D: RGB-D frames with classes per pixel and turned boxes, as released.

<root>/<sensor>/.../<frame>/image/*.jpg, depth/*.png, depth_bfx/*.png, intrinsics.txt,
       extrinsics/*.txt, annotation2Dfinal/index.json, annotation3Dfinal/index.json, scene.txt
SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat, or a text file with a frame's path a line

Depth, intrinsics and gravity are read as the toolbox does (readframeSUNRGBD.m, read3dPoints.m).
Labels are those of the polygons whose name is one of the 37 classes; later polygons cover earlier
ones. A room's up is +y here, and the camera is at the origin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from lavis.common.files import file_below
from lavis.common.text_files import read_json, read_text
from lavis.datasets.class_names import SUNRGBD37
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.fields.frames import FrameStore, RgbdFrame
from lavis.datasets.fields.images import read_pixels
from lavis.datasets.rendering.cameras import Camera
from lavis.datasets.scene_text import with_article
from lavis.datasets.sources.scenes import SceneSource
from lavis.datasets.stores.point_stores import PointStore
from lavis.datasets.stores.scene_store import CheckedLabels

FARTHEST = 8.0  # metres: the toolbox cuts depth here
DETECTED = (  # the ten classes of 3D detection
    *("bed", "table", "sofa", "chair", "toilet", "desk", "dresser", "night stand", "bookshelf"),
    "bathtub",
)
_STRUCTURE = ("wall", "floor", "ceiling")
_ANCHOR = "SUNRGBD/"
_FLIP = np.diag([1.0, -1.0, -1.0])  # right, down, forward becomes right, up, backward
_LABEL_OF = {name.replace(" ", ""): label for label, name in enumerate(SUNRGBD37)}


class SunRgbdSource(SceneSource):
    """Read SUN RGB-D's frames as released; an id is the frame's path below the root."""

    origin = (
        "SUNRGBD.zip and SUNRGBDtoolbox.zip (rgbd.cs.princeton.edu): <frame>/image, depth, "
        "intrinsics.txt, extrinsics, annotation2Dfinal, annotation3Dfinal, scene.txt; "
        "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    )
    fixed_classes: ClassVar[Sequence[str]] = SUNRGBD37

    def files(self) -> list[tuple[str, Path]]:
        """Return (yaml key, path) of what is read; a list inside a .mat counts as the .mat."""
        return [(k, p.parent if p.parent.suffix == ".mat" else p) for k, p in super().files()]

    def read(self, path: Path) -> list[Entry]:
        """Return a record per frame of a list: `<file>.mat/<its name>`, or a text file."""
        if path.parent.suffix == ".mat":
            from scipy.io import loadmat  # numbers and texts alone; nothing of the file is run

            found = loadmat(path.parent, variable_names=[path.name], squeeze_me=True)
            names = [str(name) for name in np.ravel(found[path.name])]
        else:
            names = [name for name in read_text(path).split("\n") if name.strip()]
        return [{"object_id": i, "caption": self._caption(i)} for i in map(frame_id, names)]

    def _caption(self, frame: str) -> str:
        """Return the kind of scene: "a living room"."""
        path = self._folder(frame) / "scene.txt"
        kind = read_text(path).strip().replace("_", " ") if path.exists() else "room"
        return with_article(kind)

    def open_store(self) -> PointStore:
        """Return the clouds of the frames."""
        points = self.info.points
        size = (int(points.width), int(points.height)) if points.width else None
        store = FrameStore(self, size, int(points.num_points), int(points.seed))
        return CheckedLabels(store, len(self.class_names()))

    def frame(self, object_id: str) -> RgbdFrame:
        """Return a frame.

        Raises:
            DataError: no depth or intrinsics, images of different sizes, or a damaged file.
        """
        folder = self._folder(object_id)
        return self.checked(folder, lambda: self._frame(object_id, folder))

    def _frame(self, name: str, folder: Path) -> RgbdFrame:
        rgb = read_pixels(_one(folder / "image", "*.jpg"))
        depth = read_depth(_one(folder / str(self.info.points.depth), "*.png"))
        camera = read_camera(folder, rgb.shape[1], rgb.shape[0])
        return RgbdFrame(name, rgb, depth, camera, *self._labels(folder, rgb.shape[:2]))

    def _labels(self, folder: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes and instances [H,W] of the polygons; -1 where there is none."""
        content = read_json(folder / "annotation2Dfinal/index.json")
        return draw_polygons(content["frames"][0]["polygon"], content["objects"], size)

    def _folder(self, frame: str) -> Path:
        return file_below(self.path("points.storage"), frame)


class SunRgbdDetectionSource(SunRgbdSource):
    """The same frames with the annotated boxes of ten classes, and no classes of pixels."""

    fixed_classes = DETECTED

    def _frame(self, name: str, folder: Path) -> RgbdFrame:
        frame = super()._frame(name, folder)
        boxes, labels = read_boxes(read_json(folder / "annotation3Dfinal/index.json")["objects"])
        return replace(frame, boxes=boxes, box_label=labels)

    def _labels(self, folder: Path, size: tuple[int, int]) -> Any:
        return None, None


def frame_id(path: str) -> str:
    """Return a frame's path below the root: ".../SUNRGBD/kv1/NYUdata/NYU0001/" -> "kv1/NYU…"."""
    return path.strip().rpartition(_ANCHOR)[2].strip("/")


def _one(folder: Path, pattern: str) -> Path:
    """Return the first file of a frame's folder.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder.name}: no {pattern}")
    return found[0]


def read_depth(path: Path) -> np.ndarray:
    """Return depth in metres, float32 [H,W], 0 where unknown: millimetres turned by three bits.

    Raises:
        ValueError: no 16-bit image.
    """
    with Image.open(path) as image:
        stored = np.asarray(image)
    if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.max(initial=0) >= 2**16:
        raise ValueError(f"{path.name}: {stored.dtype} {stored.shape}, no 16-bit depth")
    bits = stored.astype(np.uint16)
    millimetres = (bits >> 3) | (bits << 13)
    return np.minimum(millimetres.astype(np.float32) / 1000, FARTHEST)


def read_camera(folder: Path, width: int, height: int) -> Camera:
    """Return the camera of a frame, at the origin, turned so that gravity is along -y.

    Raises:
        ValueError: no intrinsics of nine numbers, or no extrinsics.
    """
    numbers = read_text(folder / "intrinsics.txt").split()
    if len(numbers) != 9:
        raise ValueError(f"intrinsics.txt: {len(numbers)} numbers instead of 9")
    matrix = np.array(numbers, np.float64).reshape(3, 3)
    tilts = sorted((folder / "extrinsics").glob("*.txt"))
    if not tilts:
        raise ValueError("no extrinsics/*.txt, so gravity is unknown")
    tilt = np.array(read_text(tilts[-1]).split(), np.float64).reshape(3, -1)[:, :3]
    focal, axis = matrix[[0, 1], [0, 1]], matrix[:2, 2]
    # The toolbox counts pixels from 1: its first centre is (1, 1), ours (0.5, 0.5).
    return Camera(np.zeros(3), tilt.T @ _FLIP, focal, width, height, axis - 0.5)


def _plain(name: object) -> str:
    """Return a class name without occlusion notes, spaces and underscores."""
    return re.sub(r"[^a-z]", "", str(name).partition(":")[0].lower())


def draw_polygons(
    polygons: Sequence[Any], objects: Sequence[Any], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes and instances [H,W] that polygons cover.

    Args:
        polygons: {object, x, y} of annotation2Dfinal.
        objects: {name}, or null, by number.
        size: (H, W).
    """
    drawn = Image.new("I", size[::-1], -1)
    pencil = ImageDraw.Draw(drawn)
    for polygon in polygons:
        xs, ys = (np.ravel(polygon[key]) for key in ("x", "y"))
        if len(xs) == len(ys) >= 3:
            corners = [(float(x), float(y)) for x, y in zip(xs, ys)]
            pencil.polygon(corners, fill=int(polygon["object"]))
    instance = np.asarray(drawn, np.int64).copy()
    names = [_plain(thing["name"]) if isinstance(thing, Mapping) else "" for thing in objects]
    labels = np.array([_LABEL_OF.get(name, -1) for name in names] + [-1])
    instance[instance >= len(names)] = -1
    semantic = labels[instance]  # -1 takes the last
    structure = [SUNRGBD37.index(name) for name in _STRUCTURE]
    instance[np.isin(semantic, [-1, *structure])] = -1
    return semantic, instance


def read_boxes(objects: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes of the detected classes: [K,7] (centre, size, turn about +y), labels [K].

    Args:
        objects: {name, polygon: [{X, Z, Ymin, Ymax}]} of annotation3Dfinal, or null.
    """
    plain = [_plain(name) for name in DETECTED]
    boxes, labels = [], []
    for thing in objects:
        if isinstance(thing, Mapping) and thing.get("polygon") and _plain(thing["name"]) in plain:
            boxes.append(_box(thing["polygon"][0]))
            labels.append(plain.index(_plain(thing["name"])))
    return np.array(boxes, np.float32).reshape(-1, 7), np.array(labels, np.int64)


def _box(polygon: Mapping[str, Any]) -> list[float]:
    """Return a box of the annotation, whose y points down and z forward, in our axes."""
    x, z = np.array(polygon["X"], np.float64), -np.array(polygon["Z"], np.float64)
    low, high = -float(polygon["Ymax"]), -float(polygon["Ymin"])
    width = np.array([x[1] - x[0], z[1] - z[0]])
    depth = np.array([x[2] - x[1], z[2] - z[1]])
    turn = float(np.arctan2(-width[1], width[0]))
    centre = [(x[0] + x[2]) / 2, (low + high) / 2, (z[0] + z[2]) / 2]
    return [*centre, np.linalg.norm(width), abs(high - low), np.linalg.norm(depth), turn]
