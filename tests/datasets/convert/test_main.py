"""The command: help with examples, a summary, exit codes, and a kill midway."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lavis.datasets.convert.__main__ import main


def test_help_has_commands_to_copy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert (
        "python -m lavis.datasets.convert my_meshes/ --captions captions.csv --out data/mine"
        in text
    )


def test_a_conversion_prints_what_it_did(
    meshes: Path, captions: Path, tmp_path: Path, capsys
) -> None:
    given = ["--captions", str(captions), "--out", str(tmp_path / "out"), "--num-points", "64"]
    code = main([str(meshes), *given, "--workers", "2", "--quiet"])
    text = capsys.readouterr().out
    assert code == 0
    assert "25 objects" in text
    assert "check: up axis by file format" in text
    assert str(tmp_path / "out") in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captions", "no.csv"], "no.csv"),
        (["--columns", "captoin=text"], "Did you mean 'caption'"),
        (["--num-points", "0"], "--num-points"),
    ],
)
def test_errors_are_one_message_and_exit_1(
    meshes: Path, captions: Path, tmp_path: Path, capsys, arguments, message
) -> None:
    table = [] if "--captions" in arguments else ["--captions", str(captions)]
    assert main([str(meshes), "--out", str(tmp_path / "out"), *table, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_command_goes_on_to_the_same_bytes(
    meshes: Path, captions: Path, run, files_of, repo_root: Path, tmp_path: Path, signum: int
) -> None:
    expected, out = files_of(run(meshes, captions)), tmp_path / "killed"
    command = [sys.executable, "-m", "lavis.datasets.convert", str(meshes), "--out", str(out)]
    command += ["--captions", str(captions), "--num-points", "64", "--workers", "2", "--quiet"]
    with subprocess.Popen(command, cwd=repo_root, stderr=subprocess.PIPE) as process:
        work = tmp_path / ".killed.partial"
        try:
            while not list(work.glob("*.npz")) and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signum)
            process.wait(60)
        finally:
            process.kill()  # a command that hangs must not keep the tests
    assert process.returncode in (128 + signum, -signum, 0)
    deadline = time.monotonic() + 20
    while still_running(str(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert still_running(str(out)) == []
    assert main(command[3:]) == 0
    assert files_of(out) == expected


def still_running(argument: str) -> list[str]:
    """Return the ids of processes that have an argument: forked ones keep their parent's."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            found += [name] if argument.encode() in line else []
    return found
