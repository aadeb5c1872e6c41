"""Run the steps of a Dockerfile in a clean virtual environment, for machines without docker.

    python3.11 docker/check_steps.py docker/Dockerfile.cpu /tmp/image

COPY copies this checkout's files (without those of .dockerignore) to /tmp/image/app, RUN python
runs in /tmp/image/venv, and at last ENTRYPOINT and CMD run in another folder. FROM and apt-get are
left out and printed: the Python that runs this file takes the place of the base image.
"""

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def steps(text: str) -> list[tuple[str, str]]:
    """Return (instruction, rest) of each instruction; a line that ends in a backslash goes on."""
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    return [
        (word, rest.strip())
        for line in lines
        if line and not line.startswith("#")
        for word, _, rest in [line.partition(" ")]
    ]


def left_out(rules: str) -> list[str]:
    """Return the patterns of .dockerignore, without comments."""
    lines = [line.strip() for line in rules.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def copy(sources: list[str], target: Path, patterns: list[str]) -> None:
    """Copy files or folders of the checkout, as COPY does."""

    def ignored(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(ROOT)
        whole = {name: (inside / name).as_posix() for name in names}
        return [
            name
            for name, path in whole.items()
            if any(
                fnmatch.fnmatch(name, p[3:]) if p.startswith("**/") else fnmatch.fnmatch(path, p)
                for p in patterns
            )
        ]

    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)


def run(dockerfile: Path, folder: Path) -> None:
    """Run all steps; a step that fails ends the check with its exit code.

    Args:
        dockerfile: its FROM is not pulled.
        folder: new; gets `app`, `venv` and `elsewhere`.
    """
    app, venv, elsewhere = (folder / name for name in ("app", "venv", "elsewhere"))
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    call([sys.executable, "-m", "venv", str(venv)], folder)
    patterns = left_out((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    command: list[str] = []
    for word, rest in steps(dockerfile.read_text(encoding="utf-8")):
        if word == "COPY":
            *sources, target = rest.split()
            copy(sources, app / target, patterns)
        elif word == "RUN" and rest.startswith("python "):
            call(["bash", "-ec", rest], app, venv)
        elif word in ("ENTRYPOINT", "CMD"):
            command += json.loads(rest)
        else:
            print(f"left out: {word} {rest}", flush=True)
    call(command, elsewhere, venv)


def call(command: list[str], folder: Path, venv: Path | None = None) -> None:
    """Run a command in a folder, with the commands of a virtual environment first."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if venv is not None:
        environ["PATH"] = f"{venv / 'bin'}{os.pathsep}{environ['PATH']}"
    print("+", *command, flush=True)
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environ)
    print(f"  exit code {done.returncode}, {time.monotonic() - start:.0f} s", flush=True)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    given = parser.parse_args()
    run(given.dockerfile, given.folder)
