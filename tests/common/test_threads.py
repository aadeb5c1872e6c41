"""The wait policy of threads and their number, from fake control groups and in new processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lavis.common import threads
from lavis.common.threads import available_cpus, prepare_threads

CHILD = """
import logging, os, sys
{first}
import lavis
print(os.environ["GOMP_SPINCOUNT"] if "GOMP_SPINCOUNT" in os.environ else "unset")
"""


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write control groups; returns the function that counts cores of 8 with them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def count(membership: str, files: dict[str, str]) -> int:
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "membership").write_text(membership)
        return available_cpus(tmp_path / "cgroup", tmp_path / "membership")

    return count


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "50000 100000"}, 1),
        (
            "4:memory:/x\n3:cpu,cpuacct:/job\n",
            {
                "cpu,cpuacct/job/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
                "memory/x/cpu.max": "100000 100000",  # of another controller
            },
            3,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("nonsense\n", {"cpu.max": "lots of it"}, 8),
        ("", {"cpu.max": "1600000 100000"}, 8),  # a quota above the affinity
    ],
)
def test_quota_and_affinity_bound_the_cores(groups, membership, files, cpus):
    assert groups(membership, files) == cpus


def test_threads_sleep_and_follow_the_quota(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    monkeypatch.setattr(threads, "affinity_cpus", lambda: 8)
    environ: dict[str, str] = {}
    prepare_threads(environ)
    wanted = {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    assert environ == wanted | {"GOMP_SPINCOUNT": threads.SPIN_COUNT}


def test_without_a_quota_the_libraries_count_their_threads(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    monkeypatch.setattr(threads, "affinity_cpus", lambda: 8)
    environ: dict[str, str] = {}
    prepare_threads(environ)
    assert set(environ) == {"GOMP_SPINCOUNT"}


@pytest.mark.parametrize("name", threads.WAIT_SETTINGS)
def test_settings_of_the_user_stay(name, monkeypatch, caplog):
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    monkeypatch.setattr(threads, "affinity_cpus", lambda: 4)
    own = {name: "7", "OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "1"}
    environ = dict(own)
    prepare_threads(environ)
    assert environ == own
    assert not caplog.records


@pytest.mark.parametrize(("torch_loaded", "said"), [(False, 0), (True, 1)])
def test_a_torch_that_is_loaded_already_is_named_once(torch_loaded, said, monkeypatch, caplog):
    monkeypatch.setattr(threads, "available_cpus", lambda: 2)
    modules = {"torch": sys} if torch_loaded else {}
    monkeypatch.setattr(threads.sys, "modules", modules)
    environ: dict[str, str] = {}
    for _ in range(2):
        prepare_threads(environ)
    assert sum("before lavis" in record.message for record in caplog.records) == said


def test_importing_lavis_sets_the_policy_before_torch(repo_root):
    environ = {k: v for k, v in os.environ.items() if k not in threads.WAIT_SETTINGS}
    for first, warned in (("", False), ("import torch", len(os.sched_getaffinity(0)) > 1)):
        command = [sys.executable, "-W", "ignore", "-c", CHILD.format(first=first)]
        done = subprocess.run(command, cwd=repo_root, env=environ, capture_output=True, text=True)
        assert done.stdout.split() == [threads.SPIN_COUNT], done.stderr
        assert ("before lavis" in done.stderr) == warned
