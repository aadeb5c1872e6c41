"""One run per job folder."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lavis.common import folder_owner
from lavis.common.errors import ConfigError
from lavis.common.folder_owner import NAME, folder_in_use, this_process

HOLD = """
import sys, time
from pathlib import Path
from lavis.common.folder_owner import folder_in_use
with folder_in_use(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_process(tmp_path, repo_root):
    """A process that holds tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=repo_root, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def write(folder, **changed):
    holder = dataclasses.replace(this_process(), **changed)
    (folder / NAME).write_text(json.dumps(dataclasses.asdict(holder)))


def test_the_folder_is_held_and_given_back(tmp_path):
    with folder_in_use(tmp_path):
        assert (tmp_path / NAME).is_file()
        with folder_in_use(tmp_path):  # the same process may
            pass
        assert (tmp_path / NAME).is_file()
    assert os.listdir(tmp_path) == []


def test_a_second_process_is_refused_with_the_first_ones_name(tmp_path, other_process):
    with pytest.raises(ConfigError) as caught, folder_in_use(tmp_path):
        pass
    for part in (f"process {other_process.pid} on ", "since 20", str(tmp_path), "run.job_id"):
        assert part in str(caught.value)
    assert (tmp_path / NAME).is_file()


def test_a_killed_holder_is_gone(tmp_path, other_process, caplog):
    os.kill(other_process.pid, signal.SIGKILL)
    # A zombie until it is waited for: gone as well.
    os.waitid(os.P_PID, other_process.pid, os.WEXITED | os.WNOWAIT)
    with folder_in_use(tmp_path):
        assert folder_owner._read(tmp_path / NAME).pid == os.getpid()
    assert f"gone (process {other_process.pid}" in caplog.text


@pytest.mark.parametrize("changed", [{"boot": "other"}, {"started": 1, "pid": 1}, {"started": 1}])
def test_another_boot_or_a_pid_that_was_used_again_is_gone(tmp_path, changed):
    write(tmp_path, **changed)
    with folder_in_use(tmp_path):
        pass


@pytest.mark.parametrize("changed", [{"host": "elsewhere"}, {"namespace": "pid:[1]"}])
def test_a_holder_elsewhere_is_judged_by_its_heartbeat(tmp_path, changed):
    write(tmp_path, **changed)
    end = threading.Event()

    def beat():
        while not end.wait(0.1):
            os.utime(tmp_path / NAME)

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(ConfigError, match="process"), folder_in_use(tmp_path, watch=2):
        pass
    end.set()
    thread.join()
    with folder_in_use(tmp_path, watch=0.5):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"pid": 1}'])
def test_a_lock_file_that_cannot_be_read_is_judged_by_its_heartbeat(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with folder_in_use(tmp_path, watch=0.3):
        pass


def test_the_holder_shows_a_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_owner, "BEAT", 0.05)
    with folder_in_use(tmp_path):
        first = folder_owner._mark(tmp_path / NAME)
        time.sleep(0.5)
        assert folder_owner._mark(tmp_path / NAME) != first


def test_no_hard_links_no_problem(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(folder_owner.os, "link", refuse)
    with folder_in_use(tmp_path):
        assert not folder_owner._create(tmp_path / NAME, this_process())
    assert os.listdir(tmp_path) == []


def test_a_full_disk_costs_the_lock_not_the_run(tmp_path, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_owner.os, "link", refuse)
    with folder_in_use(tmp_path):
        pass
    assert "cannot be locked" in caplog.text


def test_of_many_that_start_at_once_one_holds(tmp_path, repo_root):
    script = HOLD.replace("time.sleep(600)", "sys.stdin.read()")
    write(tmp_path, pid=2**22 + 1)  # a stale lock, which all of them see
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            cwd=repo_root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    deadline = time.monotonic() + 600
    while sum(p.poll() is None for p in processes) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sum(p.poll() is None for p in processes) == 1
    assert sum(b"held" in p.communicate()[0] for p in processes) == 1
