"""What every task shares: records gathered once, predictions and metrics written.

A task turns batches into per-item records (`valid_step`), and the whole split's records into scores
(`score`). Everything between is here: the records of all ranks are gathered on rank 0, each id
exactly once, without shared files. Rank 0 scores, compares the headline claims with the baselines,
and writes `<name>.json` (predictions), `<name>_metrics.json`, `<name>_items.json` and
`<name>_baseline_items.json`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lavis.common.dist_utils import broadcast_object, gather_object_list, is_main_process
from lavis.common.errors import ConfigError, EvaluationError
from lavis.common.files import file_sha256, replace_file
from lavis.common.registry import registry
from lavis.datasets.data_utils import move_to_device
from lavis.evaluation.comparisons import Paired, compare_claims
from lavis.evaluation.controls import add_control_splits
from lavis.evaluation.corruptions import add_corrupted_splits
from lavis.evaluation.records import (
    build_metrics_record,
    config_hash,
    git_commit,
    validate_ids,
    write_json_atomic,
)
from lavis.evaluation.result_hashes import write_hashes
from lavis.evaluation.test_final import (
    LOG,
    SPLIT,
    append_line,
    check_test_final,
    is_test_final,
    log_line,
)
from lavis.models.abilities import check_abilities
from lavis.tasks.base_task import BaseTask
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.named_tasks import named_tasks
from lavis.tasks.options import TaskOptions

# Keys of the run section that add altered copies of the test splits.
ALTERATIONS = {"corruptions": add_corrupted_splits, "controls": add_control_splits}


@dataclass
class Scores:
    """What a task found on one split.

    Attributes:
        metrics: {name: {"value": …, "ci95": [low, high] | None}}.
        baselines: {baseline: {metric: value}}.
        agg_metrics: the number that selects the best checkpoint, larger is better; None where it
            is undefined, with the reason in `extra["unavailable"]`.
        extra: anything else for the metrics file (decoding settings). Tables read `text` (which
            texts were scored), `protocol` ("zero_shot" for held-out classes) and `baseline_pool`
            ({"used", "whole"}: training objects behind the baselines, and all of them).
        predictions: what is written as the predictions file; None writes the records.
        per_item: {metric: {id: value}} of metrics that are means over items; written to a file,
            so that two runs can be compared item by item.
        baseline_items: {baseline: {metric: {id: value}}}; written to a file.
        claims: headline metrics, each compared with every baseline that has per-item values of it.
            "exact_match/category" is a metric of its own, whose per-item values hold only the ids
            of its family.
        files: {suffix: content} of further files, e.g. {"confusion.svg": …}.
    """

    metrics: dict[str, Any]
    baselines: dict[str, dict[str, Any]]
    agg_metrics: float | None
    extra: dict[str, Any] = field(default_factory=dict)
    predictions: Any = None
    per_item: dict[str, dict[str, float]] = field(default_factory=dict)
    baseline_items: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)
    files: dict[str, str | bytes] = field(default_factory=dict)

    def comparisons(self) -> dict[str, dict[str, Paired]]:
        """Compare each claim with every baseline that has per-item values of it."""
        return compare_claims(
            self.claims, self.metrics, self.per_item, self.baselines, self.baseline_items
        )


def by_id(ids: Sequence[Any], values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Convert per-item arrays {metric: [N]} to the form of `Scores.per_item`."""
    names = [str(i) for i in ids]
    return {
        metric: dict(zip(names, map(float, items), strict=True)) for metric, items in values.items()
    }


def text_name(dataset: Any) -> str | None:
    """Return what tables call the texts, where a data set has them with and without colour."""
    if getattr(dataset, "text_field", "caption") == "colored_caption":
        return "with colour"
    entries = getattr(dataset, "annotation", [])
    return "without colour" if entries and "colored_caption" in entries[0] else None


