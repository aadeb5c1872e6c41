"""Signals, the watchdog, and what folders of checkpoints keep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lavis.common import checkpoint, checkpoint_folder
from lavis.common.errors import CheckpointError, Preempted
from lavis.common.preemption import StopRequest
from lavis.common.watchdog import EXIT_CODE, Watchdog


def test_a_signal_is_noted_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_interrupt_does_not_wait():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_at_once_raises_where_everything_is_saved():
    with StopRequest() as stop:
        with pytest.raises(Preempted) as caught, stop.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.exit_code == 143
        with pytest.raises(Preempted), stop.at_once():
            pass


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_at_the_next_step_and_the_run_goes_on_exactly(tiny_folder, signum, code):
    from benchmarks.faults.tiny_run import TinyTask, tiny_runner

    class Leaving(TinyTask):
        def train_step(self, model, samples):
            if len(self.trained_ids) == 4:
                os.kill(os.getpid(), signum)
            return super().train_step(model, samples)

    options = {"dropout": 0.5, "resume_ckpt_path": "auto"}
    whole = tiny_runner(tiny_folder, "whole", **options)
    whole.train()
    with pytest.raises(Preempted) as caught:
        tiny_runner(tiny_folder, "cut", task=Leaving(), **options).train()
    assert caught.value.exit_code == code
    assert caught.value.agreed
    rest = tiny_runner(tiny_folder, "cut", **options)
    rest.train()
    assert len(rest.parts.task.trained_ids) == 12 - 5
    assert torch.equal(
        rest.parts.unwrapped_model.head.weight, whole.parts.unwrapped_model.head.weight
    )


@pytest.fixture
def tiny_folder(tmp_path):
    torch.set_num_threads(1)
    return tmp_path


STALL = """
import sys, time
from pathlib import Path
from lavis.common.watchdog import Watchdog
with Watchdog(Path(sys.argv[1]), 0, 2, 0.3) as dog:
    dog.beat(7, "step")
    time.sleep(60)
"""


def test_a_stalled_rank_ends_with_a_message_that_names_who_is_behind(tmp_path, repo_root):
    note = {"step": 6, "phase": "data", "waited": 99.0}
    (tmp_path / "rank1.json").write_text(json.dumps(note))
    done = subprocess.run(
        [sys.executable, "-c", STALL, str(tmp_path)], cwd=repo_root, capture_output=True, text=True
    )
    assert done.returncode == EXIT_CODE
    assert "rank 0 made no progress" in done.stderr
    first = done.stderr.split("holds the others up:")[1].strip().splitlines()[0]
    assert first.strip() == "rank 1: step 6, data, for 99 s"
    assert "time.sleep" in done.stderr or "in <module>" in done.stderr  # where the thread is


def test_progress_and_unwatched_phases_keep_a_run_alive(tmp_path):
    with Watchdog(tmp_path, 0, 1, 0.2) as dog:
        for step in range(4):
            dog.beat(step, "step")
            time.sleep(0.1)
        dog.beat(4, "evaluate", watched=False)
        time.sleep(0.4)
    assert not (tmp_path / "rank0.json").exists()


def save(folder, step, keep=3):
    checkpoint_folder.save_newest({"step": step}, folder, step, keep)


def steps(folder):
    return [step for step, _ in checkpoint_folder.predecessors(folder)]


def test_so_many_checkpoints_are_kept(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step)
    assert steps(tmp_path) == [5, 4]
    assert checkpoint.manifest_step(tmp_path / "checkpoint_last.pth") == 6
    assert all(checkpoint.is_valid(path) for path in tmp_path.glob("checkpoint*.pth"))
    save(tmp_path, 6)  # the same step again is no predecessor
    assert steps(tmp_path) == [5, 4]


def test_a_damaged_newest_falls_back_and_is_forgotten(tmp_path, caplog):
    job = tmp_path / "job"
    job.mkdir()
    for step in (1, 2, 3):
        save(job, step)
    (job / "checkpoint_last.pth").write_bytes(b"damaged")
    found = checkpoint_folder.find_newest(tmp_path)
    assert checkpoint.load_checkpoint_file(found)["step"] == 2
    assert "checkpoint_last.pth is damaged" in caplog.text
    checkpoint_folder.go_on_from(job, 2)
    assert (job / "checkpoint_last.pth.set_aside").read_bytes() == b"damaged"
    assert "kept as checkpoint_last.pth.set_aside" in caplog.text
    assert not (job / "checkpoint_last.pth").exists()
    save(job, 3)
    assert checkpoint.load_checkpoint_file(checkpoint_folder.find_newest(tmp_path))["step"] == 3


def copy_without_times(source, target):
    target.mkdir()
    for number, path in enumerate(sorted(source.glob("checkpoint*"), reverse=True)):
        (target / path.name).write_bytes(path.read_bytes())
        os.utime(target / path.name, (number, number))


@pytest.mark.parametrize("job_id", ["plain", "a*b", "[x]", "q?", "é ü"])
def test_the_newest_is_of_the_highest_step_whatever_the_times(tmp_path, job_id):
    (tmp_path / "a").mkdir()
    for step in (1, 2, 3):
        save(tmp_path / "a", step)
    copy_without_times(tmp_path / "a", tmp_path / job_id)
    found = checkpoint_folder.find_newest(tmp_path, job_id)
    assert found == tmp_path / job_id / "checkpoint_last.pth"
    assert checkpoint.load_checkpoint_file(found)["step"] == 3


def test_a_job_id_is_no_pattern(tmp_path):
    for job in ("a1", "a2"):
        (tmp_path / job).mkdir()
        save(tmp_path / job, 1)
    assert checkpoint_folder.find_newest(tmp_path, "a*") is None
    assert checkpoint_folder.find_newest(tmp_path, "a[12]") is None


def test_a_newer_checkpoint_is_never_moved(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"step 3[\s\S]*run\.job_id"):
        checkpoint_folder.go_on_from(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_newest_without_manifest_is_kept_and_never_written_over(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    whole = (tmp_path / "checkpoint_last.pth").read_bytes()
    (tmp_path / "checkpoint_last.pth.json").unlink()
    for number in ("", "2"):
        checkpoint_folder.go_on_from(tmp_path, 1)
        assert (tmp_path / f"checkpoint_last.pth.set_aside{number}").read_bytes() == whole
        (tmp_path / "checkpoint_last.pth").write_bytes(whole)


def test_a_new_run_in_an_old_folder_is_the_newest_and_replaces_the_old_one(tmp_path):
    for step in (90, 100):
        checkpoint_folder.save_newest({"step": step, "run_id": "old"}, tmp_path, step, 2)
    for step in (1, 2, 3):
        checkpoint_folder.save_newest({"step": step, "run_id": "new"}, tmp_path, step, 2)
        found = checkpoint_folder.find_newest(tmp_path.parent, tmp_path.name)
        assert checkpoint.load_checkpoint_file(found)["step"] == step
    checkpoint_folder.go_on_from(tmp_path, 3)
    assert steps(tmp_path) == [2]


def test_a_missing_shard_makes_a_checkpoint_invalid(tmp_path):
    job = tmp_path / "job"
    job.mkdir()
    for step in (1, 2):
        for rank in range(2):
            path = job / f"shard_step{step:08d}_rank{rank}of2.pth"
            checkpoint.save_checkpoint({"w": torch.ones(1)}, path, step)
        save(job, step, keep=2)
    (job / "shard_step00000002_rank1of2.pth").write_bytes(b"cut")
    found = checkpoint_folder.find_newest(tmp_path)
    assert checkpoint.load_checkpoint_file(found)["step"] == 1
