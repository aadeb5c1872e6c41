"""The editable install, and Dockerfiles that install as the Makefile does."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

FLAGS = ("--no-cache-dir", "--disable-pip-version-check")


def pip_steps(text: str) -> list[str]:
    """Return the arguments of every `pip install -r` and `-e`, without flags of presentation."""
    found = re.findall(r"-m pip install (.+)", text)
    steps = [" ".join(word for word in line.split() if word not in FLAGS) for line in found]
    return [step for step in steps if "-r " in step or "-e " in step]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_install_what_make_setup_installs(repo_root: Path, kind: str) -> None:
    makefile = (repo_root / "Makefile").read_text(encoding="utf-8")
    make = pip_steps(makefile.split("$(VENV)/.installed: requirements")[1].split("\n\n")[0])
    docker = pip_steps((repo_root / f"docker/Dockerfile.{kind}").read_text(encoding="utf-8"))
    without_tests = [step.replace(" -r requirements-dev.txt", "") for step in make]
    assert docker == [*without_tests, "--no-deps -e ."]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_have_known_instructions_and_existing_sources(
    repo_root: Path, kind: str
) -> None:
    text = (repo_root / f"docker/Dockerfile.{kind}").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    words = [line.split()[0] for line in lines]
    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    for line in lines:
        if line.startswith("COPY"):
            assert all((repo_root / source).exists() for source in line.split()[1:-1])


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_follow_the_rules_of_linters(repo_root: Path, kind: str) -> None:
    lines = (repo_root / f"docker/Dockerfile.{kind}").read_text(encoding="utf-8").splitlines()
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert re.fullmatch(r"python:\d+\.\d+(\.\d+)?-slim", base)  # a version, not "latest"
    for line in (line for line in lines if line.startswith("RUN")):
        if "apt-get" in line:
            assert "apt-get update && apt-get install -y --no-install-recommends" in line
            assert line.endswith("rm -rf /var/lib/apt/lists/*")  # in the layer that filled it
        else:
            assert "pip install --no-cache-dir" in line
    for word in ("ENTRYPOINT", "CMD"):  # as lists: signals reach the process, not a shell
        (given,) = [line for line in lines if line.startswith(word)]
        assert json.loads(given.removeprefix(word))
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    assert copied[-1] == ["."]  # requirements before it, so that code does not end their cache
    ignored = (repo_root / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "output", "data"} <= set(ignored)


def test_the_cpu_image_has_the_pinned_torch(repo_root: Path) -> None:
    text = (repo_root / "docker/Dockerfile.cpu").read_text(encoding="utf-8")
    pinned = re.search(r"^torch==(\S+)$", (repo_root / "requirements.txt").read_text(), re.M)
    assert pinned is not None
    assert f'"torch=={pinned[1]}+cpu"' in text


@pytest.mark.slow
def test_steps_of_a_dockerfile_are_run_in_their_order_without_docker(
    repo_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        "# a comment\nFROM python:3.11-slim\nRUN apt-get update\nCOPY pyproject.toml LICENSE ./\n"
        "RUN python -c 'import os, sys; print(sorted(os.listdir()), sys.prefix)'\n"
        'COPY docker docker\nENTRYPOINT ["python"]\nCMD ["-c", \\\n  "print(6 * 7)"]\n'
    )
    check = runpy.run_path(str(repo_root / "docker/check_steps.py"))
    check["run"](dockerfile, tmp_path / "image")
    assert (tmp_path / "image/app/docker/Dockerfile.cpu").is_file()
    printed = capfd.readouterr().out
    listed, answer = printed.index("['LICENSE', 'pyproject.toml']"), printed.index("42")
    assert printed.index("left out: RUN apt-get update") < listed < answer
    assert str(tmp_path / "image/venv") in printed  # not this environment
    with pytest.raises(SystemExit) as stopped:
        check["call"]([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
    assert stopped.value.code == 3


def test_what_dockerignore_names_is_not_copied(repo_root: Path, tmp_path: Path) -> None:
    check = runpy.run_path(str(repo_root / "docker/check_steps.py"))
    patterns = check["left_out"]("# why\nbenchmarks/results\n**/__pycache__\n**/*.json\n")
    assert patterns == ["benchmarks/results", "**/__pycache__", "**/*.json"]
    check["copy"](["benchmarks"], tmp_path / "app", patterns)
    found = {path.relative_to(tmp_path / "app").as_posix() for path in tmp_path.rglob("*.*")}
    assert "record.py" in found
    assert "faults/compare.py" in found
    assert not [name for name in found if name.startswith("results") or "__pycache__" in name]


def test_the_editable_wheel_links_and_brings_the_command(repo_root: Path, tmp_path: Path) -> None:
    backend = runpy.run_path(str(repo_root / "lavis/_build.py"))
    wheel = tmp_path / backend["build_editable"](tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    (link,) = [text for name, text in files.items() if name.endswith(".pth")]
    assert repr(str(repo_root)) in link
    points = next(text for name, text in files.items() if name.endswith("entry_points.txt"))
    assert "pointlang = pointlang.__main__:main" in points
    described = next(text for name, text in files.items() if name.endswith("METADATA"))
    assert "Requires-Dist: torch==" in described
    assert "salesforce-lavis" not in described  # its pins exclude a modern transformers
    assert not [name for name in files if name.startswith("lavis/")]


@pytest.mark.parametrize("build", ["build_wheel", "build_sdist"])
def test_other_builds_name_the_editable_install(
    repo_root: Path, tmp_path: Path, build: str
) -> None:
    backend = runpy.run_path(str(repo_root / "lavis/_build.py"))
    with pytest.raises(SystemExit, match=r"pip install -e \."):
        backend[build](tmp_path)


def test_help_does_not_import_torch(repo_root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pointlang.__main__ import main; main(['--help']); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "predict" in done.stdout
    assert done.stdout.endswith("False\n")
