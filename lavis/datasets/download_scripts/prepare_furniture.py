"""Prepare the built-in furniture: real objects with textures, names, tags, categories and sizes.

    python -m lavis.datasets.download_scripts.prepare_furniture                 # everything
    CPU-sized: python -m lavis.datasets.download_scripts.prepare_furniture --limit 40 --out /tmp/f
    python -m lavis.datasets.download_scripts.prepare_furniture --verify        # compare all hashes
    python -m lavis.datasets.download_scripts.prepare_furniture --export my_meshes --count 200

820 models of Sweet Home 3D (CC-BY 3.0 and CC0, 120 MB) are downloaded, unpacked beside the target
and sampled with the colours of their textures. An interrupted run continues; the same parameters
give the same bytes. `--export` writes models as a user has them: files and a table of captions.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lavis.common.utils as utils
from lavis.common.command import command_parser, report_errors
from lavis.common.files import file_sha256
from lavis.common.preemption import leave_at_signals
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.download_scripts.furniture.catalogue import read_models
from lavis.datasets.download_scripts.furniture.clouds import sample_clouds
from lavis.datasets.download_scripts.furniture.export import export_models
from lavis.datasets.download_scripts.furniture.files import (
    FORMAT,
    records_of,
    write_clouds,
    write_texts,
)
from lavis.datasets.download_scripts.furniture.models import PACKAGE, prepare_models
from lavis.datasets.download_scripts.furniture.splits import SPLIT_FILE, read_splits
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.manifest import verify_manifest


def models_folder(folder: str | Path) -> Path:
    """Return where the model files of a prepared folder are: beside it."""
    folder = Path(folder).absolute()
    return folder.with_name(f"{folder.name}_models")


def prepare_furniture(
    folder: str | Path,
    num_points: int = 2048,
    seed: int = 0,
    limit: int | None = None,
    models: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Make sure that `folder` holds the prepared data set.

    Args:
        folder: the target; left as it is when its manifest fits.
        num_points: P, points of each object.
        seed: of the surface samples.
        limit: prepare so many models only, chosen by a hash of their id; None: all.
        models: folder of the model files, made where it is missing; None: `<folder>_models`.
        progress: show a bar with the time left.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds something else or is damaged, or the package cannot be had.
    """
    unpacked = models_folder(folder) if models is None else Path(models)

    def build(work: Path, final: Path) -> Mapping[str, Any]:
        prepare_models(unpacked)
        known = sorted(read_models(unpacked).values(), key=lambda m: _rank(m.object_id))
        chosen = sorted(known[:limit], key=lambda model: model.object_id)
        clouds = sample_clouds(work, unpacked, chosen, num_points, seed, progress)
        write_clouds(final, clouds, len(chosen), num_points)
        return write_texts(final, records_of(chosen, read_splits()), unpacked)

    plan = {"num_points": num_points, "seed": seed, "limit": limit, "format": FORMAT}
    plan["split_file_sha256"] = file_sha256(SPLIT_FILE)
    return prepare_once(folder, plan, lambda: {PACKAGE.name: PACKAGE.facts()}, build)


def _rank(object_id: str) -> int:
    return stable_hash(f"limit:{object_id}")


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when everything is there."""
    parser = command_parser(__doc__)
    default = Path(utils.get_cache_path("furniture"))
    parser.add_argument("--out", type=Path, default=default, help="target folder")
    parser.add_argument("--models", type=Path, help="model files (default: <out>_models)")
    parser.add_argument("--num-points", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="prepare so many models only")
    parser.add_argument("--verify", action="store_true", help="compare every hash, prepare nothing")
    parser.add_argument("--export", type=Path, help="write model files and tables to this folder")
    parser.add_argument("--count", type=int, default=200, help="models to export")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models = options.models or models_folder(options.out)
    with leave_at_signals("while preparing: the next launch continues"):
        print(_run(options, models))
    return 0


def _run(options: argparse.Namespace, models: Path) -> str:
    """Do what the command line asks for; return the closing line."""
    if options.export:
        exported = export_models(prepare_models(models), options.export, options.count)
        return f"{options.export}: {len(exported)} models, captions.csv, questions.csv"
    if not options.verify:
        plan = (options.num_points, options.seed, options.limit, models, not options.quiet)
        prepare_furniture(options.out, *plan)
    counts = verify_manifest(options.out, full=options.verify)["counts"]
    return f"{options.out}: {counts['objects']} objects, {counts['splits']}"


if __name__ == "__main__":
    sys.exit(main())
