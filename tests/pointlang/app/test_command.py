"""The command refuses in a sentence, and its requirements are whole."""

from __future__ import annotations

import importlib.metadata
import re
import socket
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pointlang.app.__main__ import check_address, main


@pytest.mark.usefixtures("gradio")
def test_a_busy_port_is_a_sentence_with_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    printed = capsys.readouterr().err
    assert "The port is in use." in printed
    assert f"--port {port + 1}" in printed
    check_address("127.0.0.1", port)  # free again


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 7860), ("127.0.0.1", 70_000)])
def test_an_address_of_another_machine(host: str, port: int) -> None:
    from lavis.common.errors import ConfigError

    with pytest.raises(ConfigError, match="cannot listen"):
        check_address(host, port)


def test_without_gradio_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "gradio", raising=False)
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setattr(sys, "path", [])
    assert main([]) == 2
    assert "pip install --no-deps -r requirements-app.txt" in capsys.readouterr().err


def pinned(path: Path) -> dict[str, str]:
    """Return {normalised name: version} of a file of requirements."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [line.split("==") for line in lines if line and not line.startswith("-r")]
    return {_normal(name): version for name, version in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.usefixtures("gradio")
def test_the_pinned_packages_need_nothing_else(repo_root: Path) -> None:
    wrong = []
    for name, version in pinned(repo_root / "requirements-app.txt").items():
        assert importlib.metadata.version(name) == version
        for line in importlib.metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            installed = importlib.metadata.version(need.name)
            if not need.specifier.contains(installed, prereleases=True):
                wrong.append((name, need.name))
    assert wrong == [("gradio", "pillow")]  # why they are installed with --no-deps
