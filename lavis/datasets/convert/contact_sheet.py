"""A PNG of some converted objects, to see at a glance whether colour and up axis are right."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lavis.common.files import replace_file
from lavis.datasets.viewer.encode import surface_normals

MOST = 48
COLUMNS = 8
TILE, CAPTION = 160, 30  # pixels
POINTS, DOT = 1024, 5  # points drawn, pixels of a point's side
BACKGROUND = (244, 244, 246)
LIGHT = np.array([0.4, 0.75, 0.53])
_YAW, _PITCH = np.radians(30), np.radians(25)

LoadCloud = Callable[[str], np.ndarray]  # [N,6]


def write_contact_sheet(path: Path, titles: Sequence[tuple[str, str]], load: LoadCloud) -> None:
    """Draw objects in rows, each with its id and a second line of text.

    Args:
        path: the PNG.
        titles: (object id, text) of the objects to draw.
        load: returns xyz and rgb [N,6] of an object, up +y.
    """
    with ThreadPoolExecutor() as pool:  # neighbours and normals leave Python's lock
        tiles = list(pool.map(lambda title: draw_cloud(load(title[0])), titles))
    write_tiles(path, titles, tiles)


def write_tiles(path: Path, titles: Sequence[tuple[str, str]], tiles: Sequence[np.ndarray]) -> None:
    """Write pictures, uint8 [TILE,TILE,3] each, in rows with two lines of text."""
    rows = -(-len(titles) // COLUMNS)
    columns = min(COLUMNS, len(titles))
    sheet = Image.new("RGB", (columns * TILE, rows * (TILE + CAPTION)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, (object_id, text) in enumerate(titles):
        row, column = divmod(place, COLUMNS)
        corner = column * TILE, row * (TILE + CAPTION)
        sheet.paste(Image.fromarray(tiles[place]), corner)
        for line, shown in enumerate((object_id, text)):
            at = corner[0] + 6, corner[1] + TILE + 13 * line
            draw.text(at, _fitting(draw, shown), fill=(40, 40, 40) if line else (110, 110, 110))
    content = io.BytesIO()
    sheet.save(content, "PNG", compress_level=3)
    replace_file(path, content.getvalue())


def draw_cloud(cloud: np.ndarray, size: int = TILE) -> np.ndarray:
    """Return a picture of a cloud [N,6] from the front, the side and above: uint8 [size,size,3].

    Nearer points hide those behind them; both sides of a surface are lit.
    """
    cloud = cloud[:POINTS]
    xyz = cloud[:, :3] - (cloud[:, :3].min(axis=0) + cloud[:, :3].max(axis=0)) / 2
    xyz = xyz / max(float(np.linalg.norm(xyz, axis=1).max()), 1e-9)
    light = 0.45 + 0.55 * np.abs(surface_normals(xyz, xyz) @ LIGHT)  # [N]
    colors = np.rint(255 * np.clip(cloud[:, 3:6], 0, 0.93) * light[:, None]).astype(np.uint8)
    seen = xyz @ _rotation().T
    order = np.argsort(seen[:, 2], kind="stable")  # far points first
    pixel = np.rint(size / 2 + 0.47 * size * seen[order, :2] * [1, -1]).astype(np.int64)
    reach = np.arange(DOT) - DOT // 2
    offsets = np.stack(np.meshgrid(reach, reach), -1).reshape(-1, 2)
    dots = np.clip(pixel[:, None] + offsets, 0, size - 1).reshape(-1, 2)
    picture = np.full((size, size, 3), BACKGROUND, np.uint8)
    picture[dots[:, 1], dots[:, 0]] = np.repeat(colors[order], len(offsets), axis=0)
    return picture


def _rotation() -> np.ndarray:
    """Return the rotation [3,3] to right, up and towards the viewer."""
    cy, sy, cp, sp = np.cos(_YAW), np.sin(_YAW), np.cos(_PITCH), np.sin(_PITCH)
    return np.array([[cy, 0, -sy], [-sp * sy, cp, -sp * cy], [cp * sy, sp, cp * cy]])


def _fitting(draw: ImageDraw.ImageDraw, text: str) -> str:
    """Return as much of one line as fits below a tile, in letters that the font has."""
    line = " ".join(text.encode("latin-1", "replace").decode("latin-1").split())
    while line and draw.textlength(line) > TILE - 12:
        line = line[:-2]
    return line
