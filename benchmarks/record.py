"""The result file of a benchmark: each row is printed and saved when it is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, result_header
from lavis.evaluation.provenance import write_json_atomic


class Record:
    """Rows of one benchmark, and the file that holds those measured so far.

    Args:
        name: of the benchmark.
        path: of its JSON; replaced whole after every row.
        about: further entries of the file (options, what was measured).
    """

    def __init__(self, name: str, path: Path, **about: Any) -> None:
        self.name, self.path, self.about = name, path, about
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Print a row and save all rows; the file says `partial` until `finish`."""
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        self._write({}, {}, partial=True)

    def finish(self, headline: dict[str, Any], equality: dict[str, Any]) -> None:
        """Save the whole result and print its headline."""
        self._write(headline, equality, partial=False)
        print(json.dumps({"headline": headline, "written": str(self.path)}, indent=1), flush=True)

    def _write(self, headline: dict[str, Any], equality: dict[str, Any], partial: bool) -> None:
        result = result_header(self.name) | {
            "machine": describe_machine(),
            "headline": headline,
            "rows": self.rows,
            "equality": equality,
            **self.about,
        }
        write_json_atomic(self.path, result | ({"partial": True} if partial else {}))
