"""The parts of a run, each built from its configuration when first needed.

The loop (`runner`), saving and resuming (`checkpoints`) and scoring (`evaluations`) share one
`RunParts`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lavis.common.dist_utils import (
    broadcast_object,
    get_rank,
    get_world_size,
    is_main_process,
    resolve_device,
)
from lavis.common.errors import StorageError
from lavis.common.model_state import frozen_hash
from lavis.common.precision import fast_bf16
from lavis.runners.batching import build_train_loader
from lavis.runners.distribution import prepare_for_training, share_weights
from lavis.runners.ema import Ema
from lavis.runners.embeds_check import check_embeds
from lavis.runners.loaders import TrainLoader, eval_loader
from lavis.runners.lr_schedules import SCHEDULES, LrPlan
from lavis.runners.optimizer import build_optimizer, select_trainable
from lavis.runners.outputs import job_folder, job_path, register_paths
from lavis.runners.run_state import RunState
from lavis.runners.samplers import BatchGeometry
from lavis.runners.sharding import unwrap
from lavis.runners.stepper import Precision
from lavis.runners.trackers import Trackers
from lavis.runners.train_log import write_row

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class RunParts:
    """Components of a run; see `PointRunner` for the arguments."""

    def __init__(
        self,
        cfg: Any,
        task: Any,
        model: nn.Module,
        datasets: Mapping[str, Mapping[str, Any]],
        job_id: str,
        dry_run: bool = False,
    ) -> None:
        self.config, self.run_cfg, self.task, self.job_id = cfg, cfg.run_cfg, task, job_id
        self.datasets, self.dry_run = datasets, dry_run
        check_embeds(model, datasets)
        read_objects: Any = getattr(model, "read_training_objects", None)
        if read_objects is not None and not dry_run:
            read_objects([next(iter(splits.values())) for splits in datasets.values() if splits])
        if not cfg.run_cfg.evaluate:
            select_trainable(model, cfg.run_cfg.trainable)
        self.module = model  # neither moved nor wrapped, until `model` is read
        self.state = RunState()
        self.run_id = uuid.uuid4().hex  # rank 0's is saved; a resumed run keeps its own
        # The file whose weights are being scored; None while the weights are those in training.
        self.evaluated_checkpoint: Path | None = None
        self.output_dir = job_path(cfg.run_cfg.output_dir, job_id)
        self.result_dir = self.output_dir / "result"
        self.log_path = self.output_dir / "log.jsonl"
        if not dry_run:
            self._create_folder()

    def _create_folder(self) -> None:
        """Create the job's folder and save the resolved configuration in it."""
        job_folder(self.run_cfg.output_dir, self.job_id)
        register_paths(self.output_dir)
        if is_main_process():
            try:
                self.config.save(self.output_dir / "config.yaml")
            except StorageError as error:  # every checkpoint holds the configuration, too
                logging.warning("%s", error)

    @property
    def evaluate_only(self) -> bool:
        """Whether the run never trains."""
        return bool(self.run_cfg.evaluate)

    @property
    def cuda_enabled(self) -> bool:
        """Whether this process computes on a GPU."""
        return self.device.type == "cuda"

    @cached_property
    def device(self) -> torch.device:
        """The device of this process."""
        return resolve_device(self.config.run_cfg.device)

    @cached_property
    def model(self) -> nn.Module:
        """The model on its device; wrapped when several processes train it."""
        model = self.module.to(self.device)
        if self.evaluate_only:
            share_weights(model)
            return model
        if self.run_cfg.strategy == "fsdp":
            _ = self.frozen  # hashed while it is whole
        return prepare_for_training(model, self.run_cfg, self.device)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without DDP."""
        return unwrap(self.model)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser over the trainable parameters."""
        return build_optimizer(self.unwrapped_model, self.run_cfg)

    @cached_property
    def frozen(self) -> str:
        """Hash of the frozen parameters, which checkpoints leave out."""
        digest = frozen_hash(self.module) if is_main_process() else ""
        return broadcast_object(digest)

    @cached_property
    def ema(self) -> Ema | None:
        """Moving average of the trained weights; None without run.ema_decay."""
        decay = self.run_cfg.ema_decay
        return None if decay is None else Ema(self.unwrapped_model, decay)

    @cached_property
    def trackers(self) -> Trackers:
        """Experiment trackers of `run.trackers`."""
        return Trackers(self.run_cfg.trackers, self.output_dir, self.config.to_dict())

    def write_row(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one row to `log.jsonl` and hand its numbers to the trackers (rank 0)."""
        write_row(self.log_path, kind, values)
        self.trackers.log(kind, self.state.global_step, values)

    @cached_property
    def precision(self) -> Precision:
        """Autocast of run.amp; on a CPU in bf16 only, and by `amp_dtype: auto` where it is fast."""
        name, device_type = self.run_cfg.amp_dtype, self.device.type
        if not self.run_cfg.amp:
            return Precision(device_type)
        if not self.cuda_enabled:
            if name == "bf16" or (name == "auto" and fast_bf16("cpu")):
                return Precision(device_type, torch.bfloat16)
            logging.info(
                "run.amp is ignored: this CPU has no bf16 instructions, or fp16 was asked for"
            )
            return Precision(device_type)
        if name == "auto":
            name = "bf16" if fast_bf16("cuda") else "fp16"
        scaler = torch.amp.GradScaler("cuda") if name == "fp16" else None
        return Precision("cuda", AMP_DTYPES[name], scaler)

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler, in fp16 only."""
        return self.precision.scaler

    @cached_property
    def geometry(self) -> BatchGeometry:
        """Samples per batch, processes and accumulation."""
        run_cfg = self.run_cfg
        return BatchGeometry(run_cfg.batch_size_train, get_world_size(), run_cfg.accum_grad_iters)

    @cached_property
    def train_loader(self) -> TrainLoader:
        """Training batches of this rank, over every data set that has a training split."""
        return build_train_loader(self.run_cfg, self.datasets, self.geometry, self.cuda_enabled)

    def eval_loader(self, dataset: Any) -> Any:
        """Return this rank's share of an evaluation data set."""
        return eval_loader(
            dataset,
            self.run_cfg.batch_size_eval,
            rank=get_rank(),
            world_size=get_world_size(),
            num_workers=self.run_cfg.num_workers,
            pin_memory=self.cuda_enabled,
        )

    @cached_property
    def lr_plan(self) -> LrPlan:
        """What the learning-rate schedule depends on."""
        run_cfg = self.run_cfg
        if run_cfg.warmup_steps >= self.total_steps:
            logging.warning(
                "run.warmup_steps (%d) is not below the run's %d steps: init_lr is never reached",
                run_cfg.warmup_steps,
                self.total_steps,
            )
        return LrPlan(
            total_steps=self.total_steps,
            steps_per_epoch=self.train_loader.steps_per_epoch,
            init_lr=run_cfg.init_lr,
            min_lr=run_cfg.min_lr,
            warmup_lr=run_cfg.warmup_lr,
            warmup_steps=run_cfg.warmup_steps,
            decay_rate=run_cfg.lr_decay_rate,
        )

    @cached_property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run: max_epoch, capped by max_steps."""
        limits = [self.run_cfg.max_steps] if self.run_cfg.max_steps is not None else []
        if self.run_cfg.max_epoch is not None:
            limits.append(self.run_cfg.max_epoch * self.train_loader.steps_per_epoch)
        return int(min(limits))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return SCHEDULES[self.run_cfg.lr_sched](step, self.lr_plan)
