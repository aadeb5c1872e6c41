"""A picture of prepared rooms: one from above, with its classes, and a frame of it.

    python -m lavis.datasets.download_scripts.rooms.picture --folder data/rooms --out docs/rooms.png

Each row is a room: points from above in their colours, the same in the colours of their classes
with the boxes of the objects, and one RGB-D frame as image, depth and segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.command import command_parser
from lavis.common.files import replace_file
from lavis.common.text_files import read_json
from lavis.datasets.download_scripts.rooms.classes import FLOOR_LABEL, STRUCTURE
from lavis.datasets.download_scripts.rooms.files import FRAME_KINDS
from lavis.datasets.rendering.view_store import ViewStore, encode_png
from lavis.datasets.stores.packed_fields import PackedFieldStore
from lavis.processors.point_transforms import PointFields, take_points

TILE = 240  # pixels
_GAP = 4


def class_colors(count: int) -> np.ndarray:
    """Return distinct colours, uint8 [count,3]: hues by the golden ratio."""
    hue = (np.arange(count) * 0.618034) % 1.0
    rgb = 0.55 + 0.45 * np.cos(2 * np.pi * (hue[:, None] + np.array([0.0, 1 / 3, 2 / 3])))
    return np.clip(255 * rgb, 0, 255).astype(np.uint8)


def from_above(points: PointFields, colors: np.ndarray, scale: float) -> np.ndarray:
    """Return points seen from above, uint8 [TILE,TILE,3]; the highest covers the others.

    Args:
        points: xyz in metres about the middle of the floor.
        colors: uint8 [N,3].
        scale: pixels per metre.
    """
    image = np.full((TILE, TILE, 3), 255, np.uint8)
    order = np.argsort(points["xyz"][:, 1], kind="stable")
    place = TILE / 2 + scale * points["xyz"][order][:, [0, 2]]
    columns, rows = np.clip(place.astype(int), 0, TILE - 2).T
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        image[rows + down, columns + right] = colors[order]
    return image


def draw_boxes(image: np.ndarray, boxes: np.ndarray, scale: float) -> np.ndarray:
    """Return the image with the outlines of boxes [K,6] from above."""
    from PIL import Image, ImageDraw

    drawn = Image.fromarray(image)
    pencil = ImageDraw.Draw(drawn)
    for box in boxes:
        low, high = box[[0, 2]] - box[[3, 5]] / 2, box[[0, 2]] + box[[3, 5]] / 2
        corners = TILE / 2 + scale * np.concatenate([low, high])
        pencil.rectangle([float(value) for value in corners], outline=(20, 20, 20))
    return np.asarray(drawn)


def room_row(folder: Path, record: dict[str, Any], view: int) -> np.ndarray:
    """Return the tiles of a room beside each other."""
    room = record["object_id"]
    points = PackedFieldStore(folder / "points").load_points(room)
    names = [
        name
        for group in ("class_names", "held_out_class_names")
        for name in read_json(folder / "classes.json")[group]
    ]
    walls = {names.index(name) for name in STRUCTURE if name != FLOOR_LABEL}
    points = take_points(points, ~np.isin(points["semantic_label"], list(walls)))
    boxes = np.array([thing["box"] for thing in record["instances"]])
    scale = (TILE - 2 * _GAP) / max(record["size"][0], record["size"][2])
    colors = np.rint(255 * points["rgb"]).astype(np.uint8)
    classes = class_colors(len(names))[points["semantic_label"]]
    seen = {kind: ViewStore(folder / f"frames_{kind}.zip") for kind in FRAME_KINDS}
    frame = {kind: store.load_view(room, view, None) for kind, store in seen.items()}
    depth = np.clip(frame["depth"] / max(int(frame["depth"].max()), 1) * 255, 0, 255)
    shades = [frame["rgb"], depth.astype(np.uint8), class_colors(256)[frame["segment"]]]
    tiles = [
        from_above(points, colors, scale),
        draw_boxes(from_above(points, classes, scale), boxes, scale),
        *(_scaled(shade) for shade in shades),
    ]
    gap = np.full((TILE, _GAP, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (tile, gap)], axis=1)


def _scaled(image: np.ndarray) -> np.ndarray:
    """Return an image as uint8 RGB of the height of a tile."""
    from PIL import Image

    picture = Image.fromarray(image).convert("RGB")
    return np.asarray(picture.resize((round(picture.width * TILE / picture.height), TILE)))


def contact_sheet(folder: Path, rooms: Sequence[str], view: int = 0) -> np.ndarray:
    """Return one row per room, uint8 [H,W,3]."""
    records = {
        record["object_id"]: record
        for path in sorted((folder / "annotations").glob("scene_*.json"))
        for record in read_json(path)
    }
    chosen = [records[room] for room in (rooms or list(records)[:3])]
    rows = [room_row(folder, record, view) for record in chosen]
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module docstring."""
    parser = command_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="prepared rooms")
    parser.add_argument("--rooms", nargs="*", default=[], help="ids (default: the first three)")
    parser.add_argument("--view", type=int, default=0, help="frame of each room")
    parser.add_argument("--out", type=Path, required=True, help="a .png")
    options = parser.parse_args(arguments)
    replace_file(
        options.out, encode_png(contact_sheet(options.folder, options.rooms, options.view))
    )


if __name__ == "__main__":
    main()
