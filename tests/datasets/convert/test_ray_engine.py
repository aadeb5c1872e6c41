"""Conversion as tasks of Ray: the bytes of one process, whatever dies on the way."""

from __future__ import annotations

import builtins
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lavis.common.errors import ConfigError, DependencyError
from lavis.datasets.convert import ray_engine
from lavis.datasets.convert.convert import Options, convert
from lavis.datasets.convert.engines import DIED, Done, Piece, in_this_process
from lavis.datasets.convert.tasks import Job, read_piece

PRINT = builtins.print

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")
pytestmark = pytest.mark.slow

ADDRESS = "local"
POINTS = 20_000  # a piece takes long enough to be interrupted


class Deadly(os.PathLike):  # type: ignore[type-arg]
    """A path that kills every process but the one that made it."""

    def __init__(self, path: str) -> None:
        self.path, self.owner = path, os.getpid()

    def __fspath__(self) -> str:
        if os.getpid() != self.owner:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.path


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two worker processes on this machine."""
    ray_engine.imported()  # sets Ray's environment
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pieces(meshes: Path) -> list[Piece]:
    """A piece of three objects."""
    paths = sorted(meshes.glob("o*.*"))[:3]
    return [Piece("p", tuple(Job(p.stem, str(p), str(meshes), POINTS) for p in paths))]


def workers_at_work() -> list[int]:
    """Return the processes of this test's cluster that convert a piece now."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue
    return [
        pid
        for pid, name in names.items()
        if name.startswith("ray::convert_piece") and os.getpid() in ancestors(pid, parents)
    ]


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        pid = parents[pid]
        yield pid


def kill_one_at_work(killed: list[int]) -> None:
    """Wait for a process that converts, and kill it."""
    for _ in range(6000):
        at_work = workers_at_work()
        if at_work:
            time.sleep(0.2)  # into its piece
            os.kill(at_work[0], signal.SIGKILL)
            killed.append(at_work[0])
            return
        time.sleep(0.02)


def test_a_process_that_dies_midway_changes_no_byte(
    cluster: None,
    meshes: Path,
    captions: Path,
    tmp_path: Path,
    files_of: Callable[[Path], dict[str, bytes]],
) -> None:
    killed: list[int] = []

    def interrupted(pieces: Sequence[Piece]) -> Iterator[Done]:
        assert len(pieces) > 1
        killer = threading.Thread(target=kill_one_at_work, args=(killed,))
        killer.start()
        yield from ray_engine.run(pieces, ADDRESS)
        killer.join()

    options = Options(meshes, captions, POINTS)
    convert(options, tmp_path / "alone", in_this_process, False)
    convert(options, tmp_path / "cluster", interrupted, False)
    assert killed
    assert files_of(tmp_path / "cluster") == files_of(tmp_path / "alone")
    assert ray.is_initialized()


def test_a_file_that_kills_its_process_is_named_and_the_others_are_kept(
    cluster: None, pieces: list[Piece], meshes: Path
) -> None:
    good = pieces[0].jobs
    deadly: Any = Deadly(good[1].path)
    jobs = (good[0], Job("deadly", deadly, str(meshes), POINTS), good[2])
    ((_, content),) = ray_engine.run([Piece("p", jobs)], ADDRESS)
    (_, expected), *_ = in_this_process(pieces[:1])
    results, whole = (read_piece(io.BytesIO(c)) for c in (content, expected))
    assert [result.problem for result in results] == ["", DIED, ""]
    assert results[1].facts == {"source": Path(good[1].path).relative_to(meshes).as_posix()}
    assert results[0].xyz.tobytes() == whole[0].xyz.tobytes()


def test_stop_signals_stay_with_the_command(cluster: None) -> None:
    ray.shutdown()
    before = signal.getsignal(signal.SIGTERM)
    assert list(ray_engine.run([], ADDRESS)) == []
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379"])
def test_no_cluster_at_the_address(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"--ray[\s\S]*{address}[\s\S]*ray start"):
        list(ray_engine.run([], address))


def test_without_ray_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r"requirements-ray\.txt"):
        list(ray_engine.run([], ADDRESS))
