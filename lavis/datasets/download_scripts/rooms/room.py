"""One prepared room: its cloud, frames, and what is known of its objects."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.download_scripts.rooms.classes import BRICK, HELD_OUT, SEEN
from lavis.datasets.download_scripts.rooms.expressions import Thing, describe
from lavis.datasets.download_scripts.rooms.items import Catalogue
from lavis.datasets.download_scripts.rooms.layout import Layout
from lavis.datasets.download_scripts.rooms.room_types import ROOM_TYPES, compose
from lavis.datasets.download_scripts.rooms.scene import build_scene, scan
from lavis.datasets.download_scripts.rooms.views import choose_cameras, viewpoints
from lavis.datasets.rendering.cameras import Camera
from lavis.datasets.rendering.ray_cast import Frame
from lavis.datasets.scene_text import caption_of, with_article
from lavis.processors.point_transforms import PointFields

SPLITS = ("train", "val", "test", "held_out")
CLASS_NAMES = (*SEEN, *HELD_OUT)
EXPRESSIONS = 12  # of a room, at most
LEAST_OBJECTS = 5
_ATTEMPTS = 8

Record = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What every room has.

    Attributes:
        num_points: of the cloud.
        views: frames of a room.
        width, height: of a frame, pixels.
        seed: of everything that is drawn.
    """

    num_points: int = 100_000
    views: int = 6
    width: int = 320
    height: int = 240
    seed: int = 0


@dataclass(frozen=True)
class Room:
    """A room as it is stored.

    Attributes:
        record: room_type, size, caption, instances, cameras, expressions.
        points: see `scene.scan`.
        frames: one per camera.
    """

    record: Record
    points: PointFields
    frames: list[Frame]


def make_room(split: str, number: int, catalogue: Catalogue, plan: Plan) -> Room:
    """Return a room; the result depends on split, number, catalogue and plan alone.

    Args:
        split: of `SPLITS`; objects are of the same split of their source. Rooms of held_out have
            objects of the test split, and one or two of held-out classes.
        number: of the room in its split; the layout depends on both.
        catalogue: of all splits.
        plan: see `Plan`.

    Raises:
        DataError: no attempt gives a room in which cameras see enough.
    """
    extra = HELD_OUT if split == "held_out" else ()
    items = catalogue.of(("test", "held_out") if extra else (split,))
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([plan.seed, stable_hash(f"room:{split}:{number}"), attempt])
        kinds = list(ROOM_TYPES)
        kind = kinds[rng.integers(len(kinds))]
        try:
            layout = compose(kind, items, rng, extra)
            if len(layout.placements) >= LEAST_OBJECTS:
                return _scanned(f"{split}_{number:04d}", kind, layout, plan, rng)
        except DataError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise DataError(f"room {split} {number}: fewer than {LEAST_OBJECTS} objects fit")


def _scanned(room_id: str, kind: str, layout: Layout, plan: Plan, rng: np.random.Generator) -> Room:
    scene = build_scene(layout, CLASS_NAMES, rng)
    caster = scene.caster()
    cameras = choose_cameras(layout, caster, rng, plan.views, (plan.width, plan.height))
    points = scan(scene, caster, viewpoints(layout, cameras), plan.num_points, rng)
    counts = np.bincount(points["instance_label"] + 1, minlength=len(layout.placements) + 1)[1:]
    boxes = scene.boxes()
    things = things_of(layout, boxes, counts)
    record = {
        "object_id": room_id,
        "room_type": kind,
        "size": [round(v, 4) for v in (layout.width, layout.height, layout.depth)],
        "caption": caption_of(with_article(kind), [t.label for t in things if t.points]),
        "instances": [_instance(layout, thing) for thing in things],
        "cameras": [_camera(camera) for camera in cameras],
        "expressions": [asdict(e) for e in describe(things, rng, EXPRESSIONS)],
    }
    return Room(record, points, [caster.render(camera) for camera in cameras])


def things_of(layout: Layout, boxes: np.ndarray, counts: np.ndarray) -> list[Thing]:
    """Return the objects of a layout with their boxes [K,6] and numbers of points [K]."""
    return [
        Thing(
            place,
            placement.item.label,
            boxes[place],
            placement.support,
            int(counts[place]),
            placement.item.name.split(" ")[0] if placement.item.label == BRICK else "",
        )
        for place, placement in enumerate(layout.placements)
    ]


def _instance(layout: Layout, thing: Thing) -> Record:
    """Return the annotation of an object."""
    placement = layout.placements[thing.instance]
    return {
        "instance": thing.instance,
        "label": thing.label,
        "name": placement.item.name,
        "source": placement.item.source,
        "source_id": placement.item.object_id,
        "box": [round(float(value), 4) for value in thing.box],
        "size": [round(float(value), 4) for value in placement.item.size],
        "angle": round(placement.box.angle, 6),
        "support": thing.support,
        "points": thing.points,
    }


def _camera(camera: Camera) -> Record:
    return {
        "position": camera.position.tolist(),
        "rotation": camera.rotation.tolist(),
        "focal": float(camera.focal),
        "width": camera.width,
        "height": camera.height,
    }
