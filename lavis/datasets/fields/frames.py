"""RGB-D frames: an image, and the cloud behind its pixels, each point with the pixel it comes from.

A frame's depth is along the camera's forward axis, not along the ray. The centre of pixel (column,
row) is (column + 0.5, row + 0.5). Clouds are in the world, metres, up +y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import DataError
from lavis.datasets.datasets.annotations import Entry, sample_rng
from lavis.datasets.fields.images import to_unit_range
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.rendering.cameras import Camera
from lavis.datasets.samples import Field, Sample, register_field
from lavis.datasets.stores.point_stores import FieldStore
from lavis.processors.point_transforms import (
    PointFields,
    rotation_xyz,
    take_points,
)

register_field("intrinsics", Field("[B,4]", dtype=torch.float32))  # focal x, y; axis x, y; pixels
register_field("pose", Field("[B,4,4]", dtype=torch.float32))  # from the camera to the world


@dataclass(frozen=True)
class RgbdFrame:
    """One frame of an RGB-D camera.

    Attributes:
        name: for messages.
        rgb: uint8 [H,W,3].
        depth: float32 [H,W], metres along forward; 0, NaN or infinite where unknown.
        camera: of both images.
        semantic, instance: int [H,W], -1 for none; None: not labelled.
        boxes: float32 [K,7] in the world: centre, size, turn about +y in radians; None: no boxes.
        box_label: int64 [K].

    Raises:
        DataError: images of different sizes, or no pixel with a depth.
    """

    name: str
    rgb: np.ndarray
    depth: np.ndarray
    camera: Camera
    semantic: np.ndarray | None = None
    instance: np.ndarray | None = None
    boxes: np.ndarray | None = None
    box_label: np.ndarray | None = None

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        images = {"rgb": self.rgb, "depth": self.depth, **self._labels()}
        sizes = {name: image.shape[:2] for name, image in images.items()}
        if set(sizes.values()) != {size}:
            got = ", ".join(f"{name} {list(shape)}" for name, shape in sizes.items())
            what = "the images of a frame differ in size"
            raise DataError(what, where=self.name, got=got, expected=f"{list(size)}, each")
        if not self.seen.any():
            what = "a frame has no points in view"
            raise DataError(what, where=self.name, got="no depth in any pixel")

    def _labels(self) -> dict[str, np.ndarray]:
        labels = {"semantic_label": self.semantic, "instance_label": self.instance}
        return {name: values for name, values in labels.items() if values is not None}

    @property
    def seen(self) -> np.ndarray:
        """Pixels with a depth: bool [H,W]."""
        return np.isfinite(self.depth) & (self.depth > 0)

    def points(self) -> PointFields:
        """Return the points behind the pixels with a depth.

        Returns:
            xyz float32 [N,3] in the world, rgb float32 [N,3] in [0,1], pixel_of_point int64 [N,2]
            (column, row), and the labels of the frame.
        """
        rows, columns = np.nonzero(self.seen)
        pixels = np.stack([columns, rows], 1)
        depth = self.depth[rows, columns].astype(np.float64)
        xyz = self.camera.back_project(pixels + 0.5, depth)
        return {
            "xyz": xyz.astype(np.float32),
            "rgb": self.rgb[rows, columns].astype(np.float32) / 255,
            "pixel_of_point": pixels.astype(np.int64),
            **{name: labels[rows, columns] for name, labels in self._labels().items()},
        }

    def resized(self, width: int, height: int) -> RgbdFrame:
        """Return the frame with images of another size; the cloud's pixels follow."""
        if (width, height) == (self.camera.width, self.camera.height):
            return self
        from PIL import Image

        scale = np.array([width / self.camera.width, height / self.camera.height])
        rows = ((np.arange(height) + 0.5) / scale[1]).astype(int)
        columns = ((np.arange(width) + 0.5) / scale[0]).astype(int)
        nearest = np.ix_(rows, columns)  # depth and labels have no mean across an edge
        return replace(
            self,
            rgb=np.asarray(
                Image.fromarray(self.rgb).resize((width, height), Image.Resampling.BILINEAR)
            ),
            depth=self.depth[nearest],
            camera=replace(
                self.camera,
                focal=self.camera.focal * scale,
                axis=self.camera.centre * scale,
                width=width,
                height=height,
            ),
            semantic=None if self.semantic is None else self.semantic[nearest],
            instance=None if self.instance is None else self.instance[nearest],
        )


class Frames(Protocol):
    """Source of frames."""

    def frame(self, object_id: str) -> RgbdFrame:
        """Return a frame; DataError when it has no depth or intrinsics, or cannot be read."""
        ...


