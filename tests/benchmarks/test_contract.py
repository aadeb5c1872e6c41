"""What every benchmark promises: --quick, rows that appear as measured, partial files."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from benchmarks.record import RESULTS, Record, parse_options

FOLDER = Path(__file__).parents[2] / "benchmarks"
# Parts of benchmarks, tables, and reliability.py, whose figures have their own file and tests.
NO_BENCHMARK = {"machine", "qformer_reference", "record", "reliability", "tables"}
BENCHMARKS = sorted(
    path.stem
    for path in FOLDER.glob("*.py")
    if path.stem not in NO_BENCHMARK and not path.stem.startswith(("_", "usual_"))
)
CHEAP = {  # seconds or less
    "caption_metrics": "--captions 20 --words 6 --rounds 2",
    "large_gallery": "--objects 40 --queries 2 --width 8 --tokens 3 --token-width 4",
    "point_encoders": "--cases i2p_mae_256x24 --batch-size 1 --repeats 1",
    "retrieval": "--objects 64 --timed-objects 8 --rounds 1 --queries 4 --large 128"
    " --large-queries 2 --k 5",
}


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """Undo what benchmarks set for a process of their own."""
    threads = torch.get_num_threads()
    with patch.dict(os.environ):
        yield
    torch.set_num_threads(threads)


def calls(name: str) -> set[str]:
    """Return the names of all functions and methods that a benchmark calls."""
    found = set()
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            found.add(
                function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
            )
    return found


def rows_of(output: str) -> list[dict]:
    """Return the rows that were printed, each on its own line."""
    lines = [line for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_offers_quick(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--quick under two minutes on a quiet machine: " in text
    assert "--out" in text


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_records_its_rows(name):
    assert {"parse_options", "Record", "add", "finish"} <= calls(name)
    assert not calls(name) & {"write_json_atomic", "write_text", "dump"}


@pytest.mark.parametrize("name", CHEAP)
def test_an_interrupted_run_keeps_its_rows_and_the_result_file(name, tmp_path, capsys):
    main = importlib.import_module(f"benchmarks.{name}").main
    out = tmp_path / "result.json"
    out.write_text("the committed result")
    command = [*CHEAP[name].split(), "--out", str(out)]
    add = Record.add

    def add_and_stop(record: Record, row: dict) -> None:
        add(record, row)
        raise KeyboardInterrupt

    with patch.object(Record, "add", add_and_stop), pytest.raises(KeyboardInterrupt):
        main(command)
    assert out.read_text() == "the committed result"
    partial = json.loads((tmp_path / "result.partial.json").read_text())
    assert partial["partial"] is True
    assert partial["rows"] == rows_of(capsys.readouterr().out)
    assert len(partial["rows"]) == 1


def test_a_whole_run_replaces_the_result_file(tmp_path, capsys):
    out = tmp_path / "result.json"
    main = importlib.import_module("benchmarks.caption_metrics").main
    main([*CHEAP["caption_metrics"].split(), "--out", str(out)])
    result = json.loads(out.read_text())
    assert result["rows"] == rows_of(capsys.readouterr().out)
    assert [row["metric"] for row in result["rows"]] == ["cider", "rouge", "bleu"]
    for row in result["rows"]:
        assert row["speedup_min"] <= row["speedup_median"] <= row["speedup_max"]
    assert "partial" not in result
    assert list(tmp_path.iterdir()) == [out]


def test_a_quick_run_has_a_file_of_its_own():
    def parse(*arguments: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        parser.add_argument("--rounds", type=int, default=5)
        return parse_options(parser, "some", arguments, rounds=1)

    assert (parse().rounds, parse().out) == (5, RESULTS / "some.json")
    assert (parse("--quick").rounds, parse("--quick").out) == (1, RESULTS / "some.quick.json")
    assert parse("--quick", "--rounds", "3").rounds == 3
    assert parse("--quick", "--out", "own.json").out == Path("own.json")
