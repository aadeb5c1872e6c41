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
