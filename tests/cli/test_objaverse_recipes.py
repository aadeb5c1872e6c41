"""The Objaverse recipes as their users launch them, on a tiny layout and tiny models by path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow

STAGE1 = "lavis/projects/blip2/train/pretrain_stage1_point_obja.yaml"
STAGE1_MISSPELT = "lavis/projects/blip2/train/pretrain_state1_point_obja.yaml"
STAGE2 = "lavis/projects/blip2/train/pretrain_stage2_point_obja.yaml"
FINE_TUNE = "lavis/projects/blip2/train/caption_objaverse_ft.yaml"
EVALUATE = "lavis/projects/blip2/eval/caption_objaverse_opt2.7b_eval.yaml"

UIDS = [f"{index:032x}" for index in range(24)]
LISTED, HELD_OUT = UIDS[:16], UIDS[16:]
SHAPES = ["a wooden chair", "a stone tower", "a red sports car", "a plate with fruit"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_cfg: dict) -> Path:
    """A cache root with 24 clouds of 256 points, and encoder weights."""
    import lavis  # noqa: F401  (registers the encoders)
    from lavis.models.point_encoders import build_point_encoder

    root = tmp_path_factory.mktemp("objaverse")
    rng = np.random.default_rng(0)
    for uid in UIDS:
        folder = root / "data/objaverse/objaverse_pc_parallel" / uid
        folder.mkdir(parents=True)
        cloud = rng.standard_normal((256, 3)).astype(np.float32)
        np.savez(folder / f"{uid}_8192.npz", cloud)
    captions = {uid: f"{SHAPES[i % 4]} number {i}" for i, uid in enumerate(UIDS)}
    for name in ("merged_data_new.json", "overal_description_merged.json"):
        (root / "data" / name).write_text(json.dumps(captions), encoding="utf-8")
    (root / "data/objaverse/common_ids.txt").write_text("\n".join(LISTED), encoding="utf-8")
    torch.manual_seed(0)
    encoder = build_point_encoder(tiny_encoder_cfg | {"point_dims": 3})
    torch.save(encoder.state_dict(), root / "point_bert_pretrained.pt")
    return root


@pytest.fixture(scope="module")
def tiny(workplace: Path, tiny_bert: str, tiny_encoder_cfg: dict) -> list[str]:
    """Options that make any of the recipes tiny."""
    encoder = {k: v for k, v in tiny_encoder_cfg.items() if k not in ("name", "point_dims")}
    sizes = [f"model.point_encoder.{key}={value}" for key, value in encoder.items()]
    return [
        *sizes,
        f"model.point_encoder_weights={workplace / 'point_bert_pretrained.pt'}",
        f"model.qformer_bert={tiny_bert}",
        "model.qformer_width=48",
        "model.num_query_token=4",
        "run.batch_size_train=4",
        "run.batch_size_eval=4",
        "run.num_workers=0",
        "run.warmup_steps=1",
        "run.device=cpu",
        "run.num_threads=1",
    ]


def points(builder: str) -> list[str]:
    """Options for 64 points a cloud."""
    keys = [
        f"datasets.{builder}.point_processor.{mode}.num_points=64" for mode in ("train", "eval")
    ]
    return keys


def launch(
    workplace: Path, repo_root: Path, recipe: str, options: list[str], script: str = "train.py"
) -> subprocess.CompletedProcess:
    """Run a recipe from the repository root, as a user does."""
    environment = os.environ | {
        "LAVIS_CACHE_ROOT": str(workplace / "data"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, script, "--cfg-path", recipe, "--options", *options]
    return subprocess.run(
        command, cwd=repo_root, env=environment, capture_output=True, text=True, timeout=120
    )


def fine(done: subprocess.CompletedProcess) -> str:
    """Return the log of a run that must have worked."""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def stage1(workplace: Path, repo_root: Path, tiny: list[str]) -> Path:
    """Stage 1 through its misspelt path; returns its job folder."""
    folder = workplace / "stage1"
    options = [
        *tiny,
        *points("objaverse_caption"),
        "model.pretrained=null",
        "model.embed_dim=16",
        "run.max_epoch=1",
        f"run.output_dir={folder}",
    ]
    fine(launch(workplace, repo_root, STAGE1_MISSPELT, options))
    return folder / "latest"


@pytest.fixture(scope="module")
def stage2(workplace: Path, repo_root: Path, tiny: list[str], tiny_opt: str, stage1: Path) -> Path:
    """Stage 2 from stage 1's checkpoint; returns its job folder."""
    folder = workplace / "stage2"
    options = [
        *tiny,
        *points("objaverse_caption"),
        *language_model(tiny_opt),
        f"model.pretrained={stage1 / 'checkpoint_last.pth'}",
        "run.max_epoch=1",
        f"run.output_dir={folder}",
    ]
    fine(launch(workplace, repo_root, STAGE2, options))
    return folder / "latest"


def language_model(folder: str) -> list[str]:
    """Options that replace OPT-2.7B."""
    return [f"model.llm={folder}", "model.llm_dtype=float32"]


def test_misspelt_path_is_the_same_recipe(repo_root: Path) -> None:
    link = repo_root / STAGE1_MISSPELT
    assert link.read_text(encoding="utf-8") == (repo_root / STAGE1).read_text(encoding="utf-8")


