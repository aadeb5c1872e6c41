"""Meshes of furniture models as coloured triangles, in the frame of `ItemMesh`.

Textures become colours of triangles, and long edges of textured triangles are halved until their
colours are fine enough. Cameras and samplers then need neither images nor coordinates in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError, explain
from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.download_scripts.rooms.items import ItemMesh

MAX_EDGE = 0.05  # metres, of textured triangles
MAX_TRIANGLES = 80_000  # of one model
_GREY = (200, 200, 200)  # of materials without colour


def furniture_mesh(folder: Path, model: Model) -> ItemMesh:
    """Return a furniture model at its catalogue's size.

    Args:
        folder: of all models.
        model: of the catalogue.

    Raises:
        DataError: the file cannot be read, or has more than `MAX_TRIANGLES` triangles.
    """
    parts = [_part(geometry) for geometry in _geometries(folder / model.object_id / model.file)]
    count = sum(len(soup) for soup, *_ in parts)
    if not 0 < count <= MAX_TRIANGLES:
        got = f"{count:,} triangles"
        what = "a model is empty or too detailed"
        raise DataError(
            explain(what, where=model.object_id, got=got, expected=f"{MAX_TRIANGLES:,}")
        )
    turn = np.array(model.rotation or np.eye(3).ravel()).reshape(3, 3)
    xyz = np.concatenate([soup for soup, *_ in parts]) @ turn.T
    fitted = ItemMesh(xyz, np.zeros((len(xyz), 3), np.uint8)).fitted(model.size).triangles
    triangles, colors, start = [], [], 0
    for soup, uv, image, color in parts:
        own = fitted[start : start + len(soup)]
        start += len(soup)
        if image is not None and uv is not None:
            own, uv = _halved(own, uv)
            color = _texture_colors(uv, image)
        triangles += [own]
        colors += [np.broadcast_to(color, (len(own), 3)).astype(np.uint8)]
    return ItemMesh(np.concatenate(triangles).astype(np.float32), np.concatenate(colors))


def _geometries(path: Path) -> list[Any]:
    import trimesh  # only the preparation needs it

    try:
        loaded = trimesh.load(path, process=False)
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        what = "a furniture model cannot be read"
        raise DataError(explain(what, where=str(path), got=repr(error))) from error
    geometries = list(loaded.geometry.values()) if hasattr(loaded, "geometry") else [loaded]
    return [geometry for geometry in geometries if len(getattr(geometry, "faces", ()))]


def _part(geometry: Any) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray]:
    """Return triangles [F,3,3], their places in the texture [F,3,2], the texture, one colour."""
    soup = np.asarray(geometry.vertices, np.float64)[geometry.faces]
    material, uv = getattr(geometry.visual, "material", None), getattr(geometry.visual, "uv", None)
    image = getattr(material, "image", None)
    color = getattr(material, "main_color", None)
    grey = np.array(_GREY if color is None else color[:3], np.float64)
    if image is None or uv is None or len(uv) != len(geometry.vertices):
        return soup, None, None, grey
    return soup, np.asarray(uv, np.float64)[geometry.faces], np.asarray(image.convert("RGB")), grey


def _halved(triangles: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve the longest edge of triangles until none is longer than `MAX_EDGE`."""
    joined = np.concatenate([triangles, uv], axis=2)  # [F,3,5]
    done = []
    while len(joined):
        edges = np.roll(joined, -1, axis=1)[:, :, :3] - joined[:, :, :3]  # corner k to k + 1
        lengths = np.linalg.norm(edges, axis=2)  # [F,3]
        long = lengths.max(1) > MAX_EDGE
        if sum(map(len, done)) + len(joined) + long.sum() > MAX_TRIANGLES:
            break
        done += [joined[~long]]
        first = lengths[long].argmax(1)
        rows = np.arange(len(first))
        a, b, c = (joined[long][rows, (first + k) % 3] for k in range(3))  # [n,5]
        middle = (a + b) / 2
        joined = np.concatenate([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
    joined = np.concatenate([*done, joined])
    return joined[:, :, :3], joined[:, :, 3:]


def _texture_colors(uv: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the mean colour [F,3] of the texture at four places of each triangle."""
    height, width = image.shape[:2]
    centre = uv.mean(1)
    total = np.zeros((len(uv), 3))
    for place in (centre, *((uv[:, k] + centre) / 2 for k in range(3))):
        u, v = np.nan_to_num(place).T % 1.0  # textures repeat; v = 0 is the lower border
        columns = np.minimum((u * width).astype(int), width - 1)
        rows = np.minimum(((1.0 - v) * height).astype(int), height - 1)
        total += image[rows, columns]
    return total / 4
