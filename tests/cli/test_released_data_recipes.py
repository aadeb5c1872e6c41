"""Released data sets in an evaluation, as a user launches it: with and without a training split."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.datasets.sources import trees

pytestmark = pytest.mark.slow

# The tiny encoder reads colour: ModelNet40's text files have none.
COLOR = [
    f"datasets.modelnet40_classification.point_processor.{mode}.{key}"
    for mode in ("train", "eval")
    for key in ("num_points=64", "use_color=True", "missing_color=0.4")
]


def open_shape(root: Path) -> None:
    """Two test objects of ModelNet40 as OpenShape stores them."""
    folder = root / "openshape/meta_data/modelnet40"
    split = [{"name": "bathtub_0107", "category": "bathtub"}, {"name": "b_1", "category": "bed"}]
    trees.write(folder / "test_split.json", json.dumps(split))
    clouds = np.empty(2, dtype=object)
    clouds[:] = [{"xyz": trees.random_cloud(n), "rgb": np.full((64, 3), 100)} for n in range(2)]
    np.save(folder / "test_pc.npy", clouds, allow_pickle=True)


def config(folder: Path, kind: str, tiny_bert: str, encoder: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe: PointBLIP as it is drawn, on a type of ModelNet40."""
    return {
        "model": {
            "arch": "point_blip",
            "model_type": "bricks",
            "point_encoder": encoder,
            "point_encoder_weights": None,
            "qformer_bert": tiny_bert,
            "qformer_width": 48,
            "num_query_token": 4,
        },
        "datasets": {"modelnet40_classification": {"type": kind}},
        "run": {
            "task": "point_classification",
            "runner": "runner_point",
            "evaluate": True,
            "batch_size_eval": 2,
            "num_workers": 0,
            "num_threads": 1,
            "device": "cpu",
            "test_splits": ["test"],
            "output_dir": str(folder / "out"),
            "job_id": "job",
        },
    }


@pytest.mark.parametrize(
    ("kind", "write_tree", "has_baselines"),
    [("default", trees.modelnet40_text, True), ("openshape", open_shape, False)],
)
def test_zero_shot_classification_of_modelnet40(
    kind: str,
    write_tree: Callable[[Path], None],
    has_baselines: bool,
    tmp_path: Path,
    repo_root: Path,
    tiny_bert: str,
    tiny_encoder_cfg: dict,
) -> None:
    write_tree(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(config(tmp_path, kind, tiny_bert, tiny_encoder_cfg)))
    done = subprocess.run(
        [sys.executable, "evaluate.py", "--cfg-path", str(recipe), "--options", *COLOR],
        cwd=repo_root,
        env=os.environ | {"LAVIS_CACHE_ROOT": str(tmp_path / "data"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (path,) = (tmp_path / "out/job/result").glob("*_metrics.json")
    found = json.loads(path.read_text())["baselines"]
    assert found["chance"]["top_1"] == pytest.approx(1 / 40)
    assert ("most_frequent_class" in found) is has_baselines
