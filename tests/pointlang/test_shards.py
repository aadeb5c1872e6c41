"""Shards hold every input once, also when a worker is killed midway."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import ConfigError, DependencyError
from pointlang import command, shards, task
from pointlang.system import System
from pointlang.task import Task


@pytest.fixture
def many(tmp_path: Path, files: Path) -> list[str]:
    """Thirty clouds and a broken file."""
    paths = []
    for number in range(30):
        paths.append(str(tmp_path / f"{number:02d}.npy"))
        np.save(paths[-1], np.random.default_rng(number).random((20, 3)))
    return [*paths, str(files / "broken.ply")]


@pytest.fixture(autouse=True)
def toy(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "load", lambda model, device: system)
    task._system.cache_clear()


def files_of(folder: Path) -> Counter[str]:
    """Count the files in all shards."""
    lines = [line for path in folder.glob("part-*") for line in path.read_text().splitlines()]
    return Counter(json.loads(line)["file"] for line in lines)


def test_ranks_share_the_shards(many, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    all_shards = shards.plan(Task("caption"), many, out, 4, "jsonl")
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in "012":
        monkeypatch.setenv("RANK", rank)
        list(shards.run_here(Task("caption"), shards.own_shards(all_shards)))
        assert len(list(out.glob("part-*"))) == [3, 6, 8][int(rank)]
    assert files_of(out) == Counter(many)


def _slow(all_shards: list[shards.Shard]) -> None:
    for shard in all_shards:
        shards.predict_shard(Task("caption"), shard)
        time.sleep(0.05)


def test_a_killed_worker_loses_no_file_and_doubles_none(many, tmp_path) -> None:
    out = tmp_path / "out"
    all_shards = shards.plan(Task("caption"), many, out, 4, "jsonl")
    worker = multiprocessing.get_context("fork").Process(target=_slow, args=(all_shards,))
    worker.start()
    while len(list(out.glob("part-*"))) < 2 and worker.is_alive():
        time.sleep(0.005)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 2 <= len(before) < len(all_shards)
    again = shards.plan(Task("caption", device="cpu"), many, out, 4, "jsonl")
    list(shards.run_here(Task("caption"), again))
    assert files_of(out) == Counter(many)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_folder_of_other_predictions_is_refused(many, tmp_path) -> None:
    shards.plan(Task("caption"), many, tmp_path / "out", 4, "jsonl")
    others = [(Task("embed"), many, 4), (Task("caption"), many[1:], 4), (Task("caption"), many, 5)]
    for other, inputs, size in others:
        with pytest.raises(ConfigError, match="other files or options"):
            shards.plan(other, inputs, tmp_path / "out", size, "jsonl")


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_names_the_command(many, tmp_path) -> None:
    with pytest.raises(DependencyError, match="requirements-parquet"):
        shards.plan(Task("caption"), many, tmp_path, 4, "parquet")


def test_parquet_shards_have_the_same_records(many, tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (shard,) = shards.plan(Task("classify", labels=("red", "blue")), many, tmp_path, 99, "parquet")
    shards.predict_shard(Task("classify", labels=("red", "blue")), shard)
    rows = parquet.read_table(shard.path).to_pylist()
    assert [row["file"] for row in rows] == many
    assert set(rows[0]["probabilities"]) == {"red", "blue"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict], str]:
    code = command.main([*arguments, "--quiet"])
    printed = capsys.readouterr()
    return code, [json.loads(line) for line in printed.out.splitlines()], printed.err


def test_a_rank_that_lists_other_files_at_the_same_time_is_refused(
    many, tmp_path, monkeypatch
) -> None:
    shards.plan(Task("caption"), many, tmp_path / "out", 4, "jsonl")
    # Both ranks looked before either wrote.
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with pytest.raises(ConfigError, match="other files or options"):
        shards.plan(Task("caption"), many[1:], tmp_path / "out", 4, "jsonl")
    assert not list((tmp_path / "out").glob(".plan*"))


def test_the_command_prints_a_line_per_file(files, capsys) -> None:
    code, rows, errors = run(capsys, str(files), "What is it?")
    assert code == 1
    assert [("answer" in row, "error" in row) for row in rows].count((True, False)) == 3
    assert "1 of 4 files have an error" in errors


@pytest.mark.parametrize(
    ("options", "key"),
    [([], "caption"), (["--classify", "red", "blue"], "label"), (["--embed"], "embedding")],
)
def test_every_prediction_has_its_key(files, capsys, options, key) -> None:
    code, rows, _ = run(capsys, str(files / "red.npy"), *options)
    assert code == 0
    assert key in rows[0]
    assert rows[0]["notes"]


def test_a_search_prints_the_best_first(files, capsys) -> None:
    _, rows, _ = run(capsys, f"{files}/*.npy", "--retrieve", "green", "--top", "2")
    assert [Path(row["file"]).stem for row in rows] == ["green", "grey"]


def test_the_command_writes_shards_once(many, tmp_path, capsys) -> None:
    for _ in range(2):
        code, _, errors = run(capsys, *many, "--out", str(tmp_path / "out"), "--shard-size", "8")
        assert code == 0
    assert "4 shards of 4, 4 of them from before" in errors
    assert files_of(tmp_path / "out") == Counter(many)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.ply"], "File not found"),
        (["red.npy", "--embed", "--ask", "What?"], "One prediction at a time"),
        (["a/red.npy", "red.npy", "--segment", "--points", "out"], "Two rooms have one name"),
        (["red.npy", "--segment", "bed"], "it can: caption, ask, classify, embed, retrieve"),
    ],
)
def test_mistakes_are_sentences(files, capsys, monkeypatch, tmp_path, arguments, message) -> None:
    (tmp_path / "a").mkdir()  # `files` is shared by all tests
    for name in ("red.npy", "a/red.npy"):
        shutil.copyfile(files / "red.npy", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    code, rows, errors = run(capsys, *arguments)
    assert (code, rows) == (2, [])
    assert message in errors