class FrameStore(FieldStore):
    """The clouds of frames, as a store of points; keeps the last frame for the image's loader.

    Args:
        frames: where they come from.
        size: (width, height) of all images, pixels; None: as they are.
        num_points: points that are kept of a frame, the same in every epoch; 0 keeps all.
        seed: of their choice and order.
    """

    def __init__(
        self,
        frames: Frames,
        size: tuple[int, int] | None = None,
        num_points: int = 0,
        seed: int = 0,
    ) -> None:
        self.frames, self.size, self.num_points, self.seed = frames, size, num_points, seed
        self._last: tuple[str, RgbdFrame] | None = None

    def frame(self, object_id: str) -> RgbdFrame:
        """Return a frame in the size of all frames.

        Raises:
            DataError: see `Frames.frame`, `RgbdFrame`.
        """
        if self._last is None or self._last[0] != object_id:
            frame = self.frames.frame(object_id)
            self._last = (object_id, frame.resized(*self.size) if self.size else frame)
        return self._last[1]

    def load_points(self, object_id: str) -> PointFields:
        """Return the points of a frame in a random order; see `RgbdFrame.points`."""
        points = self.frame(object_id).points()
        count = len(points["xyz"])
        order = sample_rng(self.seed, 0, object_id).permutation(count)
        return take_points(points, order[: self.num_points or count])


@dataclass(frozen=True)
class FrameBoxLoader(PointLoader):
    """Load the points of a frame with its annotated boxes [K,7] and box_label [K].

    Boxes follow what the processor does to all points: a turn about the up axis, a scale, a shift.
    """

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the processed points and the boxes."""
        sample = super().load(record, rng)
        frame = frames_of(self.store).frame(record["object_id"])
        if frame.boxes is None or frame.box_label is None:
            raise DataError("a frame has no boxes", where=frame.name)
        columns, rows = sample["pixel_of_point"].numpy().T
        pixels = np.stack([columns, rows], 1) + 0.5
        there = frame.camera.back_project(pixels, frame.depth[rows, columns].astype(np.float64))
        move = Move.between(there, sample["point_cloud"][:, :3].numpy())
        labels = torch.from_numpy(frame.box_label)
        return sample | {"boxes": torch.from_numpy(move.boxes(frame.boxes)), "box_label": labels}


@dataclass(frozen=True)
class Move:
    """A turn about the up axis, a scale and a shift, in this order.

    Attributes:
        turn: radians about +y.
        scale: of all coordinates.
        shift: [3].
    """

    turn: float
    scale: float
    shift: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray) -> Move:
        """Return the move of points [N,3] that fits best; exact where it is one."""
        centres = before.mean(axis=0), after.mean(axis=0)
        a, b = before - centres[0], (after - centres[1]).astype(np.float64)
        # As complex numbers x + iz, a turn about +y is a factor exp(-i turn).
        factor = np.vdot(a[:, 0] + 1j * a[:, 2], b[:, 0] + 1j * b[:, 2])
        turn = float(-np.angle(factor))
        scale = float((abs(factor) + a[:, 1] @ b[:, 1]) / max(np.square(a).sum(), 1e-12))
        return cls(turn, scale, centres[1] - scale * rotation_xyz(0.0, turn, 0.0) @ centres[0])

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes [K,7] after the move."""
        centre = self.scale * boxes[:, :3] @ rotation_xyz(0.0, self.turn, 0.0).T + self.shift
        moved = [centre, self.scale * boxes[:, 3:6], boxes[:, 6:] + self.turn]
        return np.concatenate(moved, axis=1).astype(np.float32)


def frames_of(store: object) -> FrameStore:
    """Return the store of frames behind a store of their clouds.

    Raises:
        DataError: there is none.
    """
    frames = store if isinstance(store, FrameStore) else getattr(store, "store", None)
    if not isinstance(frames, FrameStore):
        raise DataError("a data set of frames needs frames", got=type(store).__name__)
    return frames


@dataclass(frozen=True)
class FrameLoader:
    """Load the image of a frame: image float32 [1,3,H,W], image_mask, intrinsics [4], pose [4,4].

    Attributes:
        store: of the frames.
        processor: makes [3,H,W] of the pixels [H,W,3]; must not change their size or place.
    """

    store: FrameStore
    processor: Callable[[np.ndarray, np.random.Generator], Tensor] = to_unit_range
    stream = "image:"

    def load(self, record: Entry, rng: np.random.Generator) -> Sample:
        """Return the image and its camera."""
        frame = self.store.frame(record["object_id"])
        camera = frame.camera
        focal = np.broadcast_to(camera.focal, 2)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = camera.rotation.T, camera.position
        return {
            "image": self.processor(frame.rgb, rng)[None],
            "image_mask": torch.ones(1, dtype=torch.bool),
            "intrinsics": torch.from_numpy(np.concatenate([focal, camera.centre])).float(),
            "pose": torch.from_numpy(pose).float(),
        }
