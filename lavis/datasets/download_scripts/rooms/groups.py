"""Groups of furniture as they occur together: chairs at a table, a lamp beside a bed.

An object that does not fit is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lavis.datasets.download_scripts.rooms.items import Catalogue, Item
from lavis.datasets.download_scripts.rooms.layout import FLOOR, Layout, Placement

Group = Callable[[Layout, Catalogue, np.random.Generator], None]

TABLEWARE = ("tableware", "bottle", "plant", "vase", "food")
ON_DESK = ("lamp", "computer", "book", "plant", "tableware", "box")
ON_CABINET = ("lamp", "plant", "vase", "book", "toy", "box", "radio")
CARRIERS = ("table", "coffee table", "desk", "cabinet", "washing machine", "bookcase")
MAX_ON_TOP = 0.75  # metres; larger items are placed on the floor


def is_small(item: Item) -> bool:
    """Return whether an item can stand on furniture."""
    return max(item.size) <= MAX_ON_TOP and item.elevation == 0


def pick_small(catalogue: Catalogue, rng: np.random.Generator, *labels: str) -> Item | None:
    """Draw an item that can stand on furniture."""
    return _pick(catalogue, rng, labels, is_small)


def pick_large(catalogue: Catalogue, rng: np.random.Generator, *labels: str) -> Item | None:
    """Draw an item that stands on the floor."""
    return _pick(catalogue, rng, labels, lambda item: not is_small(item) and item.elevation == 0)


def _is_low(item: Item) -> bool:
    """Return whether an item can stand beside a bed."""
    return item.elevation == 0 and 0.3 < item.size[1] < 0.8 and item.size[0] < 0.9


def _is_wide(item: Item) -> bool:
    """Return whether an item can carry a television."""
    return item.elevation == 0 and item.size[1] < 1.0 and item.size[0] > 0.6


def _pick(
    catalogue: Catalogue,
    rng: np.random.Generator,
    labels: tuple[str, ...],
    suits: Callable[[Item], bool],
) -> Item | None:
    """Draw an item that passes a test; None if eight draws do not pass."""
    for _ in range(8):
        item = catalogue.pick(rng, *labels)
        if item is None or suits(item):
            return item
    return None


def decorate(
    layout: Layout,
    catalogue: Catalogue,
    rng: np.random.Generator,
    support: int,
    labels: tuple[str, ...],
    most: int,
) -> None:
    """Place at most `most` small items on a placed object."""
    for _ in range(int(rng.integers(0, most + 1))):
        item = pick_small(catalogue, rng, *labels)
        if item is not None:
            layout.on_top(support, item, rng)


def seats_around(
    layout: Layout, rng: np.random.Generator, table: int, seat: Item, most: int
) -> None:
    """Place seats of one kind along the sides of a table, their fronts to it."""
    width, _, depth = layout.placements[table].item.size
    poses = []
    for side in range(4):
        length, reach = (width, depth) if side % 2 == 0 else (depth, width)
        places = max(int((length + 0.1) / (seat.size[0] + 0.12)), 1 if length > 0.5 else 0)
        for number in range(places):
            along = ((number + 0.5) / places - 0.5) * length
            away = reach / 2 + seat.size[2] / 2 + rng.uniform(0.02, 0.12)
            # Right and front of the table's centre for the side at +z, turned to the other sides.
            angle = side * np.pi / 2
            right = along * np.cos(angle) + away * np.sin(angle)
            front = -along * np.sin(angle) + away * np.cos(angle)
            poses.append((right, front, angle + np.pi + rng.uniform(-0.12, 0.12)))
    wanted = int(rng.integers(min(2, most), most + 1))
    for number in rng.permutation(len(poses)):
        if wanted > 0 and layout.beside(table, seat, *poses[number]) is not None:
            wanted -= 1


def dining(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """A table with chairs around it and things on it."""
    table, chair = pick_large(catalogue, rng, "table"), catalogue.pick(rng, "chair", "stool")
    if table is None:
        return
    place = _central(layout, table, rng)
    if place is None:
        return
    if chair is not None:
        seats_around(layout, rng, place, chair, 6)
    decorate(layout, catalogue, rng, place, TABLEWARE, 5)


def _central(layout: Layout, item: Item, rng: np.random.Generator) -> int | None:
    """Place an item away from the walls, along one of the room's axes."""
    reach = np.maximum(np.array([layout.width, layout.depth]) / 2 - 1.0, 0.1)

    def poses() -> list[tuple[float, float, float]]:
        spots = rng.uniform(-reach, reach, (20, 2))
        turns = rng.integers(0, 4, 20) * np.pi / 2
        return [(float(x), float(z), float(t)) for (x, z), t in zip(spots, turns)]

    return layout.try_poses(item, poses())


