"""Print the results of a run as one table and write its report page.

python -m lavis.evaluation.report --run output/demo
python -m lavis.evaluation.report --run output/demo --points data/bricks --out report.html
python -m lavis.evaluation.report --run output/demo --picture docs/report.png   # captioned objects
python -m lavis.evaluation.report --run output/own      # clouds: those of datasets.own.path
python -m lavis.evaluation.report --runs output                        # every run: one table
python -m lavis.evaluation.report --runs output --compare demo/qa/dev_test full/qa/dev_test
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.common.command import command_parser, report_errors
from lavis.evaluation.report.clouds import LoadCloud, open_clouds, own_folder
from lavis.evaluation.report.headlines import headlines, text_table
from lavis.evaluation.report.many_runs import find_runs, overview, write_many
from lavis.evaluation.report.page import write_report
from lavis.evaluation.report.picture import write_picture
from lavis.evaluation.report.run_folder import load_run

_ROOT = Path(__file__).parents[3]
_SEEDS = _ROOT / "docs" / "results" / "seeds"


def default_points() -> Path:
    """The built-in data below the cache root (configs/default.yaml)."""
    return _ROOT / os.environ.get("LAVIS_CACHE_ROOT", "data") / "bricks"


def clouds_or_note(folder: Path) -> tuple[LoadCloud, list[str]]:
    """Return the clouds of a folder; without the folder the page notes that there are none."""
    if folder.is_dir():
        return open_clouds(folder), []
    return lambda object_id: None, [f"Point clouds are left out: {folder} does not exist."]


def report(
    run: Path,
    out: Path,
    points: Path,
    *,
    split: str | None,
    seed: int,
    seeds: Path,
    picture: Path | None = None,
) -> None:
    """Print the table, write the page (and a picture), name all files.

    Raises:
        PointLanguageError: no results, or a file that cannot be used.
    """
    results, notes = load_run(run, split, seeds)
    load_cloud, cloud_notes = clouds_or_note(points)
    notes = notes + cloud_notes
    page = write_report(out, results, load_cloud, name=run.as_posix(), notes=notes, seed=seed)
    if picture is not None:
        write_picture(picture, results, load_cloud, seed=seed)
    print(text_table(headlines(results)))
    print("\nFiles")
    for result in results:
        for path in result.paths:
            print(f"  {path}")
    for note in notes:
        print(f"  {note}")
    print(f"\nReport: {page}")


def many(folder: Path, out: Path | None, compare: Sequence[str], seeds: Path) -> None:
    """List all runs below a folder, write their page and table.

    Raises:
        PointLanguageError: no runs, or runs that cannot be compared.
    """
    page, table = write_many(folder, out, compare, seeds)
    print(overview(find_runs(folder)))
    print(f"\nTable: {table}\nReport: {page}")


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the page is written."""
    parser = command_parser(__doc__, "python -m lavis.evaluation.report")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=Path, help="folder with a sub-folder per task")
    what.add_argument("--runs", type=Path, help="folder of any number of runs: one table")
    parser.add_argument(
        "--compare",
        nargs=2,
        default=(),
        metavar="RUN",
        help="two names of --runs; a,b,c: the mean of an item over training seeds",
    )
    parser.add_argument("--out", type=Path, help="page to write (default: <run>/report.html)")
    parser.add_argument("--picture", type=Path, help="PNG of captioned objects, beside the page")
    help_points = "packed point clouds (default: the run's own objects, or bricks)"
    parser.add_argument("--points", type=Path, help=help_points)
    parser.add_argument(
        "--split", help="split whose results are shown (default: dev_test, or test)"
    )
    parser.add_argument("--seeds", type=Path, default=_SEEDS, help="<run>_<task>/<seed>.json")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of examples")
    options = parser.parse_args(arguments)
    if options.runs:
        many(options.runs, options.out, options.compare, options.seeds)
    else:
        out = options.out or options.run / "report.html"
        chosen = {"split": options.split, "seed": options.seed, "seeds": options.seeds}
        points = options.points or own_folder(options.run) or default_points()
        report(options.run, out, points, picture=options.picture, **chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
