"""Saving and resuming: everything that makes a resumed run equal the undisturbed one."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lavis.common import rng_state
from lavis.common.checkpoint import load_checkpoint_file, save_checkpoint
from lavis.common.checkpoint_folder import (
    BEST,
    find_newest,
    go_on_from,
    remove_old_shards,
    save_newest,
)
from lavis.common.dist_utils import (
    all_gather_object_list,
    barrier,
    broadcast_object,
    from_main,
    get_rank,
    get_world_size,
    is_main_process,
)
from lavis.common.errors import CheckpointError
from lavis.common.launch import is_restarted
from lavis.common.model_state import load_trainable_state, trainable_state
from lavis.models.teachers import check_trained_space
from lavis.runners.optimizer import own_options
from lavis.runners.parts import RunParts
from lavis.runners.resume_keys import SELECTS, Change, check_changes
from lavis.runners.run_state import check_frozen, check_resumable, state_for_geometry
from lavis.runners.shard_files import (
    load_optimizer,
    load_tensors,
    read_shards,
    shard_path,
    to_local,
)
from lavis.runners.sharding import is_sharded

SHARDED = ("model", "optimizer", "ema")


class Checkpoints:
    """Saves and loads `checkpoint_last.pth` (the newest state), its predecessors and the best."""

    def __init__(self, parts: RunParts) -> None:
        self.parts = parts

    def _payload(self, random_states: list[Any]) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {
            "model": trainable_state(self.parts.unwrapped_model),
            "optimizer": self.parts.optimizer.state_dict(),
            "scaler": self.parts.scaler.state_dict() if self.parts.scaler else None,
            "ema": self.parts.ema.state_dict() if self.parts.ema else None,
            "state": self.parts.state.to_dict(),
            "run_id": self.parts.run_id,
            "rng": random_states,
            "frozen": self.parts.frozen,
            # of the teachers that a model is aligned with: models/teachers
            "space": getattr(self.parts.unwrapped_model, "space", None),
            "sizes": list(self.parts.train_loader.dataset.sizes),
            "global_batch": self.parts.geometry.global_batch,
            "steps_per_epoch": self.parts.train_loader.steps_per_epoch,
            "config": self.parts.config.to_dict(),
        }

    def _write_shard(self, payload: dict[str, Any]) -> str | None:
        """Move what is sharded into this rank's own file; return what went wrong on any rank."""
        if not is_sharded(self.parts.unwrapped_model):
            return None
        step, problem = self.parts.state.global_step, None
        try:
            path = shard_path(self.parts.output_dir, step, get_rank(), get_world_size())
            save_checkpoint({key: to_local(payload.pop(key)) for key in SHARDED}, path, step)
            payload |= {key: {} for key in SHARDED} | {"shards": get_world_size()}
        except CheckpointError as error:
            problem = str(error)
        found = [text for text in all_gather_object_list(problem) if text]
        return found[0] if found else None

    def _write_main(self, payload: dict[str, Any], is_best: bool) -> str | None:
        """Write the checkpoint's file on rank 0; return what went wrong."""
        step = self.parts.state.global_step
        try:
            if is_best:
                save_checkpoint(payload, self.parts.output_dir / BEST, step)
            else:
                save_newest(
                    payload, self.parts.output_dir, step, self.parts.run_cfg.keep_checkpoints
                )
            remove_old_shards(self.parts.output_dir)
        except CheckpointError as error:
            return str(error)
        return None

    def save(self, is_best: bool = False) -> bool:
        """Save the run between two steps (every rank must call; rank 0 writes).

        Args:
            is_best: write the best checkpoint rather than the last.

        Returns:
            Whether it was saved.

        Raises:
            CheckpointError: on every rank, when the save failed and run.on_save_error is stop.
        """
        payload = self._payload(all_gather_object_list(rng_state.capture()))
        problem = self._write_shard(payload)
        if problem is None and is_main_process():
            problem = self._write_main(payload, is_best)
        problem = broadcast_object(problem)  # and no rank continues before the file exists
        if problem is None:
            return True
        if self.parts.run_cfg.on_save_error == "stop":
            raise CheckpointError(problem)
        self.parts.write_row(
            "save_failed", {"step": self.parts.state.global_step, "problem": problem}
        )
        if is_main_process():
            logging.error(
                "training continues without this checkpoint (run.on_save_error): %s", problem
            )
        return False

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
        changed = self._check_keys(payload, path)
        check_frozen(payload, self.parts.frozen, path)
        steps = self.parts.train_loader.steps_per_epoch
        self.parts.state = state_for_geometry(
            payload,
            self.parts.geometry.global_batch,
            steps,
            self.parts.train_loader.dataset.sizes,
            path,
        )
        if any(change.effect == SELECTS for change in changed):
            self.parts.state.best_metric = self.parts.state.best_epoch = None
        if path.parent.resolve() == self.parts.output_dir.resolve():
            # An older checkpoint of the same folder is refused, on every rank.
            from_main(lambda: go_on_from(self.parts.output_dir, self.parts.state.global_step))
        self.parts.run_id = payload.get("run_id") or self.parts.run_id
        self._load_model_and_average(payload, path)
        with own_options(self.parts.optimizer, path):
            self._load_optimizer(payload)
        if self.parts.scaler and payload["scaler"]:
            self.parts.scaler.load_state_dict(payload["scaler"])
        self._keep_best(path)
        self._restore_random_states(payload["rng"])
        row = {"path": path, **self.parts.state.to_dict(), "changed": [asdict(c) for c in changed]}
        self.parts.write_row("resume", row)
        logging.info("Resumed from %s at step %d", path, self.parts.state.global_step)

    def _check_keys(self, payload: dict[str, Any], path: Path) -> list[Change]:
        """Refuse or report keys whose values differ between the recipe and the checkpoint."""
        step = payload["state"]["step_in_epoch"]
        inside = 0 < step < payload["steps_per_epoch"]
        before = payload.get("config") or {}
        return check_changes(before, self.parts.config.to_dict(), inside, path)

    def _load_model_and_average(self, payload: dict[str, Any], path: Path) -> None:
        """Load weights and their average; an average that begins now begins at those weights."""
        model = self.parts.unwrapped_model
        self._add_shards(payload, path)
        if is_sharded(model):
            load_tensors(model.state_dict(), payload["model"])
        else:
            load_trainable_state(model, payload["model"], str(path))
        if self.parts.ema is not None and payload.get("ema"):
            load_tensors(self.parts.ema.state_dict(), payload["ema"])
        elif self.parts.ema is not None:
            logging.warning("the checkpoint has no average of the weights: it begins here")
            del self.parts.ema

    def _add_shards(self, payload: dict[str, Any], path: Path) -> None:
        """Load the shard files of the checkpoint at `path` into its payload."""
        if payload.get("shards"):
            whole = not is_sharded(self.parts.unwrapped_model)
            step, stored = payload["state"]["global_step"], payload["shards"]
            payload |= read_shards(path.parent, step, stored, get_rank(), get_world_size(), whole)

    def _load_optimizer(self, payload: dict[str, Any]) -> None:
        if is_sharded(self.parts.unwrapped_model):
            load_optimizer(self.parts.optimizer, payload["optimizer"])
        else:
            self.parts.optimizer.load_state_dict(payload["optimizer"])

    def resume_path(self) -> Path | None:
        """Return the checkpoint that run.resume_ckpt_path names, the same on every rank."""
        wanted = self.parts.run_cfg.resume_ckpt_path
        if wanted is None:
            return None
        found = None
        if wanted == "auto" or is_restarted():
            found = from_main(self._find_newest)
        if found is None and wanted != "auto":
            return Path(wanted)
        if found is None:
            logging.info("run.resume_ckpt_path is auto and there is no checkpoint: a new run")
        return found

    def _find_newest(self) -> Path | None:
        """Return the newest checkpoint of this job; a new job without a name takes any job's."""
        base = self.parts.output_dir.parent
        own = find_newest(base, self.parts.job_id)
        if own is not None or self.parts.run_cfg.job_id or is_restarted():
            return own
        return find_newest(base)

    def load_weights(self, path: Path) -> bool:
        """Load the weights, for an evaluation that names a checkpoint.

        Returns:
            Whether run.ema_decay asked for their average and the checkpoint had one.

        Raises:
            CheckpointError: damaged, of other sizes, or trained in another space.
        """
        payload = load_checkpoint_file(path)
        self._add_shards(payload, path)
        model, average = self.parts.unwrapped_model, payload.get("ema")
        if space := getattr(model, "space", None):
            check_trained_space(payload, space, str(path))
        load_trainable_state(model, payload.get("model", payload), str(path))
        self.parts.evaluated_checkpoint = path
        if not average or self.parts.ema is None:
            return False
        load_tensors(self.parts.ema.state_dict(), average)
        return True

    def load_best(self) -> None:
        """Load the weights of the best checkpoint."""
        barrier()
        path = self.parts.output_dir / BEST
        payload = load_checkpoint_file(path, key="the best checkpoint")
        self._load_model_and_average(payload, path)
        self.parts.evaluated_checkpoint = path

    def _keep_best(self, resumed: Path) -> None:
        """Copy the best checkpoint of the resumed job's folder into this job's."""
        best = resumed.parent / BEST
        if (
            self.parts.state.best_epoch is None
            or best.parent.resolve() == self.parts.output_dir.resolve()
        ):
            return
        if best.is_file():
            if is_main_process():
                payload = load_checkpoint_file(best)
                save_checkpoint(
                    payload, self.parts.output_dir / BEST, payload["state"]["global_step"]
                )
        else:
            logging.warning("%s is gone: the next validation selects a new best", best)
            self.parts.state.best_metric = self.parts.state.best_epoch = None
        barrier()

    def _restore_random_states(self, states: list[Any]) -> None:
        """Restore the random state of this rank."""
        if len(states) != get_world_size():
            logging.info("resumed with another number of processes: new random states")
            rng_state.reseed(self.parts.run_cfg.seed, self.parts.state.global_step, get_rank())
            return
        rng_state.restore(states[get_rank()])
