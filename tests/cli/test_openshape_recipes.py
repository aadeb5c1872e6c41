"""MixCon3D's recipes on OpenShape's data: a step and every evaluation on a small tree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lavis.common.registry import registry

import lavis  # noqa: F401  (registers everything)
from lavis.config.run_config import RunConfig
from lavis.datasets.class_names import MODELNET40, SCANOBJECTNN
from tests.datasets.sources.trees import lvis_openshape, random_cloud, write, write_record
from train import run

pytestmark = pytest.mark.slow
META = "openshape/meta_data"
TINY = (
    *("model.embed_dim=8", "model.point_encoder.out_dim=8", "model.point_encoder.scaling=1"),
    *("run.max_steps=1", "run.batch_size_train=1", "run.batch_size_eval=2", "run.max_epoch=1"),
    *("run.num_workers=0", "run.sync_batchnorm=False", "run.warmup_steps=0"),
)


def class_features(path: Path, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    rows = {name: {"open_clip_text_feat": rng.normal(size=(1, 8))} for name in names}
    write_record(path, rows)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> Path:
    """OpenShape's files with features of width 8 and clouds of 64 points."""
    root = tmp_path / "data"
    lvis_openshape(root)
    meta = root / META
    listed = [{"name": f"{name}_0001", "category": name} for name in ("airplane", "night_stand")]
    write(meta / "modelnet40/test_split.json", json.dumps(listed))
    clouds = [{"xyz": random_cloud(n), "rgb": np.full((64, 3), 100)} for n in range(2)]
    array = np.empty(2, dtype=object)
    array[:] = clouds
    np.save(meta / "modelnet40/test_pc.npy", array, allow_pickle=True)
    class_features(meta / "modelnet40/cat_name_pt_feat.npy", MODELNET40)
    scans = {"xyz": [random_cloud(n) for n in range(2)], "label": np.array([3, 14])}
    write_record(meta / "scanobjectnn/xyz_label.npy", scans)
    class_features(meta / "scanobjectnn/cat_name_pt_feat.npy", SCANOBJECTNN)
    monkeypatch.setitem(registry.mapping["paths"], "cache_root", str(root))
    monkeypatch.chdir(repo_root)
    return root


def launched(recipe: str, out: Path, *options: str) -> dict[str, dict]:
    path = f"lavis/projects/mixcon3d/train/{recipe}.yaml"
    config = RunConfig.from_file(path, [*TINY, f"run.output_dir={out}", *options])
    run(config, evaluate_only=False, dry_run=False)
    found = out.glob(f"{recipe}/result/*_metrics.json")
    return {file.stem.removesuffix("_metrics"): json.loads(file.read_text()) for file in found}


def test_the_accumulated_recipe_trains_and_scores_every_evaluation(data: Path, tmp_path) -> None:
    launched("openshape_accumulated", tmp_path / "out")
    text = (tmp_path / "out/openshape_accumulated/log.jsonl").read_text()
    for name in ("lvis_point", "lvis_image", "lvis_merged", "lvis_joint", "modelnet40"):
        assert name in text
        assert f"{name}_ema" in text
    assert "scanobjectnn" in text


@pytest.mark.parametrize("recipe", ["openshape", "openshape_no_lvis", "openshape_shapenet"])
def test_the_other_recipes_read_their_lists(data: Path, tmp_path: Path, recipe: str) -> None:
    one = ("run.accum_grad_iters=1", "run.accumulate=gradients")
    names = ("point", "image", "merged", "joint")
    without = [f"run.evaluations.lvis_{name}=null" for name in names]
    without += ["run.evaluations.modelnet40=null", "run.evaluations.scanobjectnn=null"]
    launched(recipe, tmp_path / "out", *one, *without)
    assert (tmp_path / f"out/{recipe}/checkpoint_last.pth").is_file()
