"""Cameras in a room that together see most of its objects, and what they see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.rooms.classes import FIRST_SEGMENT
from lavis.datasets.download_scripts.rooms.layout import Layout
from lavis.datasets.rendering.cameras import Camera, look_at
from lavis.datasets.rendering.ray_cast import RayCaster

FIELD_OF_VIEW = 65.0  # degrees across
NEAR = 0.3  # metres: nothing is closer to a camera
LEAST_SHARE = 0.1  # of the pixels that show objects
CANDIDATES = 24
_PREVIEW = (32, 24)  # pixels
_SIGNS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_SEEN = 4  # pixels of a preview that make an object seen


def choose_cameras(
    layout: Layout,
    caster: RayCaster,
    rng: np.random.Generator,
    views: int,
    size: tuple[int, int],
) -> list[Camera]:
    """Return cameras; each next one sees the most objects that the others do not.

    Args:
        layout: furnished.
        caster: of its scene.
        rng: of the candidates.
        views: number of cameras.
        size: (width, height) of the images, pixels.

    Raises:
        DataError: no candidate sees enough.
    """
    seen = []
    for camera in _candidates(layout, rng):
        objects = _objects_in(caster, camera)
        if objects is not None:
            seen.append((camera, objects))
        if len(seen) == CANDIDATES:
            break
    if len(seen) < views:
        raise DataError("too few places for cameras", got=len(seen), expected=views)
    chosen: list[Camera] = []
    known: set[int] = set()
    for _ in range(views):
        scores = [3 * len(objects - known) + len(objects) for _, objects in seen]
        camera, objects = seen.pop(int(np.argmax(scores)))
        known |= objects
        chosen.append(_resized(camera, size))
    return chosen


def _candidates(layout: Layout, rng: np.random.Generator) -> Iterator[Camera]:
    """Yield cameras at eye height that stand free and look at an object or across the room."""
    reach = np.array([layout.width, layout.depth]) / 2 - 0.25
    boxes = [placement.box.aligned() for placement in layout.placements]
    for _ in range(20 * CANDIDATES):
        x, z = rng.uniform(-reach, reach)
        position = np.array([x, rng.uniform(1.1, min(1.8, layout.height - 0.2)), z])
        if any(((position > low - 0.2) & (position < high + 0.2)).all() for low, high in boxes):
            continue
        if boxes and rng.random() < 0.8:
            low, high = boxes[rng.integers(len(boxes))]
            target = (low + high) / 2 + rng.normal(0, 0.2, 3)
        else:
            target = np.array([*rng.uniform(-reach, reach), 0.5])[[0, 2, 1]]
        if np.linalg.norm((target - position)[[0, 2]]) > 0.8:
            width, height = _PREVIEW
            yield look_at(position, target, field_of_view=FIELD_OF_VIEW, width=width, height=height)


def _objects_in(caster: RayCaster, camera: Camera) -> set[int] | None:
    """Return the objects that a camera sees; None where it sees too little."""
    frame = caster.render(camera)
    ids, counts = np.unique(frame.object_id, return_counts=True)
    objects = ids >= FIRST_SEGMENT
    if frame.depth.min() < NEAR or counts[objects].sum() < LEAST_SHARE * frame.object_id.size:
        return None
    return set(ids[objects & (counts >= _SEEN)].tolist())


def _resized(camera: Camera, size: tuple[int, int]) -> Camera:
    """Return a camera of the same view with an image of another size."""
    width, height = size
    focal = camera.focal * width / camera.width
    return dataclasses.replace(camera, focal=float(focal), width=width, height=height)


def viewpoints(layout: Layout, cameras: list[Camera]) -> np.ndarray:
    """Return where a scan looks from: the cameras, the room's upper corners, and low places."""
    x, z = layout.width / 2 - 0.1, layout.depth / 2 - 0.1
    corners = [(a * x, y, b * z) for y in (layout.height - 0.1, 0.5) for a, b in _SIGNS]
    places = [camera.position for camera in cameras] + [np.array(c) for c in corners]
    return np.array([*places, np.array([0.0, layout.height - 0.1, 0.0])])
