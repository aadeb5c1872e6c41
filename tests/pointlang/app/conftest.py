"""Tiny trained systems, objects to pick, and the demo as a user starts it, in a real browser."""

from __future__ import annotations

import functools
import importlib
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.1, 0.9)}
REQUIRED = "APP_TESTS_REQUIRED"  # set by `make test-app`: what is missing fails
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing(fix: str) -> None:
    """Skip the test that needs what `fix` installs; fail it under `make test-app`."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"missing: {fix}", pytrace=False)
    pytest.skip(fix)


def needed(module: str, requirements: str) -> Any:
    """Return a module of an optional requirements file; see `missing`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return missing(f"pip install {requirements}")


@pytest.fixture(scope="session")
def gradio() -> Any:
    """The package of the page."""
    return needed("gradio", "--no-deps -r requirements-app.txt")


def write_box(path: Path, seed: int, color: tuple[float, ...], edges: tuple[float, ...]) -> Path:
    """Write the surface of a box as a cloud of 1,200 points."""
    rng = np.random.default_rng(seed)
    xyz = rng.random((1200, 3))
    xyz[np.arange(1200), rng.integers(0, 3, 1200)] = rng.integers(0, 2, 1200)
    np.save(path, np.concatenate([xyz * edges, np.tile(color, (1200, 1))], axis=1))
    return path


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a red, a green and a blue box of different shapes, and a damaged mesh."""
    folder = tmp_path_factory.mktemp("objects")
    for seed, (name, color) in enumerate(COLORS.items()):
        write_box(folder / f"{name}.npy", seed, color, (1.0, 0.3 + seed, 0.5))
    (folder / "broken.ply").write_bytes(b"ply\nformat ascii 1.0\n<b>no header</b>\n")
    return folder


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud in metres."""
    folder = tmp_path_factory.mktemp("room")
    return write_box(folder / "my room.npy", 9, (0.5, 0.5, 0.5), (4.0, 2.5, 3.0))


@pytest.fixture(scope="session")
def golden(repo_root: Path) -> SimpleNamespace:
    """The options of the tiny committed checkpoints (tests/golden/record.py)."""
    return SimpleNamespace(**runpy.run_path(str(repo_root / "tests/golden/record.py")))


@pytest.fixture(scope="session")
def root(golden: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of systems: `tiny` (two committed checkpoints), and `rooms` of random weights."""
    from lavis.common.registry import registry

    from lavis.config.run_config import RunConfig

    root = tmp_path_factory.mktemp("output")
    bricks = "lavis/projects/bricks/eval"
    recipes = {
        "stage1": (f"{bricks}/retrieval.yaml", golden.QFORMER),
        "stage2": (f"{bricks}/demo_captioning.yaml", (*golden.STAGE2, *golden.SHORT)),
    }
    tiny = [*golden.TINY_ENCODER, golden.NO_WEIGHTS, "model.pretrained=null"]
    for name, (recipe, options) in recipes.items():
        folder = root / "tiny" / name
        folder.mkdir(parents=True)
        RunConfig.from_file(recipe, [*options, *tiny]).save(folder / "config.yaml")
        shutil.copy(golden.MODELS / f"{name}.pth", folder / "checkpoint_last.pth")
    encoder = "{name: sparse_unet, point_dims: 6, voxel_size: 0.2, widths: [8, 12, 16]}"
    options = ["model.pretrained=null", f"model.text_teacher={golden.MODELS / 'bert'}"]
    options += ["model.embed_dim=32", "model.query_heads=2", "model.labels=[wall,chair]"]
    recipe = "lavis/projects/text4point/train/rooms_segmentation.yaml"
    config = RunConfig.from_file(recipe, [*options, f"model.point_encoder={encoder}"])
    torch.manual_seed(0)
    model = registry.get_model_class(config.model_cfg.arch).from_config(config.model_cfg)
    folder = root / "rooms" / "segmentation"
    folder.mkdir(parents=True)
    config.save(folder / "config.yaml")
    saved = {"model": model.state_dict(), "space": model.space}
    torch.save(saved, folder / "checkpoint_last.pth")
    return root


WAIT = 240  # seconds for an answer: a machine that trains beside the tests is slow


@dataclass(frozen=True)
class Server:
    """The demo in a process of its own.

    Attributes:
        url: of the page.
        port: of that.
        log: what the process printed.
    """

    url: str
    port: int
    log: Path


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="session")
def server(
    gradio: Any,
    root: Path,
    objects: Path,
    repo_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The demo of the tiny systems; uploads may have 1 MB."""
    log, port = tmp_path_factory.mktemp("server") / "log.txt", free_port()
    command = [sys.executable, "-m", "pointlang.app", "--root", str(root), "--port", str(port)]
    command += ["--objects", str(objects), "--max-megabytes", "1", "--device", "cpu"]
    with log.open("wb") as printed:
        process = subprocess.Popen(command, cwd=repo_root, stdout=printed, stderr=printed)
    try:
        yield Server(wait_for(f"http://127.0.0.1:{port}/", process, log), port, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address when it answers."""
    deadline = time.monotonic() + WAIT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return url
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the demo did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def launch() -> Iterator[Any]:
    """Return a function that starts a headless browser with further flags."""
    sync_api = needed("playwright.sync_api", "-r requirements-app-test.txt")
    found = [path for name in CHROMIUM if (path := shutil.which(name))]
    if not found:
        missing("apt-get install chromium")
    with sync_api.sync_playwright() as playwright:

        @functools.cache
        def start(*flags: str) -> Any:
            options = ["--no-sandbox", *flags]
            return playwright.chromium.launch(executable_path=found[0], args=options)

        yield start


@pytest.fixture
def requested() -> list[str]:
    """The addresses that the test's pages asked for."""
    return []


@pytest.fixture
def open_page(launch: Any, server: Server, requested: list[str]) -> Iterator[Any]:
    """Return a function that opens the demo as a user of its own; no other host may be asked."""
    contexts = []

    def opened(*flags: str) -> Any:
        context = launch(*flags).new_context(viewport={"width": 1280, "height": 1100})
        context.set_default_timeout(WAIT * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.goto(server.url)
        page.get_by_text("It can: ").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    own = (server.url, "data:", "blob:")
    assert [url for url in requested if not url.startswith(own)] == []
