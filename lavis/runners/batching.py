"""Which data sets are trained on, how often, and in which batches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lavis.common.dist_utils import get_rank
from lavis.common.errors import ConfigError, nearest
from lavis.common.text_files import read_json
from lavis.runners.loaders import SAME_OBJECT, SameObject, TrainLoader
from lavis.runners.samplers import BatchGeometry

Datasets = Mapping[str, Mapping[str, Any]]


def members(datasets: Datasets, split: str) -> dict[str, Any]:
    """Return {data set: dataset} of a split.

    Raises:
        ConfigError: no data set has the split.
    """
    found = {name: splits[split] for name, splits in datasets.items() if split in splits}
    if not found:
        known = sorted({name for splits in datasets.values() for name in splits})
        what = f"no data set has the split {split!r}.{nearest(split, known)}"
        raise ConfigError(what, where="run.*_splits", got=split, expected=known)
    return found


def build_train_loader(
    run_cfg: Any, datasets: Datasets, geometry: BatchGeometry, pin_memory: bool
) -> TrainLoader:
    """Return the training batches of this rank, over every data set that has a training split.

    Raises:
        ConfigError: nothing to train on, or a wrong run.train_dataset_repeats.
    """
    found = [item for split in run_cfg.train_splits for item in members(datasets, split).items()]
    if not found:
        raise ConfigError("nothing to train on", where="run.train_splits", got="[]")
    return TrainLoader(
        [dataset for _, dataset in found],
        geometry,
        rank=get_rank(),
        seed=run_cfg.seed,
        num_workers=run_cfg.num_workers,
        pin_memory=pin_memory,
        repeats=repeats(run_cfg.train_dataset_repeats, [name for name, _ in found]),
        bucket_steps=run_cfg.length_buckets,
        neighbours=read_neighbours(run_cfg),
    )


def read_neighbours(run_cfg: Any) -> dict[str, list[str]] | SameObject | None:
    """Return the neighbour lists {instance id: ids} of run.batch_plan, or SAME_OBJECT.

    Raises:
        ConfigError: not a readable file of such lists, or length buckets beside it.
    """
    path = run_cfg.batch_plan
    if path is None:
        return None
    if run_cfg.length_buckets > 1:
        what = "steps are sorted by length or by neighbours, not by both"
        raise ConfigError(what, where="run.batch_plan", fix="run.length_buckets=0")
    if path == SAME_OBJECT:
        return SAME_OBJECT
    try:
        lists = _lists_of(Path(path).expanduser())
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(
            "the neighbour lists cannot be read", where="run.batch_plan", got=error
        ) from error
    if not isinstance(lists, dict) or not all(isinstance(ids, list) for ids in lists.values()):
        expected = "{instance id: [instance ids]}"
        message = "the file holds no neighbour lists"
        raise ConfigError(message, where=f"run.batch_plan: {path}", expected=expected)
    return lists


def _lists_of(path: Path) -> Any:
    """Return the lists of a JSON file, or of one by lavis/evaluation/neighbour_lists.py."""
    if path.suffix != ".safetensors":
        return read_json(path)
    with safe_open(path, "np") as file:
        ids, table = json.loads((file.metadata() or {})["ids"]), file.get_tensor("neighbours")
    if table.ndim != 2 or len(table) != len(ids) or not ((table >= 0) & (table < len(ids))).all():
        raise ValueError(f"neighbours {list(table.shape)} of {len(ids)} objects")
    return {name: [ids[row] for row in rows] for name, rows in zip(ids, table.tolist())}


def repeats(wanted: Mapping[str, float], names: Sequence[str]) -> list[int]:
    """Return how often an epoch passes through each training data set."""
    wrong = [n for n, times in wanted.items() if n not in names or times < 1 or times % 1]
    if wrong:
        raise ConfigError(
            "a data set cannot be repeated like this",
            where=f"run.train_dataset_repeats.{wrong[0]}",
            got=wanted[wrong[0]],
            expected=f"a whole number of at least 1 for one of {list(names)}",
        )
    return [int(wanted.get(name, 1)) for name in names]
