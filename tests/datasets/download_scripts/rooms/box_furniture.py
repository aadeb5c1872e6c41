"""Furniture made of boxes, so that rooms can be composed without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lavis.datasets.download_scripts.prepare_rooms import compose_rooms, parameters
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.download_scripts.rooms.classes import BRICK, HELD_OUT
from lavis.datasets.download_scripts.rooms.items import Catalogue, Item, ItemMesh
from lavis.datasets.download_scripts.rooms.room import Plan

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
_QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))

# Class: sizes (width, height, depth) in metres of its two models in each split.
SIZES = {
    "bed": ((1.4, 0.5, 2.0), (0.9, 0.6, 1.9)),
    "sofa": ((1.8, 0.8, 0.9), (2.2, 0.7, 0.8)),
    "armchair": ((0.8, 0.9, 0.8), (0.7, 0.8, 0.7)),
    "chair": ((0.45, 0.9, 0.5), (0.5, 0.8, 0.5)),
    "stool": ((0.35, 0.45, 0.35), (0.4, 0.6, 0.4)),
    "table": ((1.4, 0.75, 0.8), (0.9, 0.72, 0.9)),
    "coffee table": ((0.9, 0.4, 0.5), (0.7, 0.45, 0.7)),
    "desk": ((1.3, 0.74, 0.65), (1.1, 0.75, 0.6)),
    "cabinet": ((0.5, 0.55, 0.4), (1.1, 0.8, 0.45)),
    "bookcase": ((0.8, 1.8, 0.3), (0.9, 1.1, 0.35)),
    "wardrobe": ((1.2, 2.0, 0.6), (0.9, 1.9, 0.55)),
    "lamp": ((0.2, 0.4, 0.2), (0.3, 1.5, 0.3)),
    "plant": ((0.2, 0.3, 0.2), (0.5, 1.2, 0.5)),
    "vase": ((0.15, 0.3, 0.15), (0.2, 0.25, 0.2)),
    "tv": ((0.7, 0.5, 0.15), (0.9, 0.6, 0.1)),
    "computer": ((0.35, 0.25, 0.25), (0.3, 0.3, 0.2)),
    "tableware": ((0.1, 0.1, 0.1), (0.25, 0.05, 0.25)),
    "box": ((0.4, 0.3, 0.4), (0.3, 0.25, 0.3)),
    "toy": ((0.3, 0.3, 0.2), (0.22, 0.22, 0.22)),
    "oven": ((0.6, 0.85, 0.6), (0.6, 0.8, 0.55)),
    "refrigerator": ((0.6, 1.8, 0.6), (0.7, 1.6, 0.65)),
    "toilet": ((0.4, 0.8, 0.7), (0.4, 0.75, 0.65)),
    "washbasin": ((0.6, 0.85, 0.5), (0.7, 0.9, 0.5)),
    "bath": ((1.7, 0.6, 0.7), (1.5, 0.6, 0.75)),
    "radiator": ((0.9, 0.7, 0.12), (0.6, 0.8, 0.1)),
    "door": ((0.9, 2.05, 0.1), (0.8, 2.0, 0.08)),
    "rug": ((1.5, 0.015, 1.0), (0.8, 0.01, 0.8)),
    BRICK: ((0.16, 0.1, 0.32), (0.08, 0.1, 0.16)),
}
_ON_LEGS = ("table", "desk", "coffee table", "chair", "stool")


def box_catalogue() -> Catalogue:
    """Return two models of each class in each split, two of each held-out class."""
    items = [
        Item(f"{split}-{label}-{n}", f"red {label}", label, size, split)
        for split in ("train", "val", "test")
        for label, sizes in SIZES.items()
        for n, size in enumerate(sizes)
    ]
    items += [
        Item(f"held-{label}-{n}", label, label, size, "held_out")
        for label in HELD_OUT
        for n, size in enumerate(((0.4, 0.5, 0.3), (1.0, 1.1, 0.6)))
    ]
    items += [
        Item(f"{split}-window", "window", "window", (1.0, 1.2, 0.1), split, elevation=0.9)
        for split in ("train", "val", "test")
    ]
    return Catalogue(items, box_mesh)


def box_mesh(item: Item) -> ItemMesh:
    """Return a box, or a top on four legs."""
    boxes = [((0, 0, 0), (1, 1, 1))]
    if item.label in _ON_LEGS:
        legs = [((x, 0, z), (0.08, 0.9, 0.08)) for x in (0, 0.92) for z in (0, 0.92)]
        boxes = [((0, 0.9, 0), (1, 0.1, 1)), *legs]
    corners = np.concatenate([np.array(low) + _CORNERS * np.array(size) for low, size in boxes])
    quads = np.concatenate([np.array(_QUADS) + 8 * n for n in range(len(boxes))])
    triangles = corners[quads[:, [[0, 1, 2], [0, 2, 3]]]].reshape(-1, 3, 3)
    color = np.frombuffer(item.label.encode().ljust(3), np.uint8)[:3]
    return ItemMesh(triangles, np.tile(color, (len(triangles), 1))).fitted(item.size)


SMALL_ROOMS = 5
SMALL_PLAN = Plan(num_points=3000, views=2, width=64, height=48)


def prepare_small(folder: Path) -> Path:
    """Prepare five small rooms of furniture made of boxes."""
    facts = parameters(SMALL_ROOMS, SMALL_PLAN)

    def build(work: Path, final: Path) -> dict[str, Any]:
        return compose_rooms(work, final, SMALL_ROOMS, SMALL_PLAN, box_catalogue, 0, False)

    return prepare_once(folder, facts, dict, build)
