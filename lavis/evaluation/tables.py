"""Result tables in Markdown, generated from metrics records and never typed by hand.

    python -m lavis.evaluation.tables            # rewrite README.md and docs/results.md
    python -m lavis.evaluation.tables --check    # exit 1 when one of them is out of date

README.md gets a row per system (systems_table.py), docs/results.md all claims (summary_table.py)
and every metric, baseline and control (full_tables.py), each between `<!-- results:begin -->` and
`<!-- results:end -->`. Both come from docs/results/*.json and docs/results/seeds (run_records.py).
A table of several data versions is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import EvaluationError
from lavis.evaluation.full_tables import full_tables
from lavis.evaluation.run_records import load_records
from lavis.evaluation.systems_table import systems_table

NO_RESULTS = "No published results yet."


def render_between(text: str, table: str, name: str, where: str) -> str:
    """Return `text` with everything between `<!-- name:begin -->` and `<!-- name:end -->` replaced.

    Raises:
        EvaluationError: the markers are absent, repeated or in the wrong order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise EvaluationError(
            "the file has no place for a generated table",
            where=where,
            expected=f"one {begin} followed by one {end}",
        )
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{table}\n{end}{after}"


def update_tables(
    readme: str | Path, details: str | Path, results_dir: str | Path, *, check: bool = False
) -> list[Path]:
    """Regenerate the tables of both files.

    Args:
        readme: file that gets the table of systems.
        details: file that gets all claims and metrics.
        results_dir: folder of metrics records.
        check: only compare, write nothing.

    Returns:
        The files that were out of date.

    Raises:
        EvaluationError: see `load_records` and `render_between`; then no file is written.
    """
    runs = load_records(results_dir)
    tables = {
        Path(readme): systems_table(runs) if runs else NO_RESULTS,
        Path(details): full_tables(runs) if runs else NO_RESULTS,
    }
    texts = {path: path.read_text(encoding="utf-8") for path in tables}
    wanted = {
        path: render_between(texts[path], table, "results", str(path))
        for path, table in tables.items()
    }
    stale = [path for path in tables if wanted[path] != texts[path]]
    for path in [] if check else stale:
        path.write_text(wanted[path], encoding="utf-8")
    return stale


@report_errors(OSError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the files are up to date or were rewritten, 1 otherwise."""
    root = Path(__file__).resolve().parents[2]
    parser = command_parser(__doc__, "python -m lavis.evaluation.tables")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when different")
    parser.add_argument("--readme", type=Path, default=root / "README.md")
    parser.add_argument("--details", type=Path, default=root / "docs" / "results.md")
    parser.add_argument("--results", type=Path, default=root / "docs" / "results")
    options = parser.parse_args(arguments)
    stale = update_tables(options.readme, options.details, options.results, check=options.check)
    for path in (options.readme, options.details):
        state = "up to date" if path not in stale else "out of date" if options.check else "written"
        print(f"{path}: results tables {state}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
