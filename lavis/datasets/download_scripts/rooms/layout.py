"""Place objects in a rectangular room so that no two interpenetrate and all stand or hang.

The boxes of objects that stand on the floor never overlap, so neither do their meshes. An object on
another one stands at the height of the highest point under its footprint (supports.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from lavis.datasets.download_scripts.rooms.boxes import UprightBox, penetration
from lavis.datasets.download_scripts.rooms.items import Item, ItemMesh
from lavis.datasets.download_scripts.rooms.supports import Surface, surface_of

FLOOR, WALL = -1, -2
GAP = 0.01  # least distance of two boxes, metres
FLAT_HEIGHT = 0.02  # what is flatter may lie under others
TRIES = 80

Pose = tuple[float, float, float]  # x, z, angle


@dataclass(frozen=True)
class Placement:
    """An object in its place.

    Attributes:
        item: what stands there.
        box: its box in the room.
        support: place in the layout of what it stands on; FLOOR, or WALL for what hangs.
    """

    item: Item
    box: UprightBox
    support: int = FLOOR

    @property
    def is_flat(self) -> bool:
        """Whether it is a rug, which may lie under other objects."""
        return self.item.size[1] <= FLAT_HEIGHT


@dataclass
class Layout:
    """A room and what is in it.

    Attributes:
        width, depth, height: of the room (x, z, y), metres; the middle of the floor is the origin.
        mesh: returns the mesh of an item; asked for objects that carry others.
        placements: in the order of placing.
        blocked: boxes that stay empty, such as the space before a door.
    """

    width: float
    depth: float
    height: float
    mesh: Callable[[Item], ItemMesh]
    placements: list[Placement] = field(default_factory=list)
    blocked: list[UprightBox] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._surface = lru_cache(None)(lambda item: surface_of(self.mesh(item)))

    def fits(self, box: UprightBox, support: int = FLOOR, flat: bool = False) -> bool:
        """Return whether a box is inside the room and apart from everything but its support."""
        limits = np.array([self.width, self.depth]) / 2 + 1e-6
        if (np.abs(box.corners()) > limits).any() or box.top > self.height:
            return False
        if flat:
            return True
        others = [
            other.box
            for place, other in enumerate(self.placements)
            if place != support and not other.is_flat
        ]
        blocked = self.blocked if support == FLOOR else []
        return all(penetration(box, other) <= -GAP for other in others) and all(
            penetration(box, other) <= 0 for other in blocked
        )

    def put(self, item: Item, pose: Pose, base: float = 0.0, support: int = FLOOR) -> int | None:
        """Place an item where it fits; return its place in the layout, else None."""
        x, z, angle = pose
        box = UprightBox(x, z, base, item.size, angle)
        placement = Placement(item, box, support)
        if not self.fits(box, support, placement.is_flat):
            return None
        self.placements.append(placement)
        return len(self.placements) - 1

    def try_poses(
        self, item: Item, poses: Iterable[Pose], base: float = 0.0, support: int = FLOOR
    ) -> int | None:
        """Place an item at the first pose where it fits."""
        for pose in poses:
            place = self.put(item, pose, base, support)
            if place is not None:
                return place
        return None

    def wall_pose(self, item: Item, wall: int, along: float, gap: float = 0.01) -> Pose:
        """Return the pose with the back to a wall.

        Args:
            item: what is placed.
            wall: 0 at -z, 1 at -x, 2 at +z, 3 at +x.
            along: 0 to 1, from one end of the wall to the other.
            gap: between the wall and the back, metres.
        """
        length, far = (self.width, self.depth) if wall % 2 == 0 else (self.depth, self.width)
        shift = (along - 0.5) * max(length - item.size[0] - 2 * GAP, 0.0)
        inward = -far / 2 + item.size[2] / 2 + gap
        x, z = [(shift, inward), (inward, -shift), (-shift, -inward), (-inward, shift)][wall]
        return x, z, wall * np.pi / 2

    def against_wall(
        self, item: Item, rng: np.random.Generator, walls: Iterable[int] = (0, 1, 2, 3)
    ) -> int | None:
        """Place an item with its back to one of the walls."""
        choices = list(walls)
        gap = rng.uniform(0.01, 0.04)
        return self.try_poses(
            item,
            (
                self.wall_pose(item, choices[rng.integers(len(choices))], rng.random(), gap)
                for _ in range(TRIES)
            ),
        )

    def in_corner(self, item: Item, rng: np.random.Generator) -> int | None:
        """Place an item in one of the corners."""
        ends = [(wall, end) for wall in range(4) for end in (0.02, 0.98)]
        order = rng.permutation(len(ends))
        return self.try_poses(
            item, (self.wall_pose(item, ends[i][0], ends[i][1], 0.03) for i in order)
        )

    def anywhere(self, item: Item, rng: np.random.Generator) -> int | None:
        """Place an item on the floor at any angle."""
        reach = np.array([self.width, self.depth]) / 2

        def poses() -> Iterable[Pose]:
            for _ in range(TRIES):
                x, z = rng.uniform(-reach, reach)
                yield float(x), float(z), float(rng.uniform(-np.pi, np.pi))

        return self.try_poses(item, poses())

    def hang(self, item: Item, rng: np.random.Generator, base: float) -> int | None:
        """Hang an item on a wall at a height, its back to the wall."""
        return self.try_poses(
            item,
            (self.wall_pose(item, int(rng.integers(4)), rng.random(), 0.0) for _ in range(TRIES)),
            base,
            WALL,
        )

    def beside(
        self, anchor: int, item: Item, right: float, front: float, turn: float = 0.0
    ) -> int | None:
        """Place an item in the frame of another one.

        Args:
            anchor: place of the other one.
            item: what is placed.
            right, front: of the anchor's centre, metres.
            turn: against the anchor, radians; pi looks at its front.
        """
        box = self.placements[anchor].box
        return self.put(item, (*box.place(right, front), box.angle + turn))

    def on_top(
        self, support: int, item: Item, rng: np.random.Generator, turn: float = 0.3
    ) -> int | None:
        """Place an item on another one, turned by at most `turn` against it."""
        under, surface = self.placements[support], self.surface(support)
        reach = np.maximum(np.array(under.item.size)[[0, 2]] / 2 - min(item.size[::2]) / 2, 0)
        for _ in range(TRIES):
            right, front = rng.uniform(-reach, reach)
            angle = float(rng.uniform(-turn, turn))
            height = surface.rest(right, front, item.size[0], item.size[2], angle)
            if height is None:
                continue
            pose = (*under.box.place(right, front), under.box.angle + angle)
            place = self.put(item, pose, under.box.base + height, support)
            if place is not None:
                return place
        return None

    def surface(self, place: int) -> Surface:
        """Return the surface of a placed object, in its own frame."""
        return self._surface(self.placements[place].item)
