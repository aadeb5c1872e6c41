"""The parts of a run, each built from its configuration when first needed.

Stock `RunnerBase` builds no model on the CPU, sets DDP's device ids without a GPU, knows fp16 only
and pads evaluation shards; these properties replace its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lavis.common.dist_utils import (
    broadcast_object,
    get_rank,
    get_world_size,
    is_dist_avail_and_initialized,
    is_main_process,
    resolve_device,
)
from lavis.common.errors import ConfigError, explain, nearest
from lavis.common.model_state import frozen_hash
from lavis.common.precision import fast_bf16
from lavis.runners.ema import Ema
from lavis.runners.loaders import TrainLoader, eval_loader
from lavis.runners.lr_schedules import LrPlan
from lavis.runners.memory_savers import checkpoint_activations
from lavis.runners.optimizer import build_optimizer
from lavis.runners.outputs import job_folder, job_path, register_paths
from lavis.runners.run_state import RunState
from lavis.runners.runner_base import RunnerBase
from lavis.runners.samplers import BatchGeometry
from lavis.runners.sharding import shard, unwrap
from lavis.runners.stepper import Precision
from lavis.runners.trackers import Trackers
from lavis.runners.train_log import write_row

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class RunnerParts(RunnerBase):
    """Everything a run is made of; see `PointRunner` for the arguments."""

    def __init__(
        self,
        cfg: Any,
        task: Any,
        model: nn.Module,
        datasets: Mapping[str, Mapping[str, Any]],
        job_id: str,
        dry_run: bool = False,
    ) -> None:
        self._model: nn.Module
        self.dry_run = dry_run
        super().__init__(cfg=cfg, task=task, model=model, datasets=datasets, job_id=job_id)
        self.run_cfg = cfg.run_cfg
        self.state = RunState()
        # The file whose weights are being scored; None while the weights are those in training.
        self.evaluated_checkpoint: Path | None = None

    def setup_output_dir(self) -> None:
        """Create the job's folder and save the resolved configuration in it (not in a dry run)."""
        if self.dry_run:
            self.output_dir = job_path(self.config.run_cfg.output_dir, self.job_id)
            return
        self.output_dir = job_folder(self.config.run_cfg.output_dir, self.job_id)
        self.result_dir = self.output_dir / "result"
        self.log_path = self.output_dir / "log.jsonl"
        register_paths(self.output_dir)
        if is_main_process():
            self.config.save(self.output_dir / "config.yaml")

    @cached_property
    def device(self) -> torch.device:
        """The device of this process."""
        return resolve_device(self.config.run_cfg.device)

    @property
    def use_distributed(self) -> bool:
        """Whether there is a process group."""
        return is_dist_avail_and_initialized()

    @cached_property
    def model(self) -> nn.Module:
        """The model on its device; wrapped in DDP when several processes train it."""
        self._model = self._model.to(self.device)
        if self.evaluate_only:
            if self.use_distributed:
                # Parts that no checkpoint covers are initialised by each rank: take rank 0's.
                for tensor in self._model.state_dict().values():
                    shared = tensor.contiguous()
                    dist.broadcast(shared, src=0)
                    tensor.copy_(shared)
            return self._model
        if self.run_cfg.activation_checkpointing:
            logging.info("recomputing %d blocks", checkpoint_activations(self._model))
        if self.run_cfg.compile:
            self._model.compile(backend=self.run_cfg.compile_backend)
        if not self.use_distributed:
            return self._model
        if self.run_cfg.strategy == "fsdp":
            _ = self.frozen  # hashed while it is whole
            return shard(self._model, self.device.type)
        return DistributedDataParallel(
            self._model,
            device_ids=[self.device.index] if self.cuda_enabled else None,
            find_unused_parameters=bool(self.run_cfg.find_unused_parameters),
        )

    def unwrap_dist_model(self, model: nn.Module) -> nn.Module:
        """Return the model inside DDP."""
        return unwrap(model)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without DDP."""
        return self.unwrap_dist_model(self.model)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over the trainable parameters."""
        return build_optimizer(self.unwrapped_model, self.run_cfg)

    @cached_property
    def frozen(self) -> str:
        """Hash of the frozen parameters, which checkpoints leave out."""
        digest = frozen_hash(self._model) if is_main_process() else ""
        return broadcast_object(digest)

    @cached_property
    def ema(self) -> Ema | None:
        """The average of the trained weights when run.ema_decay asks for it."""
        decay = self.run_cfg.ema_decay
        return None if decay is None else Ema(self.unwrapped_model, decay)

    @cached_property
    def trackers(self) -> Trackers:
        """Who gets the log's numbers beside `log.jsonl`."""
        return Trackers(self.run_cfg.trackers, self.output_dir, self.config.to_dict())

    def write_row(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append one row to `log.jsonl` and hand its numbers to the trackers (rank 0)."""
        write_row(self.log_path, kind, values)
        self.trackers.log(kind, self.state.global_step, values)

    @cached_property
    def precision(self) -> Precision:
        """Autocast when run.amp asks for it; on a CPU only in bf16, and by itself only if fast."""
        name, device_type = self.run_cfg.amp_dtype, self.device.type
        if not self.run_cfg.amp:
            return Precision(device_type)
        if not self.cuda_enabled:
            if name == "bf16" or (name == "auto" and fast_bf16("cpu")):
                return Precision(device_type, torch.bfloat16)
            logging.info("run.amp is ignored: this CPU has no bf16 instructions, or fp16 was asked")
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
        found = [item for split in self.train_splits for item in self.members(split).items()]
        if not found:
            raise ConfigError(explain("nothing to train on", where="run.train_splits", got="[]"))
        return TrainLoader(
            [dataset for _, dataset in found],
            self.geometry,
            rank=get_rank(),
            seed=self.run_cfg.seed,
            num_workers=self.run_cfg.num_workers,
            pin_memory=self.cuda_enabled,
            repeats=self._repeats([name for name, _ in found]),
            bucket_steps=self.run_cfg.length_buckets,
        )

    def _repeats(self, names: Sequence[str]) -> list[int]:
        """Return how often an epoch passes through each training data set."""
        repeats = self.run_cfg.train_dataset_repeats
        wrong = [n for n, times in repeats.items() if n not in names or times < 1 or times % 1]
        if wrong:
            raise ConfigError(
                explain(
                    "a data set cannot be repeated like this",
                    where=f"run.train_dataset_repeats.{wrong[0]}",
                    got=repeats[wrong[0]],
                    expected=f"a whole number of at least 1 for one of {list(names)}",
                )
            )
        return [int(repeats.get(name, 1)) for name in names]

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

    @property
    def dataloaders(self) -> dict[str, Any]:
        """Evaluation loaders by split (stock name)."""
        splits = dict.fromkeys([*self.valid_splits, *self.test_splits])
        return {s: self.eval_loader(next(iter(self.members(s).values()))) for s in splits}

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

    def members(self, split: str) -> dict[str, Any]:
        """Return {data set: dataset} of a split."""
        found = {name: splits[split] for name, splits in self.datasets.items() if split in splits}
        if not found:
            known = sorted({name for splits in self.datasets.values() for name in splits})
            what = f"no data set has the split {split!r}.{nearest(split, known)}"
            raise ConfigError(explain(what, where="run.*_splits", got=split, expected=known))
        return found
