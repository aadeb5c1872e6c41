"""Convert a folder of meshes or clouds, with captions, into data to train and evaluate on.

    python -m lavis.datasets.convert my_meshes/ --captions captions.csv --out data/mine
    python -m lavis.datasets.convert scans/ --captions labels.json --up z --out data/scans
    python -m lavis.datasets.convert my_meshes/ --out data/mine --ray 10.0.0.1:6379   # cluster
    CPU-sized: add --num-points 2048; without texts: leave --captions out

An interrupted conversion goes on with the same command. Formats, columns and limits:
docs/your_data.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from lavis.common.command import command_parser, positive, report_errors
from lavis.common.preemption import leave_at_signals
from lavis.common.text_files import read_json
from lavis.datasets.convert import ray_engine
from lavis.datasets.convert.columns import NAMES
from lavis.datasets.convert.convert import Options, convert
from lavis.datasets.convert.engines import Done, Piece, in_processes
from lavis.datasets.convert.report import summary
from lavis.datasets.convert.up_axis import CHOICES

_MOST_WORKERS = 16


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the folder is whole."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("trimesh").setLevel(logging.ERROR)  # it names no file
    options = Options(
        given.source,
        given.captions,
        given.num_points,
        given.seed,
        given.up,
        given.val,
        given.test,
        dict(part.split("=", 1) for part in given.columns),
        given.encoding,
        given.shards,
    )

    def engine(pieces: Sequence[Piece]) -> Generator[Done, None, None]:
        if given.ray:
            return ray_engine.run(pieces, given.ray)
        return in_processes(pieces, given.workers)

    with leave_at_signals("while converting: the same command goes on"):
        convert(options, given.out, engine, not given.quiet)
    lines = summary(read_json(given.out / "report.json"))
    lines.append(f"Written: {given.out}; look at {given.out / 'contact_sheet.png'}")
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__, "python -m lavis.datasets.convert")
    add = parser.add_argument
    add("source", type=Path, help="folder of meshes or clouds; folders below it are read, too")
    add("--captions", type=Path, help="table of texts: .csv .tsv .json .jsonl .parquet")
    add("--out", type=Path, required=True, help="folder to write")
    add("--num-points", type=int, default=8192, help="points of a mesh, most points of a cloud")
    add("--up", choices=CHOICES, default="auto", help="axis that is up; auto goes by the format")
    add("--val", type=float, default=0.1, help="share of the groups for validation")
    add("--test", type=float, default=0.1, help="share of the groups for the test")
    add("--seed", type=int, default=0, help="of the sampled points")
    names = ", ".join(NAMES)
    add("--columns", nargs="+", default=[], metavar="MEANING=COLUMN", type=_column, help=names)
    add("--shards", type=int, default=0, help="objects in a tar shard; without it none is written")
    add("--encoding", help="of a table that is not UTF-8, e.g. cp1252")
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    add("--workers", type=positive, default=workers, help="processes (default: %(default)s)")
    add("--ray", metavar="ADDRESS", help="convert on a Ray cluster: host:port, auto or local")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _column(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"{text}: write e.g. caption=text_en")
    return text


if __name__ == "__main__":
    sys.exit(main())
