"""Saving and resuming: everything that makes a resumed run equal the undisturbed one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from lavis.common import rng_state
from lavis.common.checkpoint import (
    find_newest,
    load_checkpoint_file,
    load_trainable_state,
    save_checkpoint,
    trainable_state,
)
from lavis.common.dist_utils import (
    all_gather_object_list,
    barrier,
    broadcast_object,
    get_rank,
    get_world_size,
    is_main_process,
)
from lavis.runners.run_state import check_resumable, state_for_geometry
from lavis.runners.runner_parts import RunnerParts
from lavis.runners.train_log import write_row

LAST, BEST = "checkpoint_last.pth", "checkpoint_best.pth"


class CheckpointedRunner(RunnerParts):
    """Adds `checkpoint_last.pth` (where the run stands) and `checkpoint_best.pth`."""

    def _save_checkpoint(self, cur_epoch: int | None = None, is_best: bool = False) -> None:
        """Save the run at a step edge (every rank must call; rank 0 writes).

        Args:
            cur_epoch: ignored, the state knows (stock signature).
            is_best: write the best checkpoint rather than the last.
        """
        random_states = all_gather_object_list(rng_state.capture())
        if is_main_process():
            payload = {
                "model": trainable_state(self.unwrapped_model),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict() if self.scaler else None,
                "state": self.state.to_dict(),
                "rng": random_states,
                "global_batch": self.geometry.global_batch,
                "steps_per_epoch": self.train_loader.steps_per_epoch,
                "config": self.config.to_dict(),
            }
            save_checkpoint(payload, self.output_dir / (BEST if is_best else LAST))
        barrier()

    def resume(self) -> None:
        """Continue from run.resume_ckpt_path (a file, or auto); nothing when that is null.

        Raises:
            CheckpointError: missing, damaged, without the state of a run, or of another model.
        """
        path = self.resume_path()
        if path is None:
            return
        payload = load_checkpoint_file(path)
        check_resumable(payload, path)
        steps = self.train_loader.steps_per_epoch
        self.state = state_for_geometry(payload, self.geometry.global_batch, steps, path)
        load_trainable_state(self.unwrapped_model, payload["model"], str(path))
        self.optimizer.load_state_dict(payload["optimizer"])
        if self.scaler and payload["scaler"]:
            self.scaler.load_state_dict(payload["scaler"])
        self._keep_best(path)
        self._restore_random_states(payload["rng"])
        write_row(self.log_path, "resume", {"path": path, **self.state.to_dict()})
        logging.info("Resumed from %s at step %d", path, self.state.global_step)

    def resume_path(self) -> Path | None:
        """Return the checkpoint that run.resume_ckpt_path names, the same on every rank."""
        wanted = self.run_cfg.resume_ckpt_path
        if wanted is None:
            return None
        if wanted != "auto":
            return Path(wanted)
        found = None
        if is_main_process():
            found = find_newest(self.output_dir.parent, self.run_cfg.job_id)
        found = broadcast_object(found)
        if found is None:
            logging.info("run.resume_ckpt_path is auto and there is no checkpoint: a new run")
        return found

    def load_weights(self, path: Path) -> None:
        """Load the weights alone, for an evaluation that names a checkpoint."""
        payload = load_checkpoint_file(path)
        model = self.unwrapped_model
        load_trainable_state(model, payload.get("model", payload), str(path))
        self.evaluated_checkpoint = path

    def _reload_best_model(self, model: nn.Module) -> nn.Module:
        """Load the weights of the best checkpoint into `model`."""
        barrier()
        path = self.output_dir / BEST
        payload = load_checkpoint_file(path, key="the best checkpoint")
        load_trainable_state(model, payload["model"], str(path))
        self.evaluated_checkpoint = path
        return model

    def _keep_best(self, resumed: Path) -> None:
        """Copy the best checkpoint of the resumed job's folder into this job's."""
        best = resumed.parent / BEST
        if self.state.best_epoch is None or best.parent.resolve() == self.output_dir.resolve():
            return
        if best.is_file():
            if is_main_process():
                save_checkpoint(load_checkpoint_file(best), self.output_dir / BEST)
        else:
            logging.warning("%s is gone: the next validation selects a new best", best)
            self.state.best_metric = self.state.best_epoch = None
        barrier()

    def _restore_random_states(self, states: list[Any]) -> None:
        """Give this rank its random state back."""
        if len(states) != get_world_size():
            logging.info("resumed with another number of processes: new random states")
            return
        rng_state.restore(states[get_rank()])
