"""From a converted folder to a trained and evaluated model and its report, in one process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lavis  # noqa: F401  (registers everything)
from lavis.common.errors import CheckpointError, ConfigError, DataError
from lavis.config.run_config import RunConfig
from lavis.evaluation.report.__main__ import main as report
from lavis.evaluation.report.run_folder import load_run
from tests.datasets.sources.own_tree import own_folder
from train import run

pytestmark = pytest.mark.slow
RECIPES = "lavis/projects/own"
TINY = {"trans_dim": 24, "depth": 1, "num_heads": 2, "group_size": 8, "num_group": 16}
TASKS = {
    "retrieval": "stage1",
    "classification": "stage1",
    "captioning": "stage2_qa",
    "qa": "stage2_qa",
}
Launch = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def launch(folder: Path, repo_root: Path, tiny_bert: str, tiny_llama: str) -> Iterator[Launch]:
    """Return a function that runs a recipe with tiny models; it returns the output folder."""
    data, before = own_folder(folder / "mine"), os.getcwd()
    os.chdir(repo_root)

    def launched(recipe: str, *options: str) -> Path:
        is_evaluation = recipe.startswith("eval/")
        tiny = [f"model.point_encoder.{key}={value}" for key, value in TINY.items()]
        tiny += ["model.point_encoder.encoder_dims=16", "model.point_encoder.stem_dims=[8,16,16]"]
        tiny += ["model.point_encoder_weights=null", "model.freeze_point_encoder=false"]
        tiny += [f"model.qformer_bert={tiny_bert}", "model.num_query_token=4"]
        if "stage2" in recipe or recipe in ("eval/captioning", "eval/qa"):
            tiny += [f"model.llm={tiny_llama}", "model.draft_length=4"]
        tiny += [f"run.output_dir={folder / 'output'}", "run.batch_size_eval=4"]
        tiny += ["run.evaluate=true"] if is_evaluation else ["run.max_steps=2"]
        path = f"{RECIPES}/{recipe}.yaml"
        config = RunConfig.from_file(path, [*tiny, f"datasets.own.path={data}", *options])
        run(config, evaluate_only=is_evaluation, dry_run=False)
        return folder / "output"

    yield launched
    os.chdir(before)


def checkpoint(output: Path, job: str) -> str:
    return str(output / job / "checkpoint_last.pth")


@pytest.fixture(scope="module")
def output(launch: Launch) -> Path:
    """Both stages and the four evaluations."""
    small = ("run.batch_size_train=6", "run.warmup_steps=1", "run.log_freq=1")
    output = launch("train/stage1", *small)
    first = f"model.pretrained={checkpoint(output, 'stage1')}"
    launch("train/stage2", *small, first)
    second = f"model.pretrained={checkpoint(output, 'stage2')}"  # goes on from another stage 2
    launch("train/stage2_qa", *small, second)
    for task, stage in TASKS.items():
        launch(f"eval/{task}", f"model.finetuned={checkpoint(output, stage)}")
    return output


def test_every_result_has_baselines_and_the_version_of_the_folder(output: Path) -> None:
    results, notes = load_run(output)
    assert not notes
    for result in results:
        record = result.record
        assert record["data"]["name"] == "own/mine"
        assert record["data"]["version"] == "0123456789ab"
        assert record["n_scored"] == record["n_expected"] == 6
        assert record["baseline_pool"] == {"used": 12, "whole": 12}
        assert record["comparisons"], result.title


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("retrieval", {"chance", "tfidf_lookup", "lookup_and_forest"}),
        ("classification", {"chance", "most_frequent_class", "nearest_box", "nearest_chamfer"}),
        ("captioning", {"nearest_box", "nearest_histogram", "nearest_chamfer", "template"}),
        ("qa", {"most_frequent_answer", "blind_text_only", "nearest_chamfer", "answer_forest"}),
    ],
)
def test_baselines_that_need_no_text_of_bricks(output: Path, task: str, names: set[str]) -> None:
    record = json.loads((output / task / "result" / "test_metrics.json").read_text())
    found = set(record["baselines"])
    assert names <= found
    assert not [name for name in found if name.endswith("_own_size") or "rounded" in name]


def test_the_report_shows_the_clouds_of_the_folder(output: Path, capsys) -> None:
    assert report(["--run", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "Captioning" in printed
    assert "left out" not in printed
    assert "o16" in (output / "report.html").read_text()


def test_what_a_recipe_lacks_is_said_before_training(
    launch: Launch, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"datasets\.own\.path"):
        launch("train/stage1", "datasets.own_caption.build_info.path=null")
    other = own_folder(tmp_path / "plain", ("captions",))
    path = f"datasets.own_classification.build_info.path={other}"
    with pytest.raises(DataError, match="have no classes"):
        launch("eval/classification", path, "model.finetuned=null")
    with pytest.raises(CheckpointError, match=r"model\.pretrained"):
        launch("train/stage2", "model.pretrained=nowhere.pth")
