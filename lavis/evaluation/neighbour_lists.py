"""Nearest neighbours of the training objects, for batches with hard negatives.

    python evaluate.py --cfg-path lavis/projects/mixcon3d/eval/bricks_train_embeds.yaml
    python -m lavis.evaluation.neighbour_lists \\
        --embeds output/mixcon3d/bricks_train_embeds/result/train_embeds.safetensors \\
        --out output/mixcon3d/neighbours.safetensors
    then train with --options run.batch_plan=output/mixcon3d/neighbours.safetensors

The first command writes the model's own embeddings (task `embedding_export`); both again with a
later checkpoint refresh the lists. OpenShape fine-tunes with the 31 neighbours of each object after
convergence. `--released meta_data/point_feat_knn.npy` reads its lists instead, which are those of
its SparseConv network.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import ConfigError, DataError
from lavis.common.files import whole_file
from lavis.datasets.readers.pickled_arrays import read_pickled
from lavis.evaluation.search import search

NAME = "neighbours"  # int32 [N,K], rows of the ids


def nearest_others(embeds: np.ndarray, count: int) -> np.ndarray:
    """Return each item's nearest other items, best first: int32 [N,count].

    Args:
        embeds: unit [N,E] or [N,Q,E]; of [N,1,E] the one vector.
        count: K, at least 1 and below N.

    Raises:
        ConfigError: fewer other items than `count`.
    """
    if not 1 <= count < len(embeds):
        what, expected = "Invalid number of neighbours.", f"1 to {len(embeds) - 1}"
        raise ConfigError(what, where="--count", got=count, expected=expected)
    rows = embeds[:, 0] if embeds.ndim == 3 and embeds.shape[1] == 1 else embeds
    found = search(rows, rows, count + 1).indices
    # Of equal embeddings the item itself need not come first, or at all.
    is_other = found != np.arange(len(rows))[:, None]
    is_other[is_other.all(1), -1] = False
    return found[is_other].reshape(len(rows), count).astype(np.int32)


def read_embeds(path: Path, modality: str) -> tuple[list[str], np.ndarray]:
    """Return ids and embeddings [N,Q,E] of a file of `embedding_export`.

    Raises:
        DataError: no such file, a damaged one, or another content.
    """
    try:
        with safe_open(path, "np") as file:
            ids = [str(i) for i in json.loads((file.metadata() or {})["ids"])]
            embeds = file.get_tensor(f"{modality}_embeds").astype(np.float32)
        if embeds.ndim not in (2, 3) or len(embeds) != len(ids):
            raise ValueError(f"{list(embeds.shape)}, {len(ids)} names")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        what, fix = "embeddings cannot be read", "run.task=embedding_export writes them"
        expected = f"{modality}_embeds [N,Q,E] and N names"
        raise DataError(
            what, where=str(path), got=repr(error), expected=expected, fix=fix
        ) from error
    return ids, embeds


def read_released(path: Path, count: int) -> tuple[list[str], np.ndarray]:
    """Return ids and neighbours [N,count] of OpenShape's {name: ids, index: {id: rows}}.

    Raises:
        DataError: the file cannot be read, or lists fewer neighbours.
    """
    try:
        content = read_pickled(path)
        ids = [str(name) for name in content["name"]]
        rows = [np.asarray(content["index"][name]).reshape(-1) for name in ids]
        table = np.stack([row[1 : count + 1] for row in rows])  # the first is the object itself
        if table.shape[1] != count or table.min() < 0 or table.max() >= len(ids):
            raise ValueError(f"{table.shape[1]} neighbours of {len(ids)} objects")
    except (OSError, ValueError, LookupError, TypeError) as error:
        what, expected = "released neighbours cannot be read", "{name: [id], index: {id: [row]}}"
        raise DataError(what, where=str(path), got=repr(error), expected=expected) from error
    return ids, table.astype(np.int32)


def write_neighbours(path: Path, ids: Sequence[str], table: np.ndarray, **facts: str) -> None:
    """Write neighbours [N,K] by the rows of `ids`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors, notes = {NAME: np.ascontiguousarray(table)}, {"ids": json.dumps(list(ids)), **facts}
    with whole_file(path) as partial:
        save_file(tensors, partial, notes)
        os.chmod(partial, 0o644)  # safetensors makes it private


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the file is there."""
    parser = command_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--embeds", type=Path, help="file of embedding_export")
    source.add_argument("--released", type=Path, help="OpenShape's point_feat_knn.npy")
    parser.add_argument("--modality", default="point", help="whose embeddings are compared")
    parser.add_argument("--count", type=int, default=31, help="neighbours of an object")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args(arguments)
    if options.released:
        ids, table = read_released(options.released, options.count)
    else:
        ids, embeds = read_embeds(options.embeds, options.modality)
        table = nearest_others(embeds, options.count)
    write_neighbours(options.out, ids, table)
    print(f"Neighbours of {len(ids)} objects: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
