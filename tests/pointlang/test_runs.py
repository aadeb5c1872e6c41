"""Trained systems are found by name, run folder or folder of runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lavis.common.errors import ConfigError
from pointlang.runs import find_runs, load, run_of, systems


def write_run(folder: Path, arch: str, time: int, pretrained: str | None = None) -> Path:
    """Write a run folder with an empty checkpoint."""
    folder.mkdir(parents=True)
    start = "null" if pretrained is None else pretrained
    text = f"model: {{arch: {arch}, pretrained: {start}}}\n"
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    checkpoint = folder / "checkpoint_last.pth"
    checkpoint.write_bytes(b"")
    os.utime(checkpoint, (time, time))
    return folder


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The runs of `make demo`, in a folder that was copied from elsewhere."""
    demo = tmp_path / "output" / "demo"
    write_run(demo / "stage1", "point_blip", 1)
    write_run(demo / "draft", "point_blip_llm", 2, "output/demo/stage1/checkpoint_last.pth")
    write_run(demo / "stage2", "point_blip_llm", 3, "output/demo/draft/checkpoint_last.pth")
    (demo / "scores").mkdir()
    (demo / "scores" / "config.yaml").write_text("model: {arch: point_blip}\n", encoding="utf-8")
    (demo / "latest").symlink_to("stage2")
    return demo


def test_the_newest_run_first_and_no_start_of_the_same_model(demo: Path) -> None:
    assert [run.folder.name for run in find_runs(demo)] == ["stage2", "stage1"]


def test_a_system_has_the_abilities_of_its_runs(demo: Path) -> None:
    assert load(demo, "cpu").abilities == ("caption", "ask", "classify", "embed", "retrieve")
    assert load(demo / "stage1", "cpu").abilities == ("caption", "classify", "embed", "retrieve")
    found = systems(demo.parent)
    assert found == {"demo": load(demo, "cpu").abilities}


def test_the_start_of_a_copied_run_is_its_sibling(demo: Path) -> None:
    run = run_of(demo / "stage2")
    assert run is not None
    assert run.start() == (demo / "draft" / "checkpoint_last.pth").resolve()


def test_what_is_no_system_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No trained system 'no-such-name'"):
        load("no-such-name")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="make demo"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="not registered here"):
        load(write_run(tmp_path / "other", "someone_elses", 1))


def test_an_absent_device_is_a_sentence(demo: Path) -> None:
    with pytest.raises(ConfigError, match="device cannot be used"):
        load(demo, "cuda:99")
