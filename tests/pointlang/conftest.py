"""A system of two small models, and files to ask it about."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lavis.config.run_config import RunConfig
from lavis.models.abilities import Answerer, Captioner, JointEmbedder
from lavis.processors.point_processors import PointProcessor
from lavis.processors.point_transforms import Resample
from pointlang.system import Member, System


class Writer(nn.Module):
    """Writes the number of points and of known sizes of each cloud."""

    abilities = (Captioner, Answerer)

    def generate(self, samples: Mapping[str, Any], **decoding: Any) -> list[str]:
        known = samples["box_size"].isfinite().all(-1)
        return [f"{len(c)} points, size {bool(k)}" for c, k in zip(samples["point_cloud"], known)]

    def answer(self, samples: Mapping[str, Any], **decoding: Any) -> list[str]:
        return [f"[{question}]" for question in samples["question"]]


class Joint(nn.Module):
    """Embeds a cloud by its mean height and colour, "red" and "green" by theirs."""

    abilities = (JointEmbedder,)
    modalities = ("point", "text")

    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        return nn.functional.normalize(samples["point_cloud"][..., 3:].mean(1), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        rows = [[float("red" in t), float("green" in t), float("blue" in t)] for t in texts]
        return nn.functional.normalize(torch.tensor(rows) + 1e-3, dim=-1)


def member(kind: type[nn.Module]) -> Member:
    """Return a member with a model of a class."""
    return Member(
        kind.__name__.lower(), kind, lambda: (kind(), PointProcessor([Resample(32, "first")]), {})
    )


@pytest.fixture
def system() -> System:
    """A system that writes and embeds."""
    return System("toy", [member(Writer), member(Joint)], torch.device("cpu"))


@pytest.fixture
def writer() -> System:
    """A system that only writes."""
    return System("writer", [member(Writer)], torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """Runs `stage1` and `stage2` of the demo's recipes with the tiny committed checkpoints."""
    golden = runpy.run_path(str(repo_root / "tests/golden/record.py"))
    folder = tmp_path_factory.mktemp("tiny runs")
    own = {"stage1": golden["QFORMER"], "stage2": (*golden["STAGE2"], *golden["SHORT"])}
    for name, options in own.items():
        tiny = [*options, *golden["TINY_ENCODER"], golden["NO_WEIGHTS"], "model.pretrained=null"]
        recipe = repo_root / golden["BRICKS"] / "train" / f"demo_{name}.yaml"
        config = RunConfig.from_file(recipe, tiny)
        (folder / name).mkdir()
        config.save(folder / name / "config.yaml")
        shutil.copy(golden["MODELS"] / f"{name}.pth", folder / name / "checkpoint_last.pth")
    return folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a red and a green cloud, a cloud without colour, and a text that is no cloud."""
    folder = tmp_path_factory.mktemp("own files")
    rng = np.random.default_rng(0)
    for name, color in (("red", (1, 0, 0)), ("green", (0, 1, 0))):
        xyz = rng.random((200, 3))
        np.save(folder / f"{name}.npy", np.concatenate([xyz, np.tile(color, (200, 1))], 1))
    np.save(folder / "grey.npy", rng.random((50, 3)))
    (folder / "broken.ply").write_bytes(b"ply\nformat ascii 1.0\nthis is not a header\n")
    (folder / "notes.md").write_text("no cloud", encoding="utf-8")
    return folder
