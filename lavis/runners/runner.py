"""The training loop: epochs of optimiser steps, evaluation, checkpoints, exact resume.

Runs on CPU and CUDA, in one process or many (gloo or nccl). The loop is composed of parts: what a
run is made of in `parts` (data in `batching` and `loaders`, wrapping in `distribution`), the
numerics of a step in `stepper`, what ranks agree on in `guard`, the order of samples in `samplers`,
saving and resuming in `checkpoints`, scoring in `evaluations`, the log in `train_log`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from lavis.common.dist_utils import all_gather_object_list, get_rank, get_world_size
from lavis.common.errors import Preempted
from lavis.common.preemption import StopRequest
from lavis.common.registry import registry
from lavis.common.watchdog import Watchdog
from lavis.models.contrastive.grad_cache import require_contrastive
from lavis.runners.checkpoints import Checkpoints
from lavis.runners.evaluations import Evaluation, Evaluations
from lavis.runners.guard import Guard
from lavis.runners.loss_curve import draw
from lavis.runners.optimizer import set_learning_rate
from lavis.runners.parts import RunParts
from lavis.runners.plan import make_plan, render
from lavis.runners.run_state import RunState
from lavis.runners.stepper import Stepper, StepResult
from lavis.runners.train_log import TrainLog


@registry.register_runner("runner_point")
class PointRunner:
    """Trains and evaluates `model` on `datasets` with the losses and scores of `task`.

    Args:
        cfg: a checked configuration (`RunConfig`).
        task: `train_step(model, samples)` -> loss or mapping with "loss",
            `before_evaluation(model, dataset)`,
            `evaluation(model, data_loader, device)` -> this rank's records,
            `after_evaluation(val_result, split_name, epoch, dataset, model, runner)` -> metrics;
            its `runner` is the `RunParts`.
        model: on the CPU, unwrapped.
        datasets: {data set: {split: map-style dataset}}.
        job_id: folder name below `run.output_dir`, the same on every rank.
        dry_run: only `print_plan` will be called; nothing is written.
    """

    def __init__(
        self,
        cfg: Any,
        task: Any,
        model: nn.Module,
        datasets: Mapping[str, Mapping[str, Any]],
        job_id: str,
        dry_run: bool = False,
    ) -> None:
        self.parts = RunParts(cfg, task, model, datasets, job_id, dry_run)
        self.checkpoints = Checkpoints(self.parts)
        self.evaluations = Evaluations(self.parts, self.checkpoints)

    def train(self) -> dict[str, Any]:
        """Train to the end of the plan (or only evaluate), then score the evaluations.

        Returns:
            {evaluation: metrics} with the best weights.

        Raises:
            Preempted: SIGTERM or SIGINT came; everything is saved.
            ConfigError, CheckpointError, NonFiniteLossError: see the parts.
        """
        if self.parts.evaluate_only:
            return self._evaluate_everything()
        with self._session():
            while not self._finished():
                stepper, batches, counts = self._open_epoch()
                for count in counts:
                    context, where = self._before_step()
                    result = stepper.step(batches, count, context, where)
                    self._after_step(stepper, result)
                del batches  # joins the loader's workers before anything else starts
                self._close_epoch()
            return self._finish()

    def evaluate(self, cur_epoch: int | str = "best", skip_reload: bool = False) -> dict[str, Any]:
        """Score test splits and named evaluations (without any, the validation splits).

        Args:
            cur_epoch: "best" loads `checkpoint_best.pth` first.
            skip_reload: score the weights as they are.

        Returns:
            {evaluation: metrics}, the same on every rank.
        """
        self.evaluations.check()
        best = cur_epoch == "best" and not skip_reload
        return self.evaluations.score_all(self.evaluations.at_end(), cur_epoch, best)

    def print_plan(self) -> dict[str, Any]:
        """Print what training would do, on rank 0, and return it."""
        plan = make_plan(self.parts)
        if get_rank() == 0:
            print(render(plan), flush=True)
        return plan

    @property
    def state(self) -> RunState:
        """How far the training is."""
        return self.parts.state

    def _evaluate_everything(self) -> dict[str, Any]:
        """Score every evaluation once with the weights as they are."""
        self.evaluations.check()
        chosen = {evaluation.name: evaluation for evaluation in self.evaluations.plan}
        return self.evaluations.score_all(list(chosen.values()), "best")

    @contextlib.contextmanager
    def _session(self) -> Iterator[None]:
        """Resume; inside, stop at signals and watch for a stall; close log and trackers."""
        parts = self.parts
        self.started = time.perf_counter()
        self.evaluations.check()
        self.stop = StopRequest()
        self.watchdog = Watchdog(
            parts.output_dir / ".progress",
            get_rank(),
            get_world_size(),
            parts.run_cfg.stall_timeout,
        )
        try:
            with self.stop, self.watchdog:
                self.checkpoints.resume()
                self.log = TrainLog(
                    parts.log_path,
                    parts.total_steps,
                    parts.state.global_step,
                    parts.run_cfg.log_freq,
                    parts.trackers,
                )
                self.log.write("start", self._describe())
                try:
                    yield
                finally:
                    self.log.close()
        finally:
            parts.trackers.close()

    def _finished(self) -> bool:
        """Return whether all epochs are trained, evaluated and saved."""
        state, total = self.state, self.parts.total_steps
        return state.global_step >= total and (state.finished or total == 0)

    def _describe(self) -> dict[str, Any]:
        """Return the first row of the log: sizes of the run."""
        parts = self.parts
        model, loader = parts.unwrapped_model, parts.train_loader
        row = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "train_objects": len(loader.dataset),
            "bad_samples": loader.dataset.bad_samples,
            "steps_per_epoch": loader.steps_per_epoch,
            "total_steps": parts.total_steps,
            "global_batch": parts.geometry.global_batch,
            "world_size": get_world_size(),
            "device": str(parts.device),
            "precision": str(parts.precision.dtype or "float32"),
        }
        logging.info("Run: %s", row)
        return row

    def _open_epoch(self) -> tuple[Stepper, Iterator[Any], list[int]]:
        """Return what runs the steps, this rank's batches and the batches of each step left."""
        parts, state = self.parts, self.state
        parts.model.train()
        state.finished = False
        run_cfg = parts.run_cfg
        guard = Guard(
            run_cfg.on_nonfinite, run_cfg.max_skipped_steps, self.stop, state.skipped_in_row
        )
        stepper = Stepper(
            parts.model,
            parts.task,
            parts.optimizer,
            parts.precision,
            parts.device,
            run_cfg.grad_clip,
            guard,
            on_phase=lambda phase: self.watchdog.beat(self.state.global_step, phase),
        )
        loader, counts = parts.train_loader.epoch(state.epoch, state.step_in_epoch)
        if run_cfg.accumulate == "contrast":
            require_contrastive(parts.unwrapped_model)
            stepper.again = iter(parts.train_loader.epoch(state.epoch, state.step_in_epoch)[0])
        return stepper, iter(loader), counts[: parts.total_steps - state.global_step]

    def _before_step(self) -> tuple[dict[str, Any], str]:
        """Set the learning rate; return the entries added to batches and the step's name."""
        parts, state = self.parts, self.state
        set_learning_rate(parts.optimizer, parts.rate(state.global_step))
        context = {
            "epoch": state.epoch,
            "iters": state.step_in_epoch,
            "num_iters_per_epoch": parts.train_loader.steps_per_epoch,
        }
        return context, f"epoch {state.epoch}, step {state.global_step}"

    def _after_step(self, stepper: Stepper, result: StepResult) -> None:
        """Do what follows an optimiser step: average, log, save, leave."""
        parts, state = self.parts, self.state
        learning_rate = parts.rate(state.global_step)
        state.skipped_in_row = stepper.guard.skipped_in_row
        self._note_skipped(result)
        state.global_step += 1
        state.step_in_epoch += 1
        if parts.ema is not None and not result.skipped:
            parts.ema.update(state.global_step)
        self.log.add(result.values, result.objects * get_world_size(), result.wait)
        if state.global_step % parts.run_cfg.log_freq == 0:
            self.log.report(state.epoch, state.global_step, learning_rate)
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
        step, save_freq = self.state.global_step, self.parts.run_cfg.save_freq
        if signum or (save_freq and step % save_freq == 0):
            paused = time.perf_counter()
            self.watchdog.beat(step, "save")
            self.checkpoints.save()
            self.log.skip_pause(time.perf_counter() - paused)  # outside of the throughput
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

    def _close_epoch(self) -> None:
        """Report, evaluate, save the best and the last checkpoint, and enter the next epoch."""
        parts, state = self.parts, self.state
        if self.log.pending:
            self.log.report(state.epoch, state.global_step, parts.rate(state.global_step - 1))
        paused = time.perf_counter()
        epoch, last = state.epoch, state.global_step >= parts.total_steps
        due = self.evaluations.due(epoch, last)
        if due:
            # A signal in an evaluation ends the run at once: what it needs is saved before.
            self.checkpoints.save()
            self.watchdog.beat(state.global_step, "evaluate", watched=False)
            self._leave_if_asked()
            for evaluation in due:
                self._evaluate(evaluation, epoch)
        if state.step_in_epoch >= parts.train_loader.steps_per_epoch:
            state.epoch, state.step_in_epoch = epoch + 1, 0
        state.finished = last
        self.checkpoints.save()
        self.log.skip_pause(time.perf_counter() - paused)

    def _evaluate(self, evaluation: Evaluation, epoch: int) -> None:
        """Score one evaluation; the selecting one saves the best checkpoint."""
        with self.stop.at_once():
            metrics = self.evaluations.score(evaluation, epoch)
            if self.parts.ema is not None:
                self.evaluations.score_average(evaluation, epoch)
        if metrics is None or evaluation.name != self.evaluations.selecting()[0]:
            return
        state, metric = self.state, self.evaluations.selecting_metric(metrics)
        if metric is not None and state.is_better(metric, self.parts.run_cfg.agg_mode):
            before = state.best_metric, state.best_epoch
            state.best_metric, state.best_epoch = metric, epoch
            if not self.checkpoints.save(is_best=True):
                state.best_metric, state.best_epoch = before

    def _finish(self) -> dict[str, Any]:
        """Score with the best weights (the last ones if none were selected), draw the curve."""
        state = self.state
        self.log.close()
        self.watchdog.beat(state.global_step, "evaluate", watched=False)
        self._leave_if_asked()
        with self.stop.at_once():
            results = self.evaluate("best" if state.best_epoch is not None else state.epoch)
        seconds = time.perf_counter() - self.started
        self.log.write("end", {"seconds": seconds, **state.to_dict()})
        if get_rank() == 0:
            draw(self.parts.output_dir)
        logging.info("Outputs: %s", self.parts.output_dir)
        return results
