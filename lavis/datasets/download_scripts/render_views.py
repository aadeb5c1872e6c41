"""Render every object of a prepared data set from several sides.

    python -m lavis.datasets.download_scripts.render_views            # bricks: 4 views of 128
    python -m lavis.datasets.download_scripts.render_views --source furniture --frames
    python -m lavis.datasets.download_scripts.render_views --views 12 --size 224
    CPU-sized: python -m lavis.datasets.download_scripts.render_views --limit 100 --out /tmp/views

Writes `<folder>_views/views_<V>x<size>.zip`, the colours (rendering/view_store.py), and with
`--frames` also `frames_<V>x<size>.zip`: depth, normals, object ids (rendering/frame_store.py).
Cameras form a ring. Files of the same objects and cameras are kept; their bytes depend on these
alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

import lavis.common.utils as utils
from lavis.common.command import command_parser, report_errors
from lavis.common.errors import DataError
from lavis.datasets.download_scripts.mesh_sources import SOURCES, MeshSource, open_meshes
from lavis.datasets.download_scripts.side_by_side import read_side_by_side
from lavis.datasets.rendering.cameras import ring
from lavis.datasets.rendering.frame_store import FrameWriter, pack_frames
from lavis.datasets.rendering.ray_cast import RayCaster
from lavis.datasets.rendering.view_store import ViewWriter, encode_png, facts_of

RENDERING = 1  # raise it when the same mesh gives other pixels


class Rendered(NamedTuple):
    """Files of an object: its views as PNG, and the arrays of its frames."""

    object_id: str
    views: list[bytes]
    frames: dict[str, np.ndarray]


class Views(Dataset):
    """Objects, rendered when they are read."""

    def __init__(self, meshes: MeshSource, ids: Sequence[str], views: int, size: int) -> None:
        self.meshes, self.ids, self.cameras = meshes, list(ids), ring(views, size=size)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Rendered | DataError:
        """Return an error instead of raising it: the loader would wrap it in a traceback."""
        object_id = self.ids[index]
        try:
            mesh, radius = self.meshes.mesh(object_id)
            caster = RayCaster(mesh)
        except DataError as error:
            return error
        frames = [caster.render(camera) for camera in self.cameras]
        views = [encode_png(frame.rgb) for frame in frames]
        return Rendered(object_id, views, pack_frames(frames, radius))


def render(
    dataset: Views, views: Path, frames: Path | None, facts: dict[str, object], workers: int | None
) -> None:
    """Render objects side by side, in their order; files are there only when they are whole.

    Args:
        dataset: the objects.
        views: file of the colours.
        frames: file of depth, normals and ids; None writes none.
        facts: what the files are made of; files of these facts are kept.
        workers: processes; the default is one a core, at most 8.

    Raises:
        DataError: an object cannot be rendered.
    """
    targets = [views] + ([] if frames is None else [frames])
    if all(facts_of(path) == facts for path in targets):
        return
    views.parent.mkdir(parents=True, exist_ok=True)
    partial = [path.with_name(f".{path.name}.partial") for path in targets]
    with ExitStack() as files:
        view_file = files.enter_context(ViewWriter(partial[0], facts))
        frame_file = None
        if frames is not None:
            frame_file = files.enter_context(FrameWriter(partial[1], dataset.cameras, facts))
        objects = read_side_by_side(dataset, workers)
        for rendered in tqdm(objects, "Rendering", len(dataset), unit="object"):
            view_file.add(rendered.object_id, rendered.views)
            if frame_file is not None:
                frame_file.add(rendered.object_id, rendered.frames)
    for source, target in zip(partial, targets):
        os.replace(source, target)


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the files are written."""
    parser = command_parser(__doc__)
    parser.add_argument("--source", choices=sorted(SOURCES), default="bricks")
    parser.add_argument("--folder", type=Path, help="prepared (default: data/<source>)")
    parser.add_argument("--out", type=Path, help="folder of the files (default: <folder>_views)")
    parser.add_argument("--views", type=int, default=4, help="cameras on the ring")
    parser.add_argument("--size", type=int, default=128, help="width and height in pixels")
    parser.add_argument("--frames", action="store_true", help="write depth, normals and ids, too")
    parser.add_argument("--limit", type=int, help="the first so many objects")
    parser.add_argument("--workers", type=int, help="processes; one a core, at most 8")
    options = parser.parse_args(arguments)
    folder = options.folder or Path(utils.get_cache_path(options.source))
    out = options.out or folder.with_name(f"{folder.name}_views")
    if options.views < 1 or options.size < 8:
        got = f"--views {options.views} --size {options.size}"
        raise DataError("nothing to render", got=got, expected="1 and 8 at least")
    meshes, content = open_meshes(options.source, folder)
    dataset = Views(meshes, meshes.ids[: options.limit], options.views, options.size)
    name = f"{options.views}x{options.size}.zip"
    facts = {"rendering": RENDERING, "source": options.source, "objects": content}
    facts |= {"limit": options.limit, "name": name}
    frames = out / f"frames_{name}" if options.frames else None
    render(dataset, out / f"views_{name}", frames, facts, options.workers)
    print(f"Views: {out / f'views_{name}'}, {len(dataset)} objects")
    return 0


if __name__ == "__main__":
    sys.exit(main())
