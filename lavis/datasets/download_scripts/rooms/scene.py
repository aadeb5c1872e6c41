"""A furnished room as triangles with labels, and the points of its visible surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.rooms.classes import (
    FIRST_SEGMENT,
    FLOOR_LABEL,
    FLOOR_SEGMENT,
    WALL_LABEL,
    WALL_SEGMENT,
)
from lavis.datasets.download_scripts.rooms.layout import Layout
from lavis.datasets.download_scripts.rooms.shell import shell_of
from lavis.datasets.rendering.ray_cast import Mesh, RayCaster
from lavis.datasets.surface import sample_surface
from lavis.processors.point_transforms import PointFields, rotation_xyz, take_points

NO_INSTANCE = -1
_OFFSET = 1e-3  # metres from a surface to where its visibility is tested
_ROUNDS = 12


@dataclass(frozen=True)
class Scene:
    """The triangles of a room.

    Attributes:
        triangles: float32 [F,3,3], metres, up +y, the middle of the floor at the origin.
        colors: uint8 [F,3].
        semantic: int16 [F], places in the list of class names.
        instance: int16 [F], ascending: NO_INSTANCE for floor and walls, then places in the layout.
        is_floor: bool [F].
    """

    triangles: np.ndarray
    colors: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray

    is_floor: np.ndarray

    def caster(self) -> RayCaster:
        """Return what renders the scene, with ids from `WALL_SEGMENT`."""
        shell = np.where(self.is_floor, FLOOR_SEGMENT, WALL_SEGMENT)
        segment = np.where(self.instance >= 0, self.instance + FIRST_SEGMENT, shell)
        return RayCaster(Mesh(self.triangles, self.colors / 255, segment.astype(np.int32)))

    def boxes(self) -> np.ndarray:
        """Return the axis-aligned boxes of all objects: [K,6], centre and size in metres."""
        low, high = self.triangles.min(1), self.triangles.max(1)  # [F,3]
        starts = np.searchsorted(self.instance, np.arange(self.instance.max() + 1))
        if not len(starts):
            return np.zeros((0, 6))
        low = np.minimum.reduceat(low, starts).astype(np.float64)
        high = np.maximum.reduceat(high, starts).astype(np.float64)
        return np.concatenate([(low + high) / 2, high - low], 1)


def build_scene(layout: Layout, class_names: Sequence[str], rng: np.random.Generator) -> Scene:
    """Return the triangles of a layout.

    Args:
        layout: furnished.
        class_names: all classes, in the order of their labels.
        rng: of the colours of floor and walls.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    shell = shell_of(layout, rng)
    surfaces = np.where(shell.is_floor, label_of[FLOOR_LABEL], label_of[WALL_LABEL])
    triangles, colors = [shell.triangles], [shell.colors]
    semantic, instance = [surfaces], [np.full(len(surfaces), NO_INSTANCE)]
    for place, placement in enumerate(layout.placements):
        mesh, box = layout.mesh(placement.item), placement.box
        turned = mesh.triangles @ rotation_xyz(0.0, box.angle, 0.0).T.astype(np.float32)
        triangles += [turned + np.array([box.x, box.base, box.z], np.float32)]
        colors += [mesh.colors]
        semantic += [np.full(len(turned), label_of[placement.item.label])]
        instance += [np.full(len(turned), place)]
    return Scene(
        np.concatenate(triangles).astype(np.float32),
        np.concatenate(colors),
        np.concatenate(semantic).astype(np.int16),
        np.concatenate(instance).astype(np.int16),
        np.arange(sum(map(len, triangles))) < shell.is_floor.sum(),
    )


def scan(
    scene: Scene,
    caster: RayCaster,
    viewpoints: np.ndarray,
    num_points: int,
    rng: np.random.Generator,
) -> PointFields:
    """Draw points on the surfaces that are visible from inside the room, uniformly by area.

    Args:
        scene: the room.
        caster: of it.
        viewpoints: [V,3] in the room.
        num_points: of the result.
        rng: the only source of randomness.

    Returns:
        xyz float32 [N,3], rgb float32 [N,3] in [0,1], normal float32 [N,3] towards the viewer,
        semantic_label and instance_label int64 [N].

    Raises:
        DataError: hardly anything is visible.
    """
    found: list[PointFields] = []
    missing = num_points
    for _ in range(_ROUNDS):
        candidates = _candidates(scene, max(int(missing * 1.5), 1000), rng)
        found.append(_visible(candidates, caster, viewpoints))
        missing -= len(found[-1]["xyz"])
        if missing <= 0:
            joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
            order = rng.permutation(len(joined["xyz"]))[:num_points]
            return take_points(joined, order)
    what, got = "a room's surfaces can hardly be seen", f"{num_points - missing} points"
    raise DataError(what, got=got, expected=f"{num_points} points")


def _candidates(scene: Scene, count: int, rng: np.random.Generator) -> PointFields:
    """Return points on all surfaces, with the normals of their triangles."""
    vertices = scene.triangles.reshape(-1, 3)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    drawn = sample_surface(vertices, faces, count, rng)
    corners = scene.triangles[drawn.face].astype(np.float64)  # [N,3,3]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return {
        "xyz": drawn.xyz.astype(np.float32),
        "rgb": scene.colors[drawn.face].astype(np.float32) / 255,
        "normal": normal.astype(np.float32),
        "semantic_label": scene.semantic[drawn.face].astype(np.int64),
        "instance_label": scene.instance[drawn.face].astype(np.int64),
    }


def _visible(points: PointFields, caster: RayCaster, viewpoints: np.ndarray) -> PointFields:
    """Return the points that one of the viewpoints sees; their normals look towards it."""
    left = np.arange(len(points["xyz"]))
    seen = np.zeros(len(left), bool)
    normal = points["normal"].copy()
    for viewpoint in viewpoints:
        towards = viewpoint - points["xyz"][left]
        side = np.sign((normal[left] * towards).sum(1, keepdims=True))
        side[side == 0] = 1.0
        free = caster.free_between(points["xyz"][left] + _OFFSET * side * normal[left], viewpoint)
        normal[left[free]] *= side[free]
        seen[left[free]] = True
        left = left[~free]
        if not len(left):
            break
    return take_points({**points, "normal": normal}, seen)
