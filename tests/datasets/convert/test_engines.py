"""Processes side by side: equal bytes, and a process that dies costs one file at most."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from lavis.datasets.convert import engines, tasks
from lavis.datasets.convert.engines import DIED, in_processes, in_this_process
from lavis.datasets.convert.tasks import Job, read_piece
from lavis.datasets.convert.work import pieces_of


@pytest.fixture
def pieces(tmp_path: Path) -> list[engines.Piece]:
    """Ten clouds in five pieces."""
    rng = np.random.default_rng(0)
    for number in range(10):
        np.save(tmp_path / f"o{number}.npy", rng.random((50, 3)))
    jobs = [Job(f"o{n}", str(tmp_path / f"o{n}.npy"), str(tmp_path), 20) for n in range(10)]
    return pieces_of(jobs, 2)


def named(done) -> dict[str, bytes]:
    return {piece.name: content for piece, content in done}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_processes_gives_the_same_bytes(pieces, workers: int) -> None:
    assert named(in_processes(pieces, workers)) == named(in_this_process(pieces))
    assert multiprocessing.active_children() == []


def test_a_file_that_kills_its_process_is_named_and_the_others_are_kept(
    pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = named(in_this_process(pieces))
    sample = tasks._sample

    def deadly(job: Job, path: Path):
        if job.object_id in ("o3", "o6"):
            os.kill(os.getpid(), signal.SIGKILL)
        return sample(job, path)

    monkeypatch.setattr(tasks, "_sample", deadly)  # forked processes have it, too
    found = named(in_processes(pieces, 2))
    assert set(found) == set(expected)
    results = [r for piece in pieces for r in read_piece(io.BytesIO(found[piece.name]))]
    assert {r.object_id: r.problem for r in results if r.problem} == {"o3": DIED, "o6": DIED}
    assert [r.facts["source"] for r in results if r.problem] == ["o3.npy", "o6.npy"]
    for number in (0, 2, 4):
        assert found[pieces[number].name] == expected[pieces[number].name]


class Panic(BaseException):
    """What libraries in Rust raise; no subclass of Exception."""


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_in_a_library_is_named_with_its_file(
    pieces, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    expected = named(in_this_process(pieces))
    sample = tasks._sample

    def failing(job: Job, path: Path):
        if job.object_id == "o2":
            raise SystemExit("no licence")
        if job.object_id == "o3":
            raise Panic("index out of bounds")
        found = sample(job, path)
        if job.object_id == "o7":  # converted, but its record cannot be stored
            found.facts["lock"] = object()
        return found

    monkeypatch.setattr(tasks, "_sample", failing)
    found = named(in_processes(pieces, workers) if workers else in_this_process(pieces))
    results = [r for piece in pieces for r in read_piece(io.BytesIO(found[piece.name]))]
    problems = {r.facts["source"]: r.problem for r in results if r.problem}
    assert problems == {
        "o2.npy": "SystemExit: no licence",
        "o3.npy": "Panic: index out of bounds",
        "o7.npy": "TypeError: Object of type object is not JSON serializable",
    }
    assert [len(r.xyz) for r in results] == [0 if r.problem else 20 for r in results]
    for number in (0, 2, 4):
        assert found[pieces[number].name] == expected[pieces[number].name]


def test_an_interrupt_is_not_a_problem_of_a_file(pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(job: Job, path: Path):
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "_sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(in_this_process(pieces))


def test_a_process_that_is_killed_once_changes_nothing(
    pieces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, mark = named(in_this_process(pieces)), tmp_path / "killed"
    sample = tasks._sample

    def killed_once(job: Job, path: Path):
        if job.object_id == "o5" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return sample(job, path)

    monkeypatch.setattr(tasks, "_sample", killed_once)
    assert named(in_processes(pieces, 2)) == expected
    assert mark.exists()


def test_leaving_early_ends_the_processes(pieces) -> None:
    running = in_processes(pieces, 2)
    next(running)
    assert multiprocessing.active_children()
    running.close()
    assert multiprocessing.active_children() == []
