"""The training loop: epochs of optimiser steps, validation, checkpoints, exact resume.

    for each epoch:  train_epoch -> eval_epoch(valid_splits) -> checkpoint_best, checkpoint_last
    at the end:      evaluate(test_splits) with the best weights

Runs on CPU and CUDA, in one process or many (gloo or nccl). Differs from the stock `RunnerBase`
wherever that loses state, hangs without a process group, or scores a sample twice. The numerics of
a step are in `stepper`, what ranks agree on in `guard`, the order of samples in `samplers`, rates
in `lr_schedules`, what a run is made of in `runner_parts`, saving and resuming in
`runner_checkpoints`, scoring in `runner_evaluation`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from lavis.common.dist_utils import all_gather_object_list, get_rank, get_world_size
from lavis.common.errors import EvaluationError, Preempted, explain, nearest
from lavis.common.preemption import StopRequest
from lavis.common.registry import registry
from lavis.common.watchdog import Watchdog
from lavis.runners.guard import Guard
from lavis.runners.loss_curve import draw
from lavis.runners.lr_schedules import SCHEDULES
from lavis.runners.optimizer import set_learning_rate
from lavis.runners.plan import make_plan, render
from lavis.runners.runner_evaluation import EvaluatingRunner
from lavis.runners.stepper import Stepper, StepResult
from lavis.runners.train_log import TrainLog


@registry.register_runner("runner_point")
class PointRunner(EvaluatingRunner):
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
        dry_run: only `print_plan` will be called; nothing is written.
    """

    def print_plan(self) -> dict[str, Any]:
        """Print what training would do, on rank 0, and return it."""
        plan = make_plan(self)
        if get_rank() == 0:
            print(render(plan), flush=True)
        return plan

    def train(self) -> dict[str, Any]:
        """Train to the end of the plan (or only evaluate), then score the test splits.

        Returns:
            {split: metrics} of the test splits.

        Raises:
            Preempted: SIGTERM or SIGINT came; everything is saved.
            ConfigError, CheckpointError, NonFiniteLossError: see the parts.
        """
        if self.evaluate_only:
            splits = [*self.valid_splits, *self.test_splits]
            return self._evaluate_splits(list(dict.fromkeys(splits)), "best", skip_reload=True)
        self.stop = StopRequest()
        self.watchdog = Watchdog(
            self.output_dir / ".progress", get_rank(), get_world_size(), self.run_cfg.stall_timeout
        )
        try:
            with self.stop, self.watchdog:
                return self._train_and_test()
        finally:
            self.trackers.close()

    def _train_and_test(self) -> dict[str, Any]:
        """Train the rest of the plan, score the test splits, draw the loss curve."""
        started = time.perf_counter()
        self.resume()
        self.log = TrainLog(
            self.log_path,
            self.total_steps,
            self.state.global_step,
            self.run_cfg.log_freq,
            self.trackers,
        )
        self.log.write("start", self._describe())
        try:
            while self.state.global_step < self.total_steps or not self._plan_finished():
                self.train_epoch(self.state.epoch)
                self._close_epoch()
        finally:
            self.log.close()
        self.watchdog.beat(self.state.global_step, "evaluate", watched=False)
        self._leave_if_asked()
        with self.stop.at_once():
            results = self.evaluate(self._final_epoch())
        self.log.write("end", {"seconds": time.perf_counter() - started, **self.state.to_dict()})
        if get_rank() == 0:
            draw(self.output_dir)
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
            "bad_samples": self.train_loader.dataset.bad_samples,
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
        stepper = self._stepper()
        loader, counts = self.train_loader.epoch(epoch, state.step_in_epoch)
        batches = iter(loader)
        for count in counts[: self.total_steps - state.global_step]:
            self._train_step(stepper, batches, count, epoch)
        if self.log.pending:
            self.log.report(epoch, state.global_step, self._rate(state.global_step - 1))
        del batches  # joins the loader's workers before anything else starts

    def _stepper(self) -> Stepper:
        """Return what runs the steps of an epoch."""
        run_cfg = self.run_cfg
        guard = Guard(
            run_cfg.on_nonfinite, run_cfg.max_skipped_steps, self.stop, self.state.skipped_in_row
        )
        return Stepper(
            self.model,
            self.task,
            self.optimizer,
            self.precision,
            self.device,
            run_cfg.grad_clip,
            guard,
            on_phase=lambda phase: self.watchdog.beat(self.state.global_step, phase),
        )

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return SCHEDULES[self.run_cfg.lr_sched](step, self.lr_plan)

    def _train_step(self, stepper: Stepper, batches: Iterator[Any], count: int, epoch: int) -> None:
        """Run one optimiser step and what follows it: log, average, save, leave."""
        state = self.state
        learning_rate = self._rate(state.global_step)
        set_learning_rate(self.optimizer, learning_rate)
        context = {
            "epoch": epoch,
            "iters": state.step_in_epoch,
            "num_iters_per_epoch": self.train_loader.steps_per_epoch,
        }
        where = f"epoch {epoch}, step {state.global_step}"
        result = stepper.step(batches, count, context, where)
        state.skipped_in_row = stepper.guard.skipped_in_row
        self._note_skipped(result)
        state.global_step += 1
        state.step_in_epoch += 1
        if self.ema is not None and not result.skipped:
            self.ema.update(state.global_step)
        self.log.add(result.values, result.objects * get_world_size(), result.wait)
        if state.global_step % self.run_cfg.log_freq == 0:
            self.log.report(epoch, state.global_step, learning_rate)
        self._save_if_due(result.signum)

    def _note_skipped(self, result: StepResult) -> None:
        """Write down a step that was left out, with the samples of it."""
        if result.skipped:
            self.state.skipped_steps += 1
            self.log.write("skipped_step", {"step": self.state.global_step, "why": result.skipped})
            logging.warning("step %d skipped: %s", self.state.global_step, result.skipped)

    def _save_if_due(self, signum: int) -> None:
        """Save by run.save_freq or because a signal came; after a signal, leave.

        Raises:
            Preempted: on every rank at the same step.
        """
        step, save_freq = self.state.global_step, self.run_cfg.save_freq
        if signum or (save_freq and step % save_freq == 0):
            self._save_in_training()
        if signum:
            self.log.write("preempted", {"step": step, "signal": signum})
            raise Preempted(signum)

    def _leave_if_asked(self) -> None:
        """Leave together before an evaluation when a signal came to any rank since the last step.

        Raises:
            Preempted: on every rank; everything is saved already.
        """
        signum = max(all_gather_object_list(self.stop.signum))
        if signum:
            raise Preempted(signum)

    def _save_in_training(self) -> None:
        """Save `checkpoint_last.pth`, outside of the throughput."""
        paused = time.perf_counter()
        self.watchdog.beat(self.state.global_step, "save")
        self._save_checkpoint()
        self.log.skip_pause(time.perf_counter() - paused)

    def _close_epoch(self) -> None:
        """Validate, save the best and the last checkpoint, and move on to the next epoch."""
        paused = time.perf_counter()
        state = self.state
        epoch, last = state.epoch, state.global_step >= self.total_steps
        if self.valid_splits and (last or (epoch + 1) % self.run_cfg.eval_freq == 0):
            # A signal in the validation ends the run at once: what it needs is saved before.
            self._save_checkpoint()
            self.watchdog.beat(state.global_step, "evaluate", watched=False)
            self._validate(epoch)
        if state.step_in_epoch >= self.train_loader.steps_per_epoch:
            state.epoch, state.step_in_epoch = epoch + 1, 0
        state.finished = last
        self._save_checkpoint()
        self.log.skip_pause(time.perf_counter() - paused)

    def _validate(self, epoch: int) -> None:
        """Score the validation splits; the first one selects the best checkpoint."""
        self._leave_if_asked()
        for index, split in enumerate(self.valid_splits):
            with self.stop.at_once():
                metrics = self.eval_epoch(split, epoch)
                if self.ema is not None:
                    self._eval_average(split, epoch)
            if index > 0 or metrics is None:
                continue
            metric = self._aggregate(metrics)
            if self.state.is_better(metric, self.run_cfg.agg_mode):
                before = self.state.best_metric, self.state.best_epoch
                self.state.best_metric, self.state.best_epoch = metric, epoch
                if not self._save_checkpoint(is_best=True):
                    self.state.best_metric, self.state.best_epoch = before

    def _aggregate(self, metrics: Mapping[str, Any]) -> float:
        """Return the metric that selects the best checkpoint."""
        name = self.run_cfg.agg_metric or "agg_metrics"
        if name not in metrics:
            what = f"the task reports no metric {name!r}.{nearest(name, metrics)}"
            raise EvaluationError(
                explain(what, where="run.agg_metric", got=sorted(metrics), expected=name)
            )
        return float(metrics[name])
