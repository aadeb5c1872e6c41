"""Objects to pick on the page and to search in: a folder of files, or the prepared bricks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import lavis.common.utils as utils
from lavis.common.errors import DataError
from lavis.datasets.convert.contact_sheet import draw_cloud
from lavis.datasets.datasets.annotations import read_annotation, take
from lavis.datasets.manifest import verify_once
from lavis.datasets.stores.point_stores import PackedPointStore
from pointlang.inputs import expand
from pointlang.objects import Object, read_object

MOST = 120
SPLIT = "dev_test"  # objects that no recipe trains on
BRICKS = "bricks"


@dataclass(frozen=True)
class Item:
    """An object of the collection.

    Attributes:
        title: shown below its picture.
        object: the points.
        picture: uint8 [160,160,3].
        known_size: its size has the unit of the training data.
    """

    title: str
    object: Object
    picture: np.ndarray
    known_size: bool


def open_collection(folder: str | Path | None = None, most: int = MOST) -> list[Item]:
    """Read the objects of the page.

    Args:
        folder: of files; None: the prepared bricks, where they are there.
        most: objects that are read.

    Raises:
        DataError: a folder without a file that can be read, or damaged bricks.
    """
    if folder is not None:
        return list(_files(Path(folder), most))
    prepared = Path(utils.get_cache_path(BRICKS))
    return list(_bricks(prepared, most)) if (prepared / "manifest.json").is_file() else []


def _files(folder: Path, most: int) -> Iterator[Item]:
    """Yield the first files that can be read; the others are no part of the collection."""
    count, problem = 0, "no file"
    for path in expand([str(folder)]):
        try:
            found = read_object(path)
        except DataError as error:
            problem = str(error)
            continue
        count += 1
        found = replace(found, name=Path(path).name)  # the page shows no folder of the server
        yield Item(Path(path).stem, found, draw_cloud(found.points), known_size=False)
        if count == most:
            return
    if not count:
        what = "No file of the folder can be read."
        raise DataError(what, where=str(folder), got=problem, expected="meshes or clouds")


def _bricks(folder: Path, most: int) -> Iterator[Item]:
    """Yield bricks that no recipe trains on, chosen by a hash of their ids."""
    verify_once(folder)
    store = PackedPointStore(folder)
    entries = read_annotation([folder / "annotations" / f"caption_{SPLIT}.json"])
    for entry in take(entries, most, "object_id"):
        name = entry["object_id"]
        fields, scale = store.load_points(name), store.scale(name)
        size = np.ptp(fields["xyz"], axis=0) * np.float32(scale)
        found = Object(
            entry["description"], fields["xyz"], fields["rgb"], size.astype(np.float32), scale
        )
        yield Item(found.name, found, draw_cloud(found.points), known_size=True)