def sleeping(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """A bed at a wall, bedside tables at its head, something on them."""
    bed = catalogue.pick(rng, "bed")
    place = None if bed is None else layout.against_wall(bed, rng)
    if bed is None or place is None:
        return
    table = _pick(catalogue, rng, ("cabinet", "stool"), _is_low)
    for side in (-1, 1):
        if table is None or rng.random() < 0.25:
            continue
        right = side * (bed.size[0] / 2 + table.size[0] / 2 + rng.uniform(0.03, 0.12))
        stand = layout.beside(place, table, right, (table.size[2] - bed.size[2]) / 2)
        if stand is not None:
            decorate(layout, catalogue, rng, stand, ("lamp", "book", "vase"), 2)
    toy = pick_small(catalogue, rng, "toy")
    if toy is not None and rng.random() < 0.3:
        layout.on_top(place, toy, rng)


def sitting(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """A sofa, a low table before it, armchairs that look at the table."""
    sofa = catalogue.pick(rng, "sofa")
    place = None if sofa is None else layout.against_wall(sofa, rng)
    if sofa is None or place is None:
        return
    table = catalogue.pick(rng, "coffee table")
    if table is None:
        return
    front = sofa.size[2] / 2 + table.size[2] / 2 + rng.uniform(0.3, 0.5)
    low = layout.beside(place, table, rng.uniform(-0.2, 0.2), front)
    if low is None:
        return
    armchair = catalogue.pick(rng, "armchair")
    for side in (-1, 1):
        if armchair is not None and rng.random() < 0.6:
            right = side * (table.size[0] / 2 + armchair.size[2] / 2 + rng.uniform(0.2, 0.4))
            layout.beside(low, armchair, right, 0.0, -side * np.pi / 2 + rng.uniform(-0.2, 0.2))
    decorate(layout, catalogue, rng, low, (*TABLEWARE, "book"), 3)


def watching(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """A television on its stand."""
    stand = _pick(catalogue, rng, ("cabinet",), _is_wide)
    if stand is None:
        return
    place = layout.against_wall(stand, rng)
    screen = catalogue.pick(rng, "tv")
    if place is not None and screen is not None and screen.elevation == 0:
        layout.on_top(place, screen, rng, turn=0.05)


def working(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
    """A desk at a wall, a chair before it, things on it."""
    desk = catalogue.pick(rng, "desk")
    place = None if desk is None else layout.against_wall(desk, rng)
    if desk is None or place is None:
        return
    chair = catalogue.pick(rng, "chair", "armchair")
    if chair is not None:
        front = desk.size[2] / 2 + chair.size[2] / 2 + rng.uniform(0.03, 0.25)
        right = rng.uniform(-0.2, 0.2) * desk.size[0]
        layout.beside(place, chair, right, front, np.pi + rng.uniform(-0.3, 0.3))
    decorate(layout, catalogue, rng, place, ON_DESK, 4)


def along_wall(*labels: str, most: int = 1) -> Group:
    """Return a group of large things with their backs to a wall, and small things on them."""

    def group(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(1, most + 1))):
            item = pick_large(catalogue, rng, *labels)
            place = None if item is None else layout.against_wall(item, rng)
            if place is not None and _carries(layout.placements[place]):
                decorate(layout, catalogue, rng, place, ON_CABINET, 3)

    return group


def on_floor(*labels: str, most: int = 1, large: bool = False) -> Group:
    """Return a group of things that stand anywhere on the floor."""

    def group(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(1, most + 1))):
            pick = pick_large if large else Catalogue.pick
            item = pick(catalogue, rng, *labels)
            if item is not None and item.elevation == 0:
                layout.anywhere(item, rng)

    return group


def in_corners(*labels: str, most: int = 1) -> Group:
    """Return a group of things in the corners."""

    def group(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(1, most + 1))):
            item = pick_large(catalogue, rng, *labels)
            if item is not None:
                layout.in_corner(item, rng)

    return group


def hanging(*labels: str, most: int = 1) -> Group:
    """Return a group of things that the source hangs on a wall, at its height."""

    def group(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(1, most + 1))):
            item = _pick(catalogue, rng, labels, lambda item: item.elevation > 0)
            if item is not None:
                layout.hang(item, rng, item.elevation)

    return group


def scattered(*labels: str, most: int = 3) -> Group:
    """Return a group of small things, half on furniture and half on the floor."""

    def group(layout: Layout, catalogue: Catalogue, rng: np.random.Generator) -> None:
        for _ in range(int(rng.integers(1, most + 1))):
            item = catalogue.pick(rng, *labels)
            tables = [n for n, p in enumerate(layout.placements) if _carries(p)]
            if item is None or item.elevation:
                continue
            on_table = tables and is_small(item) and item.label != "bin" and rng.random() < 0.5
            if (
                not on_table
                or layout.on_top(tables[rng.integers(len(tables))], item, rng, turn=np.pi) is None
            ):
                layout.anywhere(item, rng)

    return group


def _carries(placement: Placement) -> bool:
    """Return whether things may be put on a placed object."""
    width, height, depth = placement.item.size
    is_carrier = placement.support == FLOOR and placement.item.label in CARRIERS
    return is_carrier and 0.3 < height < 1.2 and min(width, depth) > 0.3
