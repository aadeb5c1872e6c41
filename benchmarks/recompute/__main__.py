"""Command line of the recomputation; see the package's docstring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.recompute.ledger import Missing, Row, count_missing, table
from benchmarks.recompute.published import check_published, every_record, read_published
from benchmarks.recompute.recompute import check_run
from benchmarks.recompute.runs import LOCKED, Data, Run, metrics_files, read_run
from benchmarks.recompute.study import TASK, check_studies
from benchmarks.recompute.tables import check_tables


def check_runs(runs: Sequence[Run], data: Data) -> tuple[list[Row], list[Missing]]:
    """Compare everything that some runs published."""
    rows: list[Row] = []
    absent: list[Missing] = []
    for run in runs:
        own_rows, own_absent = check_run(run, data)
        rows, absent = [*rows, *own_rows], [*absent, *own_absent]
    return rows, absent


def check_results(folder: Path, runs: Sequence[Run]) -> tuple[list[Row], list[Missing]]:
    """Compare published records with their runs, and the printed tables with the records.

    Args:
        folder: docs/results; tables are in <folder>.md and in README.md two folders up.
        runs: where the records come from.
    """
    published = read_published(folder)
    known = every_record(published)
    studies = {name: record for name, record in known.items() if record["task"] == TASK}
    rows, absent = check_published({n: r for n, r in known.items() if n not in studies}, runs)
    more_rows, more_absent = check_studies(studies, runs, folder)
    rows, absent = rows + more_rows, absent + more_absent
    files = [folder.resolve().parents[1] / "README.md", folder.with_suffix(".md")]
    return rows + check_tables([path for path in files if path.is_file()], published), absent


def report(rows: Sequence[Row], absent: Sequence[Missing], only_differences: bool) -> str:
    """Compose the table, the list of what is not recomputed, and the counts."""
    wrong = [row for row in rows if not row.equal]
    lines = [table(wrong if only_differences else rows), "", "Not recomputed:"]
    for reason, count in count_missing(absent).items():
        lines.append(f"  {count} figures or groups: {reason}")
        lines += [f"    {m.file}: {', '.join(m.figures)}" for m in absent if m.reason == reason]
    figures = sum(row.n for row in rows)
    lines.append(f"\n{figures} comparisons in {len(rows)} rows, {len(wrong)} rows differ")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.recompute",
        description="Recompute published figures without the package's code.",
    )
    options.add_argument("runs", nargs="+", type=Path, help="folders of runs, e.g. output/demo")
    options.add_argument("--data", type=Path, default=Path("data/bricks"), help="prepared data")
    options.add_argument("--results", type=Path, help="published records, e.g. docs/results")
    options.add_argument("--differences", action="store_true", help="show only rows that differ")
    options.add_argument(
        "--test-final", action="store_true", help="also read runs on the locked test split"
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when every recomputed figure is equal, 1 otherwise, 2 without a run."""
    options = parser().parse_args(arguments)
    runs = [read_run(path) for path in metrics_files(options.runs)]
    locked = [run.name for run in runs if LOCKED in run.split and not options.test_final]
    runs = [run for run in runs if run.name not in locked]
    if locked:
        print(f"left out, --test-final reads them: {', '.join(locked)}", file=sys.stderr)
    if not runs:
        print(f"no runs to check below {', '.join(map(str, options.runs))}", file=sys.stderr)
        return 2
    rows, absent = check_runs(runs, Data(options.data))
    if options.results:
        more_rows, more_absent = check_results(options.results, runs)
        rows, absent = rows + more_rows, absent + more_absent
    print(report(rows, absent, options.differences))
    return 0 if all(row.equal for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
