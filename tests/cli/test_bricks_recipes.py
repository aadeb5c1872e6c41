"""The README's launches on a few real parts: both stages, four evaluations, 1 and 2 processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = "lavis/projects/bricks"
PARTS = 160
ENCODER = {
    "trans_dim": 24,
    "depth": 1,
    "num_heads": 2,
    "group_size": 8,
    "num_group": 16,
    "encoder_dims": 16,
    "stem_dims": "[8,16,16]",
}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Launcher:
    """Runs train.py and evaluate.py from the root on a cache and an output folder of its own."""

    def __init__(self, root: Path, folder: Path, bert: str, llm: str) -> None:
        self.root, self.output = root, folder / "output"
        self.environment = os.environ | {
            "LAVIS_CACHE_ROOT": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.sizes = [f"model.point_encoder.{key}={value}" for key, value in ENCODER.items()]
        self.sizes += [f"model.qformer_bert={bert}", "model.num_query_token=4"]
        self.sizes += ["model.point_encoder_weights=null", "model.freeze_point_encoder=false"]
        self.llm = [f"model.llm={llm}", "model.draft_length=4"]
        self.folder = folder

    def run(
        self, script: str, recipe: str, dataset: str, *options: str, processes: int = 1
    ) -> subprocess.CompletedProcess:
        """Launch a recipe and return what it printed."""
        launch = [sys.executable]
        if processes > 1:
            launch += ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
            launch += [f"--master_port={free_port()}"]
        command = [*launch, script, "--cfg-path", f"{RECIPES}/{recipe}.yaml", "--options"]
        command += [*self.sizes, f"run.output_dir={self.output}"]
        info = f"datasets.{dataset}.build_info.points"
        command += [f"{info}.num_objects={PARTS}", f"{info}.num_points=128"]
        command += [*options]
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def result(self, job: str, name: str = "dev_test_metrics") -> dict | list:
        """Read a result file of a job."""
        return json.loads((self.output / job / "result" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def launcher(tmp_path_factory, repo_root, tiny_bert, tiny_llama) -> Launcher:
    return Launcher(repo_root, tmp_path_factory.mktemp("bricks"), tiny_bert, tiny_llama)


@pytest.fixture(scope="module")
def stage1(launcher) -> str:
    """Checkpoint of a few steps of stage 1."""
    done = launcher.run(
        *("train.py", "train/demo_stage1", "bricks_caption"),
        *("run.max_steps=3", "run.warmup_steps=1", "run.batch_size_train=16"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return str(launcher.output / "stage1" / "checkpoint_last.pth")


@pytest.fixture(scope="module")
def stage2(launcher, stage1) -> str:
    """Checkpoint of a few steps of both parts of stage 2, on captions and questions."""
    info = "datasets.bricks_qa.build_info.points"
    few = ("run.warmup_steps=1", "run.batch_size_train=8", "run.max_steps=4")
    few += (f"{info}.num_objects={PARTS}", f"{info}.num_points=128", *launcher.llm)
    done = launcher.run(
        *("train.py", "train/demo_stage2_draft", "bricks_caption", *few),
        f"model.pretrained={stage1}",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    draft = launcher.output / "stage2_draft" / "checkpoint_last.pth"
    done = launcher.run(
        *("train.py", "train/demo_stage2", "bricks_caption", *few),
        f"model.pretrained={draft}",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return str(launcher.output / "stage2" / "checkpoint_last.pth")


def evaluate(launcher, name, dataset, stage1, stage2, processes=1, job=None):
    job = job or f"{name}-{processes}"
    if name in ("retrieval", "classification"):
        weights = [f"model.finetuned={stage1}"]
    else:
        weights = [f"model.pretrained={stage1}", f"model.finetuned={stage2}", *launcher.llm]
    options = ["run.batch_size_eval=3", f"run.job_id={job}", *weights]
    options += [f"datasets.{dataset}.build_info.limit.dev_test=11"]
    done = launcher.run("evaluate.py", f"eval/demo_{name}", dataset, *options, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return launcher.result(job), launcher.result(job, "dev_test")


TASKS = {
    "retrieval": "bricks_retrieval",
    "classification": "bricks_classification",
    "captioning": "bricks_caption",
    "qa": "bricks_qa",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TASKS))
def test_one_and_two_processes_score_the_same(launcher, stage1, stage2, name):
    alone, predictions = evaluate(launcher, name, TASKS[name], stage1, stage2)
    pair, other = evaluate(launcher, name, TASKS[name], stage1, stage2, processes=2)
    assert alone["n_scored"] == alone["n_expected"] == len(predictions) == len(other) == 11
    assert pair["n_scored"] == pair["n_expected"] == 11
    assert alone["metrics"].keys() == pair["metrics"].keys()
    for metric, entry in alone["metrics"].items():
        assert entry["value"] == pytest.approx(pair["metrics"][metric]["value"], abs=1e-6), metric
    assert alone["baselines"]
    assert alone["checkpoint_hash"] == pair["checkpoint_hash"] is not None


@pytest.mark.slow
def test_two_processes_train(launcher):
    done = launcher.run(
        *("train.py", "train/demo_stage1", "bricks_caption", "run.job_id=pair"),
        *("run.max_steps=2", "run.warmup_steps=1", "run.batch_size_train=8"),
        processes=2,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (launcher.output / "pair" / "checkpoint_last.pth").is_file()


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(launcher, stage1):
    before = Path(stage1).read_bytes()
    done = launcher.run(
        *("train.py", "train/demo_stage1", "bricks_caption"),
        *("run.max_steps=3", "run.warmup_steps=1", "run.batch_size_train=16"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Resumed from" in done.stderr
    assert Path(stage1).read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("run.init_lrr=1", "init_lr"),
        ("model.num_query_tokens=3", "num_query_token"),
        ("run.task=point_captionig", "point_captioning"),
        ("model.finetuned=nowhere.pth", "model.finetuned"),
        ("datasets.bricks_retrieval.build_info.limits.dev_test=3", "limit"),
    ],
)
def test_bad_options_end_with_one_message(launcher, option, message):
    done = launcher.run("evaluate.py", "eval/demo_retrieval", "bricks_retrieval", option)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_retrieved_texts_come_with_the_checkpoint_and_differ_under_their_controls(
    launcher, stage1, stage2
):
    draft = launcher.output / "stage2_draft" / "checkpoint_last.pth"
    retrieval = ("model.retrieved_texts=2", "model.retrieval_lookup=shape", "run.job_id=retrieved")
    done = launcher.run(
        *("train.py", "train/demo_stage2", "bricks_caption", *retrieval, *launcher.llm),
        *("run.warmup_steps=1", "run.batch_size_train=8", "run.max_steps=2"),
        *(
            f"datasets.bricks_qa.build_info.points.{k}"
            for k in ("num_objects=160", "num_points=128")
        ),
        f"model.pretrained={draft}",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Pool of retrieved texts" in done.stderr
    done = launcher.run(
        *("evaluate.py", "eval/demo_captioning", "bricks_caption", *retrieval, *launcher.llm),
        *(f"model.pretrained={draft}", "run.own_embedding_baseline=false"),
        f"model.finetuned={launcher.output / 'retrieved' / 'checkpoint_last.pth'}",
        "run.controls=[shuffled_neighbours,neighbours_only]",
        "datasets.bricks_caption.build_info.limit.dev_test=6",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Pool of retrieved texts" not in done.stderr
    names = ("dev_test", "dev_test_shuffled_neighbours", "dev_test_neighbours_only")
    assert [len(launcher.result("retrieved", name)) for name in names] == [6, 6, 6]