class PointTask(BaseTask):
    """Base of the tasks on point clouds.

    Class attributes:
        name: written into the metrics file.
        id_key: the records' id field.
        needs: abilities that every evaluation needs; options may need more (`needed_abilities`).
        options_class: the task's keys of the `run:` section.
        data_needs: what every evaluated split has to have.
        metric_names: of the metrics of `score`; shell patterns where names depend on the data.
    """

    name = "point_task"
    id_key = "instance_id"
    needs: tuple[type, ...] = ()
    options_class: type[TaskOptions] = TaskOptions
    data_needs = DataNeeds()
    metric_names: tuple[str, ...] = ("*",)

    def __init__(self, run_cfg: Any) -> None:
        super().__init__()
        self.run_cfg = run_cfg
        self.options: Any = self.options_class.read(run_cfg)

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> PointTask:
        """Build from the whole config."""
        return cls(cfg.run_cfg)

    def needed_abilities(self) -> dict[type, str]:
        """Return {ability that the evaluation needs: the key that requires it}."""
        return dict.fromkeys(self.needs, "run.task")

    def build_model(self, cfg: Any) -> Any:
        """Build the model, after its class was found to have the abilities."""
        model_class = registry.get_model_class(cfg.model_cfg.arch)
        check_abilities(model_class, self.needed_abilities(), f"the task {self.name}")
        return super().build_model(cfg)

    def build_datasets(self, cfg: Any) -> dict[str, Any]:
        """Build the data sets and the altered splits: `run.corruptions` and `run.controls`."""
        datasets = super().build_datasets(cfg)
        check_test_final(datasets, cfg.run_cfg, registry.get_path("repo_root"))
        self.check_data_needs(datasets, cfg.run_cfg)
        self.add_altered_splits(datasets, cfg.run_cfg)
        return datasets

    def check_data_needs(self, datasets: dict[str, Any], run: Any) -> None:
        """Refuse splits that lack what `run.task` or a named evaluation scores.

        Raises:
            DataError: names the key, the split and what it lacks.
        """
        splits = {"test_splits": run.get("test_splits")}
        splits |= {} if run.get("evaluate") else {"valid_splits": run.get("valid_splits")}
        for key, names in splits.items():
            for split in names or ():
                for name, parts in datasets.items():
                    self.check_data(parts.get(split), f"run.{key}: {name} {split}")
        for name, task in named_tasks(run).items():
            place = run.evaluations[name]
            split = datasets.get(place.dataset, {}).get(place.split)
            if isinstance(task, PointTask):  # tasks of stock LAVIS declare no needs
                where = f"run.evaluations.{name}: {place.dataset} {place.split}"
                task.check_data(split, where)

    def check_data(self, dataset: Any, where: str) -> None:
        """Refuse a split that lacks what this task scores; called before the model is built.

        Args:
            dataset: the split; None, or a data set without records, is not checked.
            where: the key that names the split, and the split's name, for the message.

        Raises:
            DataError, ConfigError: the data lack what the options require.
        """
        self.data_needs.check(dataset, where)

    def add_altered_splits(self, datasets: dict[str, Any], run: Any) -> None:
        """Add altered copies of the test splits to the data sets and to `run.test_splits`.

        Raises:
            ConfigError: an alteration while training, or an unknown one.
        """
        splits, added = list(run.test_splits), []
        for key, add_splits in ALTERATIONS.items():
            if not run.get(key):
                continue
            if not run.evaluate:
                raise ConfigError(
                    f"{key} belong to an evaluation",
                    where=f"run.{key}",
                    fix="use evaluate.py, or remove the key",
                )
            added += add_splits(datasets, splits, list(run[key]), int(run.seed))
        if added:
            run.test_splits = [*splits, *added]

    def train_step(self, model: Any, samples: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the model's losses; the runner reads `loss` and logs the rest."""
        return model(samples)

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Turn a batch into one record per item."""
        raise TypeError(f"{type(self).__name__} has to define valid_step()")

    def possible_metrics(self, model: Any) -> tuple[str, ...]:
        """Return the `metric_names` that the options and the model allow."""
        return self.metric_names

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Turn the whole split's records into scores; called on rank 0."""
        raise TypeError(f"{type(self).__name__} has to define score()")

    def check_inputs(self, model: Any, dataset: Any) -> None:
        """Refuse a model or data that lack what the options require; called before training."""

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Prepare what needs every rank, e.g. class embeddings or a baseline's features."""

    @torch.no_grad()
    def evaluation(self, model: Any, data_loader: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Run this rank's share of a split."""
        records: list[dict[str, Any]] = []
        progress = tqdm(data_loader, desc=self.name, disable=not is_main_process())
        for samples in progress:
            records += self.valid_step(model, move_to_device(samples, model.device))
        return records

    def after_evaluation(
        self,
        val_result: list[dict[str, Any]],
        split_name: str,
        epoch: int | str,
        dataset: Any = None,
        model: Any = None,
        runner: Any = None,
        split: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Gather, check, score and write.

        Args:
            val_result: this rank's records.
            split_name: name of the result files: a split or a named evaluation.
            epoch: added to it while training.
            dataset, model, runner: what was scored; the runner is a `RunParts`.
            split: written into the metrics file; None: `split_name`.

        Returns:
            `agg_metrics` and every metric's value, the same on every rank.

        Raises:
            EvaluationError: on every rank, when ids are missing, doubled or unknown.
        """
        gathered = [record for part in gather_object_list(val_result) for record in part]
        outcome: dict[str, Any] = {}
        if is_main_process():
            try:
                named = (split_name, split or split_name)
                outcome = self._score_and_write(gathered, named, epoch, dataset, model, runner)
            except EvaluationError as error:
                outcome = {"error": str(error)}
        outcome = broadcast_object(outcome)
        if "error" in outcome:
            raise EvaluationError(outcome["error"])
        return outcome

    def _score_and_write(
        self,
        records: list[dict[str, Any]],
        named: tuple[str, str],
        epoch: int | str,
        dataset: Any,
        model: Any,
        runner: Any,
    ) -> dict[str, Any]:
        name, split = named
        expected_ids = self.expected_ids(dataset)
        validate_ids(expected_ids, records, self.id_key)
        records.sort(key=lambda record: str(record[self.id_key]))
        scores = self.score(records, dataset, model)
        stem = name if runner.evaluate_only else f"{name}_epoch{epoch}"
        predictions = records if scores.predictions is None else scores.predictions
        counts = (len(expected_ids), len(records))
        record = self.metrics_record(scores, split, *counts, runner, dataset)
        folder = Path(runner.result_dir)
        if is_test_final(dataset) or SPLIT in split:
            self.log_test_final(record, folder / f"{stem}_metrics.json", runner)
        paths = write_results(folder, stem, predictions, record, scores)
        for path in paths:
            print(f"result written to {path}", flush=True)
        values = {name: entry["value"] for name, entry in scores.metrics.items()}
        logging.info("%s %s: %s", self.name, name, values)
        return {"agg_metrics": scores.agg_metrics} | values

    def expected_ids(self, dataset: Any) -> list[str]:
        """Ids that must be scored: those of the split."""
        return [str(entry["instance_id"]) for entry in dataset.annotation]

    def log_test_final(self, record: dict[str, Any], metrics_file: Path, runner: Any) -> None:
        """Append this evaluation to the committed log, before its results are written."""
        line = log_line(
            reason=str(self.run_cfg.get("test_final_reason")),
            commit=record["git_commit"],
            recipe=getattr(runner.config, "cfg_path", None),
            job=str(metrics_file.parent.parent),
            metrics_file=str(metrics_file),
        )
        append_line(Path(registry.get_path("repo_root")) / LOG, line)

    def metrics_record(
        self,
        scores: Scores,
        split_name: str,
        n_expected: int,
        n_scored: int,
        runner: Any,
        dataset: Any = None,
    ) -> dict[str, Any]:
        """Compose the metrics file: scores, baselines, and the settings of the measurement."""
        checkpoint = runner.evaluated_checkpoint or runner.unwrapped_model.loaded_checkpoint
        alteration = getattr(dataset, "alteration", None)
        record = build_metrics_record(
            task=self.name,
            split=split_name,
            metrics=scores.metrics,
            baselines=scores.baselines,
            n_expected=n_expected,
            n_scored=n_scored,
            config_hash=config_hash(runner.config.to_dict()),
            git_commit=git_commit(registry.get_path("repo_root")),
            seed=int(self.run_cfg.get("seed", 42)),
            checkpoint_hash=file_sha256(checkpoint) if checkpoint else None,
            extra={k: v for k, v in scores.extra.items() if k != "baseline_pool"},
            claims={name: len(scores.per_item.get(name, ())) for name in scores.claims},
            # A split under a control has no claims: its baselines use the unchanged clouds.
            comparisons=scores.comparisons() if alteration is None else {},
            data=getattr(dataset, "data_version", None),
            baseline_pool=scores.extra.get("baseline_pool"),
            alteration=alteration,
        )
        return dict(record)


def write_results(
    folder: Path, stem: str, predictions: Any, metrics: dict[str, Any], scores: Scores
) -> list[Path]:
    """Write predictions, metrics, per-item values and further files; returns their paths."""
    paths = [
        write_json_atomic(folder / f"{stem}.json", predictions),
        write_json_atomic(folder / f"{stem}_metrics.json", metrics),
    ]
    items = {"items": scores.per_item, "baseline_items": scores.baseline_items}
    for suffix, values in items.items():
        if values:
            paths.append(write_json_atomic(folder / f"{stem}_{suffix}.json", values))
    for suffix, content in scores.files.items():
        paths.append(folder / f"{stem}_{suffix}")
        replace_file(paths[-1], content.encode("utf-8") if isinstance(content, str) else content)
    return [*paths, write_hashes(folder, stem, paths)]
