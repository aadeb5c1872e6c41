"""What all benchmarks share: `--quick` and `--out`, and a result file that grows row by row.

    options = parse_options(parser, "point_ops", arguments, threads=[1], repeats=1)
    record = Record("point_ops", options)
    record.add(row)                      # printed and saved now
    record.finish(headline, equality)

Rows are saved in `<out>.partial.json` until the benchmark ends. Only a whole measurement replaces
the result file, and `--quick` has a file of its own, so that neither an interrupted nor a quick run
overwrites the committed result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, result_header
from lavis.common.strict_json import to_plain
from lavis.evaluation.provenance import write_json_atomic

RESULTS = Path(__file__).parent / "results"


def parse_options(
    parser: argparse.ArgumentParser, name: str, arguments: Sequence[str] | None, **quick: Any
) -> argparse.Namespace:
    """Add `--quick` and `--out` to a benchmark's options and read the command line.

    Args:
        parser: holds the benchmark's own options.
        name: of the benchmark, and of its files in `benchmarks/results`.
        arguments: the command line; None reads `sys.argv`.
        quick: values that `--quick` gives to options which the command line does not state.
    """
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    smaller = ", ".join(f"{option} {value}" for option, value in quick.items())
    about_quick = f"under two minutes on a quiet machine: {smaller}"
    parser.add_argument("--quick", action="store_true", help=about_quick)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="result file")
    if parser.parse_known_args(arguments)[0].quick:
        parser.set_defaults(out=RESULTS / f"{name}.quick.json", **quick)
    return parser.parse_args(arguments)


class Record:
    """Rows of one benchmark, and the files that hold them.

    Args:
        name: of the benchmark.
        options: of `parse_options`; saved with the rows.
        about: further entries of the file (what was measured).
    """

    def __init__(self, name: str, options: argparse.Namespace, **about: Any) -> None:
        self.path: Path = options.out
        self.partial = self.path.with_suffix(".partial.json")
        # The commit of the code that runs; another one may be checked out before the end.
        self.header = result_header(name)
        given = {key: value for key, value in vars(options).items() if key != "out"}
        self.about = {**about, "options": given}
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Print a row, save all rows so far as partial, and return the row."""
        self.rows.append(row)
        print(json.dumps(to_plain(row)), flush=True)
        write_json_atomic(self.partial, self._result({}, {}) | {"partial": True})
        return row

    def finish(self, headline: dict[str, Any], equality: dict[str, Any]) -> None:
        """Save the whole result, remove the partial file, and print the headline."""
        write_json_atomic(self.path, self._result(headline, equality))
        self.partial.unlink(missing_ok=True)
        print(json.dumps({"headline": headline, "written": str(self.path)}, indent=1), flush=True)

    def _result(self, headline: dict[str, Any], equality: dict[str, Any]) -> dict[str, Any]:
        return self.header | {
            "machine": describe_machine(),
            "headline": headline,
            "rows": self.rows,
            "equality": equality,
            **self.about,
        }
