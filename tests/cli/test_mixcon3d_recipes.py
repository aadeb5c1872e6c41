"""MixCon3D's recipes on a few real parts: train, evaluate raw and averaged weights, refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from lavis.datasets.download_scripts.bricks_split import read_frozen
from lavis.models.teachers import SentenceTeacher

PARTS = 160
RECIPES = "lavis/projects/mixcon3d"
ENCODER = {
    "trans_dim": 24,
    "depth": 1,
    "num_heads": 2,
    "group_size": 8,
    "num_group": 16,
    "encoder_dims": 16,
    "stem_dims": "[8,16,16]",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mixcon3d")


@pytest.fixture(scope="module")
def views(folder, tiny_bert):
    """Embeddings of two views of every part, in the tiny teacher's space."""
    ids = sorted(read_frozen())
    embeds = torch.randn(len(ids), 2, 32, generator=torch.Generator().manual_seed(0))
    facts = {"ids": json.dumps(ids), "space": SentenceTeacher(tiny_bert).space}
    save_file({"image_embeds": embeds}, folder / "views.safetensors", facts)
    return folder / "views.safetensors"


@pytest.fixture(scope="module")
def launch(repo_root, folder, views, tiny_bert):
    """Return a function (script, recipe, data sets, *options, embeds) -> what it printed."""

    def run(script, recipe, datasets, *options, embeds=views):
        command = [sys.executable, script, "--cfg-path", f"{RECIPES}/{recipe}.yaml", "--options"]
        command += [f"model.point_encoder.{key}={value}" for key, value in ENCODER.items()]
        command += [f"model.text_teacher={tiny_bert}", "model.embed_dim=32"]
        command += [f"run.output_dir={folder / 'output'}"]
        for name in datasets:
            info = f"datasets.{name}.build_info"
            command += [f"{info}.points.num_objects={PARTS}", f"{info}.points.num_points=128"]
            command += [f"{info}.limit.dev_test=11", f"{info}.image_embeds={embeds}"]
        environment = {"LAVIS_CACHE_ROOT": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [*command, *options],
            cwd=repo_root,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture(scope="module")
def trained(launch, folder):
    """Checkpoint of two steps."""
    few = ("run.max_steps=2", "run.warmup_steps=1", "run.batch_size_train=8")
    done = launch("train.py", "train/bricks", ["bricks_caption"], *few)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "output" / "bricks" / "checkpoint_last.pth"


def metrics(folder, job):
    found = (folder / "output" / job / "result").glob("*_metrics.json")
    return {path.stem.removesuffix("_metrics"): json.loads(path.read_text()) for path in found}


@pytest.mark.slow
def test_a_trained_model_is_scored_by_every_query_raw_and_averaged(launch, folder, trained):
    datasets = ["bricks_classification", "bricks_retrieval"]
    last = f"run.resume_ckpt_path={trained}"
    done = launch("evaluate.py", "eval/bricks", datasets, last)
    assert done.returncode == 0, done.stderr[-3000:]
    found = metrics(folder, "bricks_eval")
    names = {
        f"{kind}_{query}"
        for kind in ("zero_shot", "prompted")
        for query in ("point", "image", "merged", "joint")
    }
    assert set(found) == {
        f"{name}{s}" for name in (*names, "pairs", "retrieval") for s in ("", "_ema")
    }
    assert {found[name]["extra"].get("query", "point") for name in names} == {
        "point",
        "image",
        "merged",
        "joint",
    }
    assert found["zero_shot_joint"]["extra"]["protocol"] == "zero_shot"
    assert found["prompted_joint"]["extra"]["protocol"] == "prompted"
    assert len(found["pairs"]["extra"]["modalities"]) == 4
    assert found["pairs"]["n_scored"] == 11
    assert found["pairs"]["checkpoint_hash"] is not None


@pytest.mark.slow
def test_the_image_teacher_alone_needs_no_checkpoint(launch, folder):
    done = launch("evaluate.py", "eval/bricks_conse", ["bricks_classification", "bricks_retrieval"])
    assert done.returncode == 0, done.stderr[-3000:]
    found = metrics(folder, "bricks_conse")
    assert set(found) == {"zero_shot_image", "prompted_image", "pairs"}
    assert found["pairs"]["extra"]["modalities"] == ["image", "text"]


@pytest.mark.slow
def test_views_in_another_space_end_with_one_message(launch, folder, views):
    other = folder / "other.safetensors"
    facts = {"ids": json.dumps(sorted(read_frozen())), "space": "openclip/ViT-bigG-14"}
    save_file({"image_embeds": torch.zeros(len(read_frozen()), 1, 32)}, other, facts)
    options = (["bricks_caption"], "run.job_id=refused")
    done = launch("train.py", "train/bricks", *options, embeds=other)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in ("model.text_teacher", "bricks_caption.build_info.image_embeds", "ViT-bigG-14"):
        assert part in done.stderr
    assert not (folder / "output" / "refused" / "log.jsonl").exists()