def test_stage1_trains_the_qformer_and_leaves_the_encoder_out(stage1: Path) -> None:
    state = torch.load(stage1 / "checkpoint_last.pth", weights_only=True)
    assert state["state"]["global_step"] == 4
    names = state["model"].keys()
    assert "pc_projection" in names
    assert any(name.startswith("qformer.") for name in names)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    frozen = [n for n in names if n.startswith("point_encoder.") and not n.endswith(buffers)]
    assert not frozen


def test_stage2_starts_from_stage1(stage1: Path, stage2: Path) -> None:
    before = torch.load(stage1 / "checkpoint_last.pth", weights_only=True)["model"]
    after = torch.load(stage2 / "checkpoint_last.pth", weights_only=True)["model"]
    assert "llm_proj.weight" in after
    assert "pc_projection" not in after, "the release freezes the projection in stage 2"
    shared = [name for name in after if name in before and "qformer.query_tokens" in name]
    assert shared
    for name in shared:  # four steps of 1e-4 away from stage 1, not at a fresh start
        assert 0 < (after[name] - before[name]).abs().max() < 1e-3


def test_captions_of_held_out_objects_are_written(
    workplace: Path, repo_root: Path, tiny: list[str], tiny_opt: str, stage1: Path, stage2: Path
) -> None:
    options = [
        *tiny,
        *points("objaverse_caption_tune"),
        *language_model(tiny_opt),
        f"model.pretrained={stage1 / 'checkpoint_last.pth'}",
        f"model.finetuned={stage2 / 'checkpoint_last.pth'}",
        "run.num_beams=2",
        f"run.output_dir={workplace / 'captions'}",
    ]
    fine(launch(workplace, repo_root, EVALUATE, options, script="evaluate.py"))
    result = workplace / "captions/latest/result"
    entries = json.loads((result / "test.json").read_text(encoding="utf-8"))
    assert [set(entry) for entry in entries] == [{"image_id", "2d_caption", "caption"}] * 8
    assert sorted(entry["image_id"] for entry in entries) == HELD_OUT
    references = {entry["image_id"]: entry["2d_caption"] for entry in entries}
    assert references[UIDS[18]] == "a sports car number 18"
    metrics = json.loads((result / "test_metrics.json").read_text(encoding="utf-8"))
    assert metrics["n_expected"] == metrics["n_scored"] == 8
    assert "nearest_in_own_embedding" in metrics["baselines"]


def test_fine_tuning_starts_from_both_stages(
    workplace: Path, repo_root: Path, tiny: list[str], tiny_opt: str, stage1: Path, stage2: Path
) -> None:
    options = [
        *tiny,
        *points("objaverse_caption_tune"),
        *language_model(tiny_opt),
        f"model.pretrained={stage1 / 'checkpoint_last.pth'}",
        f"model.finetuned={stage2 / 'checkpoint_last.pth'}",
        "run.max_epoch=1",
        f"run.output_dir={workplace / 'tuned'}",
    ]
    fine(launch(workplace, repo_root, FINE_TUNE, options))
    state = torch.load(workplace / "tuned/latest/checkpoint_last.pth", weights_only=True)
    assert state["state"]["global_step"] == 4


@pytest.mark.parametrize(
    ("recipe", "changes", "parts"),
    [
        (
            STAGE1,
            [
                "model.pretrained=null",
                "datasets.objaverse_caption.build_info.annotations.train.storage=nowhere.json",
            ],
            ["DataError", "build_info.annotations.train.storage", "nowhere.json", "Cap3D"],
        ),
        (
            STAGE1,
            ["model.pretrained=null", "model.point_encoder_weights=model/nowhere.pt"],
            ["CheckpointError", "model.point_encoder_weights", "model/nowhere.pt", "ULIP"],
        ),
        (
            STAGE2,
            ["model.pretrained=output/nowhere/checkpoint_last.pth"],
            ["CheckpointError", "model.pretrained", "output/nowhere", "run the stage before"],
        ),
        (
            STAGE2,
            ["model.pretrained=null", "model.llm=some/where"],
            ["CheckpointError", "model.llm", "some/where", "folder"],
        ),
    ],
    ids=["data", "encoder weights", "stage 1", "language model"],
)
def test_what_is_missing_ends_in_one_message(
    workplace: Path,
    repo_root: Path,
    tiny: list[str],
    tiny_opt: str,
    recipe: str,
    changes: list[str],
    parts: list[str],
) -> None:
    changed = {change.split("=")[0] for change in changes}
    language = language_model(tiny_opt) if recipe == STAGE2 else []
    options = [*tiny, *points("objaverse_caption"), *language, f"run.output_dir={workplace / 'no'}"]
    kept = [option for option in options if option.split("=")[0] not in changed]
    done = launch(workplace, repo_root, recipe, [*kept, *changes, "run.max_epoch=1"])
    log = done.stdout + done.stderr
    assert done.returncode == 2, log[-3000:]
    assert log.count("ERROR") == 1
    message = log[log.index("ERROR") :]
    assert "Traceback" not in log
    for part in parts:
        assert part in message
