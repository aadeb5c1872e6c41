"""Runs of the alignment study: recipes, names, and which runs are finished.

Every run is a `train.py` or `evaluate.py` process with a recipe and options. A finished run leaves
`study_run.json` in its folder and is not repeated. An interrupted run resumes from its last
checkpoint.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, EvaluationError
from lavis.common.files import file_sha256
from lavis.common.utils import get_abs_path
from lavis.evaluation.read_records import read_json
from lavis.evaluation.records import config_hash, write_json_atomic

PROJECT = "lavis/projects/point_llm_contrastive"
FINISHED = "study_run.json"


@dataclass(frozen=True)
class Condition:
    """One way to train the projector.

    Attributes:
        name: in files and records.
        loss_type: `model.loss_type`.
        center_weight: `model.center_weight`.
        words: in sentences, after "the".
    """

    name: str
    loss_type: str
    center_weight: float
    words: str


CONDITIONS = (
    Condition("generative", "generative", 0.0, "generative loss"),
    Condition("generative_center", "generative", 1.0, "generative loss with the centre term"),
    Condition("contrastive", "contrastive", 0.0, "contrastive loss"),
    Condition("contrastive_center", "contrastive", 1.0, "contrastive loss with the centre term"),
    Condition("center", "center", 0.0, "centre term alone"),
)
INITIAL = "initial"


@dataclass(frozen=True)
class StudyPlan:
    """What `alignment_experiment` runs.

    Attributes:
        out: folder of runs, tokens and results.
        seeds: the first one selects the rates.
        rates: learning rates that are tried for every condition.
        steps: optimiser steps of every run.
        batch_size: objects per step of every run.
        qa_steps: steps of the stage on questions, for both losses.
        val_split, split: where rates are chosen, and what is reported.
        limits: records of each split to use; {}: all.
        qa_limit: questions that are answered; None: all.
        resamples: of the bootstrap over objects.
    """

    out: Path
    seeds: tuple[int, ...] = (42, 43, 44)
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    steps: int = 80
    batch_size: int = 32
    qa_steps: int = 160
    val_split: str = "val"
    split: str = "dev_test"
    limits: dict[str, int] = field(default_factory=dict)
    qa_limit: int | None = None
    resamples: int = 10_000

    @property
    def tokens(self) -> Path:
        """Folder of the encoded tokens."""
        return self.out / "tokens"

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.out / "runs"

    def limit_options(self) -> list[str]:
        """Options that limit the captions."""
        return _limits("bricks_caption", self.limits)

    def qa_limit_options(self) -> list[str]:
        """Options that limit the questions."""
        answered = {} if self.qa_limit is None else {self.split: self.qa_limit}
        return _limits("bricks_qa", self.limits | answered)


def _limits(dataset: str, limits: Mapping[str, int]) -> list[str]:
    key = f"datasets.{dataset}.build_info.limit"
    return [f"{key}.{split}={count}" for split, count in limits.items()]


@dataclass(frozen=True)
class Run:
    """One process of the study.

    Attributes:
        name: of its folder below `StudyPlan.runs`.
        script: `train.py` or `evaluate.py`.
        recipe: below the project's folder, e.g. `train/stage1_center.yaml`.
        options: `--options` of the process, without its folder.
    """

    name: str
    script: str
    recipe: str
    options: tuple[str, ...]


def run_name(condition: Condition, rate: float, seed: int) -> str:
    """Name of a training run."""
    return f"{condition.name}_lr{rate:g}_seed{seed}"


def training_run(plan: StudyPlan, condition: Condition, rate: float, seed: int) -> Run:
    """Describe a training run; all but the loss and the rate is equal for all conditions."""
    return Run(
        run_name(condition, rate, seed),
        "train.py",
        f"train/stage1_{condition.loss_type}.yaml",
        (
            f"model.center_weight={condition.center_weight}",
            f"model.projector_seed={seed}",
            f"model.token_cache={plan.tokens}",
            f"run.seed={seed}",
            f"run.init_lr={rate:g}",
            f"run.max_steps={plan.steps}",
            f"run.batch_size_train={plan.batch_size}",
            "run.valid_splits=[]",
            *plan.limit_options(),
        ),
    )


def caption_run(plan: StudyPlan, loss_type: str, checkpoint: Path) -> Run:
    """Describe the captioning of the reported split behind one projector."""
    options = [f"model.finetuned={checkpoint}", f"model.token_cache={plan.tokens}"]
    options += [f"run.test_splits=[{plan.split}]", *plan.limit_options()]
    return Run(f"captions_{loss_type}", "evaluate.py", "eval/captioning.yaml", tuple(options))


def answer_runs(plan: StudyPlan, loss_type: str, checkpoint: Path) -> list[Run]:
    """Describe the training on questions that follows one projector, and its evaluation."""
    shared = plan.qa_limit_options()
    training = [f"model.finetuned={checkpoint}", f"run.max_steps={plan.qa_steps}"]
    if plan.limits:  # questions are limited by their own ids: not all their objects are encoded
        training.append(f"run.batch_size_train={plan.batch_size}")
    else:
        shared.append(f"model.token_cache={plan.tokens}")
    name = f"questions_{loss_type}"
    trained = plan.runs / name / "checkpoint_last.pth"
    scored = [f"model.finetuned={trained}", f"run.test_splits=[{plan.split}]"]
    return [
        Run(name, "train.py", "train/stage2_qa.yaml", (*training, *shared)),
        Run(f"answers_{loss_type}", "evaluate.py", "eval/qa.yaml", (*scored, *shared)),
    ]


def complete(plan: StudyPlan, run: Run, tokens: str) -> Path:
    """Run a process unless it is finished; returns its folder.

    Args:
        plan: where runs are.
        run: what to run.
        tokens: identity of the token cache, so that a run of other data is not taken for this one.

    Raises:
        ConfigError: the folder holds a run of other settings.
        EvaluationError: the process failed.
    """
    folder = plan.runs / run.name
    settings = _settings(run, tokens)
    _check_settings(folder, settings)
    if (folder / FINISHED).is_file() and read_json(folder / FINISHED)["finished"]:
        print(f"{run.name}: finished before", flush=True)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomic(folder / FINISHED, {"settings": settings, "finished": False})
    started = time.perf_counter()
    _start(plan, run)
    seconds = time.perf_counter() - started
    done = {"settings": settings, "finished": True, "seconds": seconds}
    write_json_atomic(folder / FINISHED, done)
    print(f"{run.name}: {seconds:.0f} s", flush=True)
    return folder


def _settings(run: Run, tokens: str) -> str:
    """Hash of everything that decides the result of a run, but the code."""
    recipe = get_abs_path(f"{PROJECT}/{run.recipe}")
    content: dict[str, Any] = {"options": list(run.options), "recipe": file_sha256(recipe)}
    return config_hash(content | {"tokens": tokens, "script": run.script})


def _check_settings(folder: Path, settings: str) -> None:
    """Refuse a folder whose run, finished or not, was started with other settings."""
    path = folder / FINISHED
    if path.is_file() and read_json(path)["settings"] != settings:
        raise ConfigError(
            "a run of other settings is in the study's folder",
            where=str(folder),
            got="other steps, options, recipe, tokens or checkpoint",
            fix="choose another --out, or delete this folder",
        )


def _start(plan: StudyPlan, run: Run) -> None:
    """Run the process; its output goes to `<name>.log` beside its folder."""
    log = plan.runs / f"{run.name}.log"
    options = [*run.options, f"run.output_dir={plan.runs}", f"run.job_id={run.name}"]
    recipe = f"{PROJECT}/{run.recipe}"
    command = [sys.executable, run.script, "--cfg-path", recipe, "--options", *options]
    with open(log, "w", encoding="utf-8") as output:
        done = subprocess.run(
            command, cwd=get_abs_path("."), stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise EvaluationError(
            "a run of the study failed",
            where=run.name,
            got=f"exit code {done.returncode}: {_last_line(log)}",
            fix=f"read {log}; the same command resumes the run",
        )


def _last_line(log: Path) -> str:
    lines: Sequence[str] = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
