"""The training loop: epochs of optimiser steps, validation, checkpoints, exact resume.

    for each epoch:  train_epoch -> eval_epoch(valid_splits) -> checkpoint_best, checkpoint_last
    at the end:      evaluate(test_splits) with the best weights

Runs on CPU and CUDA, in one process or many (gloo or nccl). Differs from the stock `RunnerBase`
wherever that loses state, hangs without a process group, or scores a sample twice. The numerics of
a step are in `stepper`, the order of samples in `samplers`, rates in `lr_schedules`, what a run is
made of in `runner_parts`, saving and resuming in `runner_checkpoints`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lavis.common.dist_utils import broadcast_object, get_world_size
from lavis.common.errors import ConfigError, EvaluationError, explain, nearest
from lavis.common.registry import registry
from lavis.runners.lr_schedules import SCHEDULES
from lavis.runners.optimizer import set_learning_rate
from lavis.runners.runner_checkpoints import CheckpointedRunner
from lavis.runners.stepper import Stepper
from lavis.runners.train_log import TrainLog, write_row


@registry.register_runner("runner_point")
class PointRunner(CheckpointedRunner):
    """Trains and evaluates `model` on `datasets` as `task` says.

    Args:
        cfg: a checked configuration (`RunConfig`).
        task: `train_step(model, samples)` -> loss or mapping with "loss",
            `before_evaluation(model, dataset)`,
            `evaluation(model, data_loader, device)` -> this rank's records,
            `after_evaluation(val_result, split_name, epoch, dataset, model, runner)` -> metrics.
        model: on the CPU, unwrapped.
        datasets: {data set: {split: map-style dataset}}.
        job_id: folder name below `run.output_dir`, the same on every rank.
    """

    def train(self) -> dict[str, Any]:
        """Train to the end of the plan (or only evaluate), then score the test splits.

        Returns:
            {split: metrics} of the test splits.

        Raises:
            ConfigError, CheckpointError, NonFiniteLossError: see the parts.
        """
        if self.evaluate_only:
            splits = [*self.valid_splits, *self.test_splits]
            return self._evaluate_splits(list(dict.fromkeys(splits)), "best", skip_reload=True)
        started = time.perf_counter()
        self.resume()
        self.log = TrainLog(
            self.log_path,
            self.total_steps,
            self.state.global_step,
            self.run_cfg.log_freq,
        )
        self.log.write("start", self._describe())
        try:
            while self.state.global_step < self.total_steps or not self._plan_finished():
                self.train_epoch(self.state.epoch)
                self._close_epoch()
        finally:
            self.log.close()
        results = self.evaluate(self._final_epoch())
        self.log.write("end", {"seconds": time.perf_counter() - started, **self.state.to_dict()})
        logging.info("Outputs: %s", self.output_dir)
        return results

    def _plan_finished(self) -> bool:
        """Tell whether nothing is left, the last epoch's validation and save included."""
        return self.state.finished or self.total_steps == 0

    def _final_epoch(self) -> int | str:
        """Return what the test is run with: the best weights if a validation chose some."""
        return "best" if self.state.best_epoch is not None else self.state.epoch

    def _describe(self) -> dict[str, Any]:
        """Return the first row of the log: sizes of the run."""
        model = self.unwrapped_model
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        row = {
            "parameters": total,
            "trainable": trainable,
            "train_objects": len(self.train_loader.dataset),
            "steps_per_epoch": self.train_loader.steps_per_epoch,
            "total_steps": self.total_steps,
            "global_batch": self.geometry.global_batch,
            "world_size": get_world_size(),
            "device": str(self.device),
            "precision": str(self.precision.dtype or "float32"),
        }
        logging.info("Run: %s", row)
        return row

    def train_epoch(self, epoch: int) -> None:
        """Train the rest of `epoch`, from the state's position to its end or the last step."""
        self.model.train()
        state = self.state
        state.finished = False
        stepper = Stepper(
            self.model,
            self.task,
            self.optimizer,
            self.precision,
            self.device,
            self.run_cfg.grad_clip,
        )
        loader, counts = self.train_loader.epoch(epoch, state.step_in_epoch)
        counts = counts[: self.total_steps - state.global_step]
        batches = iter(loader)
        schedule = SCHEDULES[self.run_cfg.lr_sched]
        for count in counts:
            learning_rate = schedule(state.global_step, self.lr_plan)
            set_learning_rate(self.optimizer, learning_rate)
            context = {
                "epoch": epoch,
                "iters": state.step_in_epoch,
                "num_iters_per_epoch": self.train_loader.steps_per_epoch,
            }
            where = f"epoch {epoch}, step {state.global_step}"
            result = stepper.step(batches, count, context, where)
            state.global_step += 1
            state.step_in_epoch += 1
            self.log.add(result.values, result.objects * get_world_size(), result.wait)
            if state.global_step % self.run_cfg.log_freq == 0:
                self.log.report(epoch, state.global_step, learning_rate)
            if self.run_cfg.save_freq and state.global_step % self.run_cfg.save_freq == 0:
                self._save_checkpoint()
        if self.log.pending:
            self.log.report(epoch, state.global_step, learning_rate)
        del batches  # joins the loader's workers before anything else starts

    def _close_epoch(self) -> None:
        """Validate, save the best and the last checkpoint, and move on to the next epoch."""
        paused = time.perf_counter()
        state = self.state
        epoch, last = state.epoch, state.global_step >= self.total_steps
        if self.valid_splits and (last or (epoch + 1) % self.run_cfg.eval_freq == 0):
            self._validate(epoch)
        if state.step_in_epoch >= self.train_loader.steps_per_epoch:
            state.epoch, state.step_in_epoch = epoch + 1, 0
        state.finished = last
        self._save_checkpoint()
        self.log.skip_pause(time.perf_counter() - paused)

    def _validate(self, epoch: int) -> None:
        """Score the validation splits; the first one selects the best checkpoint."""
        for index, split in enumerate(self.valid_splits):
            metrics = self.eval_epoch(split, epoch)
            if index > 0 or metrics is None:
                continue
            metric = self._aggregate(metrics)
            if self.state.is_better(metric, self.run_cfg.agg_mode):
                self.state.best_metric, self.state.best_epoch = metric, epoch
                self._save_checkpoint(is_best=True)

    def _aggregate(self, metrics: Mapping[str, Any]) -> float:
        """Return the metric that selects the best checkpoint."""
        name = self.run_cfg.agg_metric or "agg_metrics"
        if name not in metrics:
            what = f"the task reports no metric {name!r}.{nearest(name, metrics)}"
            raise EvaluationError(
                explain(what, where="run.agg_metric", got=sorted(metrics), expected=name)
            )
        return float(metrics[name])

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
        results = {split: self.eval_epoch(split, cur_epoch, skip_reload=True) for split in splits}
        logging.info("Results: %s", self.result_dir)
        return results

    @torch.no_grad()
    def eval_epoch(
        self, split_name: str, cur_epoch: int | str, skip_reload: bool = True
    ) -> dict[str, Any] | None:
        """Score one split; each sample is scored by exactly one rank.

        Args:
            split_name: the split; of several data sets that have it each is scored by itself.
            cur_epoch: passed to the task (names the result file).
            skip_reload: keep the weights; otherwise "best" loads the best checkpoint first.

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
            scores[name] = self._score(model, dataset, label, cur_epoch)
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
            write_row(self.log_path, "eval", {**where, **scalars})
