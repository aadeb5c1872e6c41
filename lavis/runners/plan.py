"""The plan of a run, computed without training: `train.py --dry-run` prints it.

Parameters by part, objects and tokens of a step, steps and rates, and an estimate of the memory:
weights, gradients, optimiser and average are arithmetic; what the backward pass keeps is counted in
one forward pass of two samples.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lavis.common.dist_utils import get_world_size
from lavis.runners.loaders import TrainLoader
from lavis.runners.samplers import BatchGeometry

GIB = 2**30
SAMPLED_TEXTS = 256


def parameter_counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return {part: (trainable, frozen)} of the model's children and own parameters."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = counts.setdefault(name.split(".")[0], [0, 0])
        part[0 if parameter.requires_grad else 1] += parameter.numel()
    return {name: (trained, frozen) for name, (trained, frozen) in counts.items()}


def state_bytes(model: nn.Module, average: bool) -> dict[str, int]:
    """Return the bytes of weights, gradients, optimiser (two moments) and averaged weights."""
    parameters = list(model.parameters())
    trained = sum(p.nbytes for p in parameters if p.requires_grad)
    return {
        "weights": sum(p.nbytes for p in parameters),
        "gradients": trained,
        "optimizer": 2 * trained,
        "average": trained if average else 0,
    }


def kept_for_backward(task: Any, model: nn.Module, samples: Any) -> int:
    """Return the bytes that the backward pass of `samples` would keep, each tensor once."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # The graph is kept until the end of this block, so addresses stay unique.
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = task.train_step(model=model, samples=samples)
        del output
    return sum(kept.values())


def tokens_per_object(model: nn.Module, texts: Iterable[str]) -> float:
    """Return the mean tokens of the texts, by the model's tokenizer or 1.3 a word."""
    texts = list(texts)[:SAMPLED_TEXTS]
    if not texts:
        return 0.0
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return sum(1.3 * len(text.split()) for text in texts) / len(texts)
    return sum(len(tokenizer(text)["input_ids"]) for text in texts) / len(texts)


def make_plan(parts: Any) -> dict[str, Any]:
    """Return the plan of a run as plain values.

    Args:
        parts: the `RunParts`; the model is neither moved nor wrapped.
    """
    model, run_cfg = parts.module, parts.run_cfg
    loader, total = parts.train_loader, parts.total_steps
    counts = parameter_counts(model)
    memory = state_bytes(model, run_cfg.ema_decay is not None)
    memory["kept_for_backward"] = _kept(parts)
    texts = [
        str(entry["caption"])
        for member in loader.dataset.members
        for entry in getattr(member, "annotation", [])[:SAMPLED_TEXTS]
        if "caption" in entry
    ]
    rates = {step: parts.rate(step) for step in (0, run_cfg.warmup_steps, total - 1)}
    return {
        "device": str(parts.device),
        "precision": str(parts.precision.dtype or "float32"),
        "processes": get_world_size(),
        "parameters": {name: {"trainable": t, "frozen": f} for name, (t, f) in counts.items()},
        "trainable": sum(t for t, _ in counts.values()),
        "frozen": sum(f for _, f in counts.values()),
        "train_objects": len(loader.dataset),
        "objects_per_step": parts.geometry.global_batch,
        "text_tokens_per_step": round(
            tokens_per_object(model, texts) * parts.geometry.global_batch
        ),
        "steps_per_epoch": loader.steps_per_epoch,
        "total_steps": total,
        "schedule": run_cfg.lr_sched,
        "learning_rates": {str(step): rate for step, rate in sorted(rates.items()) if step < total},
        "memory_bytes_per_process": memory,
        "checkpoint_bytes": memory["gradients"] + memory["optimizer"] + memory["average"],
        "disk_free_bytes": shutil.disk_usage(_existing(parts.output_dir)).free,
        "keep_checkpoints": run_cfg.keep_checkpoints,
        "output_dir": str(parts.output_dir),
    }


def _kept(parts: Any) -> int:
    """Return the estimate for one batch of one process, from a batch of two."""
    batch = parts.geometry.batch_size
    size = min(2, batch)
    members = parts.train_loader.dataset.members
    small = TrainLoader(members, BatchGeometry(size), seed=parts.run_cfg.seed)
    samples = next(iter(small.epoch(0)[0]))
    context = {"epoch": 0, "iters": 0, "num_iters_per_epoch": small.steps_per_epoch}
    if isinstance(samples, dict):
        samples.update(context)
    with parts.precision.autocast() if parts.device.type == "cpu" else torch.autocast("cpu"):
        kept = kept_for_backward(parts.task, parts.module.train(), samples)
    return kept * batch // size


def _existing(folder: Path) -> Path:
    """Return the folder or the nearest one above it that exists."""
    return next(parent for parent in [folder, *folder.parents] if parent.exists())


def render(plan: dict[str, Any]) -> str:
    """Return the plan as lines to read."""
    memory = plan["memory_bytes_per_process"]
    lines = [f"{'part':24} {'trainable':>15} {'frozen':>15}"]
    lines += [
        f"{name:24} {part['trainable']:15,} {part['frozen']:15,}"
        for name, part in plan["parameters"].items()
    ]
    lines.append(f"{'all':24} {plan['trainable']:15,} {plan['frozen']:15,}")
    lines += [
        f"device {plan['device']}, {plan['precision']}, {plan['processes']} process(es)",
        f"{plan['objects_per_step']:,} objects and about {plan['text_tokens_per_step']:,} text "
        f"tokens a step; {plan['train_objects']:,} objects an epoch",
        f"{plan['steps_per_epoch']:,} steps an epoch, {plan['total_steps']:,} in all; "
        f"{plan['schedule']}: "
        + ", ".join(f"{rate:.2e} at {step}" for step, rate in plan["learning_rates"].items()),
        f"memory of a process, about {sum(memory.values()) / GIB:.2f} GiB: "
        + ", ".join(f"{name} {size / GIB:.2f}" for name, size in memory.items()),
        f"checkpoints of about {plan['checkpoint_bytes'] / GIB:.2f} GiB, "
        f"{plan['keep_checkpoints']} and the best kept; {plan['disk_free_bytes'] / GIB:.1f} GiB "
        f"free below {plan['output_dir']}",
    ]
    return "\n".join(lines)
