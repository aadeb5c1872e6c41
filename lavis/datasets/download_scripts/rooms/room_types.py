"""Kinds of rooms: their size, what has to be in them, and what may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavis.datasets.download_scripts.rooms import groups as g
from lavis.datasets.download_scripts.rooms.boxes import UprightBox
from lavis.datasets.download_scripts.rooms.classes import BRICK
from lavis.datasets.download_scripts.rooms.items import Catalogue, Item
from lavis.datasets.download_scripts.rooms.layout import WALL, Layout

DOOR_SPACE = 0.9  # metres before a door that stay empty


@dataclass(frozen=True)
class RoomType:
    """A kind of room.

    Attributes:
        sides: shortest and longest side, metres.
        needs: groups that are placed first, in order.
        may: (probability, group), placed in a random order.
    """

    sides: tuple[float, float]
    needs: tuple[g.Group, ...]
    may: tuple[tuple[float, g.Group], ...]


_EVERYWHERE: tuple[tuple[float, g.Group], ...] = (
    (0.5, g.along_wall("radiator")),
    (0.5, g.in_corners("plant", "lamp")),
    (0.4, g.hanging("lamp", "tv")),
    (0.4, g.scattered("box", "vase", "bin", most=2)),
    (0.6, g.scattered(BRICK, most=4)),
)
ROOM_TYPES: dict[str, RoomType] = {
    "bedroom": RoomType(
        (3.0, 5.0),
        (g.sleeping,),
        (
            (0.9, g.along_wall("wardrobe", "cabinet", most=2)),
            (0.5, g.working),
            (0.4, g.on_floor("armchair", "chair", "stool")),
            (0.5, g.scattered("toy", most=3)),
            (0.4, g.along_wall("bookcase")),
            *_EVERYWHERE,
        ),
    ),
    "living room": RoomType(
        (3.6, 6.0),
        (g.sitting, g.watching),
        (
            (0.7, g.along_wall("bookcase", "cabinet", most=2)),
            (0.5, g.dining),
            (0.5, g.on_floor("armchair", "stool", "chair", most=2)),
            (0.4, g.scattered("toy", "book", "radio", most=2)),
            (0.3, g.working),
            *_EVERYWHERE,
        ),
    ),
    "office": RoomType(
        (3.0, 5.5),
        (g.working,),
        (
            (0.8, g.working),
            (0.5, g.working),
            (0.8, g.along_wall("bookcase", "cabinet", most=3)),
            (0.6, g.scattered("bin", "box", most=2)),
            (0.4, g.on_floor("chair", "armchair", most=2)),
            *_EVERYWHERE,
        ),
    ),
    "kitchen": RoomType(
        (3.0, 5.0),
        (g.along_wall("cabinet", "oven", "refrigerator", most=4), g.dining),
        (
            (0.9, g.along_wall("refrigerator")),
            (0.9, g.along_wall("oven", "washing machine")),
            (0.8, g.along_wall("cabinet", "washbasin", most=2)),
            (0.7, g.scattered("tableware", "food", "bottle", most=5)),
            (0.8, g.hanging("cabinet", most=3)),
            *_EVERYWHERE,
        ),
    ),
    "bathroom": RoomType(
        (2.4, 3.6),
        (g.along_wall("toilet"), g.along_wall("washbasin"), g.along_wall("bath")),
        (
            (0.6, g.along_wall("washing machine")),
            (0.5, g.along_wall("cabinet")),
            (0.6, g.scattered("bottle", "bin", "box", most=3)),
            (0.4, g.on_floor("stool")),
            *_EVERYWHERE,
        ),
    ),
    "playroom": RoomType(
        (3.0, 5.0),
        (g.scattered(BRICK, most=8), g.scattered("toy", most=6)),
        (
            (0.7, g.along_wall("bookcase", "cabinet", most=2)),
            (0.6, g.dining),
            (0.5, g.on_floor("stool", "chair", "armchair", most=3)),
            (0.4, g.sitting),
            *_EVERYWHERE,
        ),
    ),
}


def compose(
    kind: str, catalogue: Catalogue, rng: np.random.Generator, extra: tuple[str, ...] = ()
) -> Layout:
    """Return a furnished room.

    Args:
        kind: of `ROOM_TYPES`.
        catalogue: the items of one split.
        rng: the only source of randomness.
        extra: further classes of which one or two objects are placed before the others.
    """
    room = ROOM_TYPES[kind]
    width, depth = rng.uniform(*room.sides, 2)
    layout = Layout(float(width), float(depth), float(rng.uniform(2.4, 2.9)), catalogue.mesh)
    door = catalogue.pick(rng, "door")
    if door is not None:
        _door(layout, door, rng)
    rug = catalogue.pick(rng, "rug")
    if rug is not None and rng.random() < 0.4:
        layout.anywhere(rug, rng)
    first = [_extra(extra)] * int(rng.integers(1, 3)) if extra else []
    wished = [group for chance, group in room.may if rng.random() < chance]
    order = rng.permutation(len(wished))
    for group in (*first, *room.needs, _windows, *(wished[i] for i in order)):
        group(layout, catalogue, rng)
    return layout


def _extra(labels: tuple[str, ...]) -> g.Group:
    """Return a group that places one object of some classes, wherever it fits."""

    def group(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
        item = catalogue.pick(rng, *labels)
        if item is None:
            return
        if max(item.size) > 0.8:
            layout.against_wall(item, rng)
        else:
            layout.anywhere(item, rng)

    return group


def _windows(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """Hang up to two windows where the walls are free."""
    for _ in range(int(rng.integers(0, 3))):
        window = catalogue.pick(rng, "window")
        if window is not None:
            layout.hang(window, rng, window.elevation or 0.9)


def _door(layout: Layout, door: Item, rng: np.random.Generator) -> None:
    """Put a door into a wall, and keep the floor before it empty."""
    pose = layout.wall_pose(door, int(rng.integers(4)), rng.random(), 0.0)
    place = layout.put(door, pose, 0.0, WALL)
    if place is None:
        return
    box = layout.placements[place].box
    x, z = box.place(0.0, (door.size[2] + DOOR_SPACE) / 2)
    size = (door.size[0], door.size[1], DOOR_SPACE)
    layout.blocked.append(UprightBox(x, z, 0.0, size, box.angle))
