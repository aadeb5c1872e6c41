"""Scoring splits: each sample by exactly one rank, raw weights and their average side by side."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lavis.common.dist_utils import broadcast_object
from lavis.common.errors import ConfigError, explain
from lavis.runners.runner_checkpoints import CheckpointedRunner
from lavis.runners.sharding import gathered


class EvaluatingRunner(CheckpointedRunner):
    """Adds the evaluation of validation and test splits."""

    def evaluate(self, cur_epoch: int | str = "best", skip_reload: bool = False) -> dict[str, Any]:
        """Score the test splits (the validation splits when only evaluating and there are none).

        Args:
            cur_epoch: "best" loads `checkpoint_best.pth` first.
            skip_reload: score the weights as they are.

        Returns:
            {split: metrics}, the same on every rank.
        """
        splits = list(self.test_splits)
        if not splits and self.evaluate_only:
            splits = list(self.valid_splits)
            if not splits:
                expected = "at least one split"
                message = explain("nothing to evaluate", where="run.test_splits", expected=expected)
                raise ConfigError(message)
        return self._evaluate_splits(splits, cur_epoch, skip_reload)

    def _evaluate_splits(
        self, splits: list[str], cur_epoch: int | str, skip_reload: bool
    ) -> dict[str, Any]:
        path = self.resume_path() if self.evaluate_only else None
        if path is not None:
            self.load_weights(path)
        if cur_epoch == "best" and not skip_reload and splits:
            self._reload_best_model(self.unwrapped_model)
        results: dict[str, Any] = {}
        for split in splits:
            results[split] = self.eval_epoch(split, cur_epoch)
            if self.ema is not None and not self.evaluate_only:
                results[f"{split}_ema"] = self._eval_average(split, cur_epoch)
        logging.info("Results: %s", self.result_dir)
        return results

    def _eval_average(self, split: str, epoch: int | str) -> dict[str, Any] | None:
        """Score the averaged weights under "<split>_ema"."""
        assert self.ema is not None
        with self.ema.applied():
            return self.eval_epoch(split, epoch, suffix="_ema")

    @torch.no_grad()
    def eval_epoch(
        self, split_name: str, cur_epoch: int | str, skip_reload: bool = True, suffix: str = ""
    ) -> dict[str, Any] | None:
        """Score one split; each sample is scored by exactly one rank.

        Args:
            split_name: the split; of several data sets that have it each is scored by itself.
            cur_epoch: passed to the task (names the result file).
            skip_reload: keep the weights; otherwise "best" loads the best checkpoint first.
            suffix: appended to the split in file and log names.

        Returns:
            The task's metrics, the same on every rank; for several data sets a mapping
            {data set: metrics} with the mean "agg_metrics".
        """
        model = self.unwrapped_model
        if cur_epoch == "best" and not skip_reload:
            self._reload_best_model(model)
        model.eval()
        members = self.members(split_name)
        scores = {}
        for name, dataset in members.items():
            label = split_name if len(members) == 1 else f"{name}_{split_name}"
            with gathered(model):
                scores[name] = self._score(model, dataset, label + suffix, cur_epoch)
        if len(scores) == 1:
            return next(iter(scores.values()))
        means = [metrics["agg_metrics"] for metrics in scores.values() if metrics is not None]
        return {**scores, "agg_metrics": sum(means) / len(means)} if means else None

    def _score(
        self, model: nn.Module, dataset: Any, label: str, epoch: int | str
    ) -> dict[str, Any] | None:
        """Run the task's evaluation on one data set."""
        loader = self.eval_loader(dataset)
        self.task.before_evaluation(model=model, dataset=dataset)
        with self.precision.autocast():
            records = self.task.evaluation(model, loader, device=self.device)
        metrics = self.task.after_evaluation(
            val_result=records,
            split_name=label,
            epoch=epoch,
            dataset=dataset,
            model=model,
            runner=self,
        )
        # Rank 0's metrics decide for all, so that ranks never part over a rounding difference.
        metrics = broadcast_object(metrics)
        self.log_stats(metrics, label, epoch)
        return metrics

    def log_stats(self, stats: Any, split_name: str, epoch: int | str | None = None) -> None:
        """Write the scalar metrics of one evaluation to `log.jsonl` on rank 0."""
        if isinstance(stats, Mapping):
            scalars = {k: v for k, v in stats.items() if isinstance(v, (int, float))}
            where = {"split": split_name, "epoch": epoch, "step": self.state.global_step}
            self.write_row("eval", {**where, **scalars})
