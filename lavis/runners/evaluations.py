"""Named evaluations: schedule, one rank per sample, raw weights and their moving average.

    run:
      evaluations:
        pairs: {task: point_retrieval, dataset: bricks_retrieval, split: dev_test, every: 2}
      best: pairs/agg_metrics

`run.task` on `valid_splits` and `test_splits` are evaluations, too, named by their split.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from lavis.common.dist_utils import broadcast_object
from lavis.common.errors import ConfigError, EvaluationError, nearest
from lavis.models.abilities import check_abilities
from lavis.runners.batching import Datasets, members
from lavis.runners.checkpoints import Checkpoints
from lavis.runners.parts import RunParts
from lavis.runners.sharding import gathered
from lavis.tasks.named_tasks import named_tasks


@dataclass(frozen=True)
class Evaluation:
    """One entry of the plan.

    Attributes:
        name: in the log, in the results and of the result files.
        task: scores it.
        split: of the data sets.
        dataset: name of the only data set; None: every one that has the split.
        every: epochs between two scorings while training; 0: none.
        at_end: scored after training with the best weights, and by evaluate.py.
    """

    name: str
    task: Any
    split: str
    dataset: str | None = None
    every: int = 0
    at_end: bool = True

    def members(self, datasets: Datasets) -> dict[str, tuple[str, Any]]:
        """Return {data set: (label of its result files, dataset)}.

        Raises:
            ConfigError: the data set lacks the split, or no data set has it.
        """
        if self.dataset is None:
            found = members(datasets, self.split)
            alone = len(found) == 1
            return {n: (self.name if alone else f"{n}_{self.name}", d) for n, d in found.items()}
        splits = datasets[self.dataset]
        if self.split not in splits:
            what = f"{self.dataset} has no split {self.split!r}.{nearest(self.split, splits)}"
            where = f"run.evaluations.{self.name}.split"
            raise ConfigError(what, where=where, got=self.split, expected=sorted(splits))
        return {self.dataset: (self.name, splits[self.split])}


def check_named_abilities(run_cfg: Any, model_class: type) -> None:
    """Refuse a model that lacks an ability of a named evaluation.

    Raises:
        ConfigError: names the ability and the evaluation.
    """
    for name, task in named_tasks(run_cfg).items():
        needed: dict[type, str] = getattr(task, "needed_abilities", dict)()
        asked = {a: key.replace("run.", f"run.evaluations.{name}.", 1) for a, key in needed.items()}
        check_abilities(model_class, asked, f"the evaluation {name!r}")


def plan_evaluations(run_cfg: Any, task: Any, datasets: Datasets) -> list[Evaluation]:
    """Return every evaluation of the run: validation splits, test splits, named ones.

    Args:
        run_cfg: the checked run section.
        task: of `run.task`.
        datasets: {data set: {split: dataset}}; gets the altered splits of named evaluations.
    """
    freq = run_cfg.eval_freq
    plan = [Evaluation(s, task, s, every=freq, at_end=False) for s in run_cfg.valid_splits]
    plan += [Evaluation(split, task, split) for split in run_cfg.test_splits]
    for name, own in named_tasks(run_cfg).items():
        place = run_cfg.evaluations[name]
        every = place.get("every", freq)
        plan.append(Evaluation(name, own, place.split, place.dataset, every))
        for split in _altered(name, own, place, run_cfg, datasets):
            altered = name + split.removeprefix(place.split)
            plan.append(Evaluation(altered, own, split, place.dataset))
    return plan


def _altered(name: str, task: Any, place: Any, run_cfg: Any, datasets: Datasets) -> list[str]:
    """Add the altered copies of a split that an evaluation requests; return their names."""
    # Imported here: most runs use no altered splits.
    from lavis.tasks.point_task import ALTERATIONS

    added: list[str] = []
    for key, add_splits in ALTERATIONS.items():
        wanted = list(getattr(getattr(task, "options", None), key, ()))
        if wanted and not run_cfg.evaluate:
            where = f"run.evaluations.{name}.{key}"
            fix = "use evaluate.py, or remove the key"
            raise ConfigError(f"{key} belong to an evaluation", where=where, fix=fix)
        if wanted:
            only: Any = {place.dataset: datasets[place.dataset]}
            added += add_splits(only, [place.split], wanted, int(run_cfg.seed))
    return added


class Evaluations:
    """Scores the evaluations of a run; every method is called by every rank."""

    def __init__(self, parts: RunParts, checkpoints: Checkpoints) -> None:
        self.parts, self.checkpoints = parts, checkpoints
        self.plan = plan_evaluations(parts.run_cfg, parts.task, parts.datasets)

    def check(self) -> None:
        """Refuse an evaluation without its data or modalities before anything is trained."""
        for evaluation in self.plan:
            for _, dataset in evaluation.members(self.parts.datasets).values():
                # Tasks of stock LAVIS have no such check.
                check = getattr(evaluation.task, "check_inputs", lambda *_: None)
                check(self.parts.module, dataset)
        if not self.parts.evaluate_only:
            self._check_selecting()

    def _check_selecting(self) -> None:
        """Refuse a metric for the best checkpoint that its evaluation does not report.

        Raises:
            ConfigError: names run.best or run.agg_metric, and the metrics of the task.
        """
        name, metric = self.selecting()
        chosen = next((item for item in self.plan if item.name == name), None)
        if chosen is None or metric == "agg_metrics":
            return
        known: tuple[str, ...] = ("agg_metrics",)
        if len(chosen.members(self.parts.datasets)) == 1:  # several report their mean alone
            # Tasks of stock LAVIS do not declare their metrics.
            possible = getattr(chosen.task, "possible_metrics", lambda _: ("*",))
            known += possible(self.parts.module)
        if not any(fnmatchcase(metric, pattern) for pattern in known):
            what = f"the evaluation {name!r} reports no metric {metric!r}.{nearest(metric, known)}"
            where = self._selecting_key()
            raise ConfigError(what, where=where, got=metric, expected=", ".join(known))

    def due(self, epoch: int, last: bool) -> list[Evaluation]:
        """Return what is scored at the end of an epoch, counted from 0; all at the last one."""
        regular = [item for item in self.plan if item.every]
        return [item for item in regular if last or (epoch + 1) % item.every == 0]

    def at_end(self) -> list[Evaluation]:
        """Return what is scored with the best weights, and by evaluate.py.

        Raises:
            ConfigError: the run only evaluates, and there is nothing to score.
        """
        chosen = [item for item in self.plan if item.at_end]
        if not chosen and self.parts.evaluate_only:
            chosen = self.plan
            if not chosen:
                expected = "at least one split, or run.evaluations"
                raise ConfigError("nothing to evaluate", where="run.test_splits", expected=expected)
        return chosen

    def score_all(
        self, chosen: list[Evaluation], epoch: int | str, best: bool = False
    ) -> dict[str, Any]:
        """Score evaluations, with averaged weights as "<name>_ema" too; return {name: metrics}.

        Args:
            chosen: of the plan.
            epoch: for the names of the result files of a training run.
            best: load `checkpoint_best.pth` first.
        """
        parts = self.parts
        path = self.checkpoints.resume_path() if parts.evaluate_only else None
        averaged = not parts.evaluate_only and parts.ema is not None
        if path is not None:
            averaged = self.checkpoints.load_weights(path)
        if best and chosen:
            self.checkpoints.load_best()
        results: dict[str, Any] = {}
        for evaluation in chosen:
            results[evaluation.name] = self.score(evaluation, epoch)
            if averaged:
                results[f"{evaluation.name}_ema"] = self.score_average(evaluation, epoch)
        logging.info("Results: %s", parts.result_dir)
        return results

    def score_average(self, evaluation: Evaluation, epoch: int | str) -> dict[str, Any] | None:
        """Score the averaged weights as "<name>_ema"."""
        assert self.parts.ema is not None
        with self.parts.ema.applied():
            return self.score(evaluation, epoch, suffix="_ema")

    @torch.no_grad()
    def score(
        self, evaluation: Evaluation, epoch: int | str, suffix: str = ""
    ) -> dict[str, Any] | None:
        """Score one evaluation; each sample is scored by exactly one rank.

        Args:
            evaluation: each data set that has its split is scored separately.
            epoch: passed to the task (names the result file).
            suffix: appended to the name of files and in the log.

        Returns:
            The task's metrics, the same on every rank; for several data sets a mapping
            {data set: metrics} with the mean "agg_metrics".
        """
        model = self.parts.unwrapped_model
        model.eval()
        scores = {}
        for name, (label, dataset) in evaluation.members(self.parts.datasets).items():
            with gathered(model):
                split = (label if evaluation.dataset is None else evaluation.split) + suffix
                scores[name] = self._score(evaluation.task, dataset, label + suffix, split, epoch)
        if len(scores) == 1:
            return next(iter(scores.values()))
        means = [metrics["agg_metrics"] for metrics in scores.values() if metrics is not None]
        if not means:
            return None
        return {**scores, "agg_metrics": None if None in means else sum(means) / len(means)}

    def _score(
        self, task: Any, dataset: Any, label: str, split: str, epoch: int | str
    ) -> dict[str, Any] | None:
        """Run a task's evaluation on one data set; `split` goes into the metrics file."""
        parts, model = self.parts, self.parts.unwrapped_model
        loader = parts.eval_loader(dataset)
        task.before_evaluation(model=model, dataset=dataset)
        with parts.precision.autocast():
            records = task.evaluation(model, loader, device=parts.device)
        metrics = task.after_evaluation(
            val_result=records,
            split_name=label,
            split=split,
            epoch=epoch,
            dataset=dataset,
            model=model,
            runner=parts,
        )
        # All ranks use rank 0's metrics: a rounding difference would make their decisions differ.
        metrics = broadcast_object(metrics)
        if isinstance(metrics, Mapping):
            scalars = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
            where = {"split": label, "epoch": epoch, "step": parts.state.global_step}
            parts.write_row("eval", {**where, **scalars})
        return metrics

    def selecting(self) -> tuple[str | None, str]:
        """Return (evaluation, metric) that select the best checkpoint: run.best, or the first."""
        run_cfg = self.parts.run_cfg
        if run_cfg.best is not None:
            name, _, metric = run_cfg.best.partition("/")
            return name, metric
        regular = [item.name for item in self.plan if item.every]
        return (regular[0] if regular else None), run_cfg.agg_metric or "agg_metrics"

    def _selecting_key(self) -> str:
        return "run.agg_metric" if self.parts.run_cfg.best is None else "run.best"

    def selecting_metric(self, metrics: Mapping[str, Any]) -> float | None:
        """Return the value that selects the best checkpoint; None where it is undefined.

        Raises:
            EvaluationError: the evaluation reports no such metric.
        """
        _, name = self.selecting()
        if name not in metrics:
            what = f"the task reports no metric {name!r}.{nearest(name, metrics)}"
            where = self._selecting_key()
            raise EvaluationError(what, where=where, got=sorted(metrics), expected=name)
        if metrics[name] is None:
            reason = "the metrics file has the reason under `unavailable`"
            logging.warning("%s is null and selects no best checkpoint; %s", name, reason)
            return None
        return float(metrics[name])
