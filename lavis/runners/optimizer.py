"""AdamW over the trainable parameters: no decay on 1-D weights, rates by name prefix and depth.

References:
    layer decay: Clark et al. 2020 (ELECTRA), arXiv:2003.10555; Bao et al. 2022 (BEiT), 2106.08254
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from lavis.common.errors import ConfigError, explain, nearest

# "….blocks.3.…": a stack of numbered blocks and the number of one.
_BLOCK = re.compile(r"^(?P<stack>.*?\b(?:blocks|layers|layer|h))\.(?P<index>\d+)\.")
_INPUT = re.compile(r"embed|stem|tokenizer|cls_token|pos_|position")


def layer_scales(names: Iterable[str], decay: float) -> dict[str, float]:
    """Return the factor of each parameter by its depth.

    The last block of a stack has factor 1, each block below it `decay` times the one above; what
    feeds the stack (embeddings beside it) has one factor more. Parameters outside of any stack: 1.

    Args:
        names: of all parameters, frozen ones included: they count as layers.
        decay: factor per layer.
    """
    names = list(names)
    blocks = {name: match for name in names if (match := _BLOCK.match(name))}
    depth: dict[str, int] = {}
    for match in blocks.values():
        depth[match["stack"]] = max(depth.get(match["stack"], 0), int(match["index"]) + 1)
    scales = dict.fromkeys(names, 1.0)
    for name, match in blocks.items():
        scales[name] = decay ** (depth[match["stack"]] - 1 - int(match["index"]))
    for name in names:
        for stack, layers in depth.items():
            root = stack.split(".")[0]
            if name not in blocks and name.startswith(root + ".") and _INPUT.search(name):
                scales[name] = min(scales[name], decay**layers)
    return scales


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    lr_multipliers: Mapping[str, float],
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Group the trainable parameters by (learning-rate factor, decayed or not).

    Args:
        model: unwrapped model.
        weight_decay: decay of matrices; biases and other 1-D parameters have none.
        lr_multipliers: {name prefix: factor}; the longest matching prefix counts.
        layer_decay: factor per layer below the last of a stack (`layer_scales`); None: no decay.

    Returns:
        Optimiser groups with the extra entry `lr_scale`, in the order of the model's parameters.

    Raises:
        ConfigError: nothing to train, or a prefix that matches no trainable parameter.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        message = "the model has no trainable parameter"
        raise ConfigError(explain(message, where="model", fix="unfreeze a part, or run.evaluate"))
    for prefix in lr_multipliers:
        if not any(_has_prefix(name, prefix) for name in trainable):
            parts = {".".join(name.split(".")[:k]) for name in trainable for k in (1, 2, 3)}
            what = f"no trainable parameter starts with {prefix!r}.{nearest(prefix, parts)}"
            raise ConfigError(explain(what, where="run.lr_multipliers", got=prefix))
    depth_scales = {}
    if layer_decay is not None:
        depth_scales = layer_scales((name for name, _ in model.named_parameters()), layer_decay)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in trainable.items():
        matching = [prefix for prefix in lr_multipliers if _has_prefix(name, prefix)]
        scale = float(lr_multipliers[max(matching, key=len)]) if matching else 1.0
        scale *= depth_scales.get(name, 1.0)
        decay = 0.0 if parameter.ndim < 2 or name.endswith("bias") else weight_decay
        group = {"params": [], "weight_decay": decay, "lr_scale": scale}
        groups.setdefault((scale, decay), group)["params"].append(parameter)
    return list(groups.values())


def _has_prefix(name: str, prefix: str) -> bool:
    """Tell whether `name` is `prefix` or lies below it."""
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")


def build_optimizer(model: nn.Module, run_cfg: Mapping[str, Any]) -> torch.optim.AdamW:
    """Return AdamW as the run section describes it; the runner sets the rate at every step."""
    groups = parameter_groups(
        model,
        run_cfg["weight_decay"],
        run_cfg["lr_multipliers"],
        run_cfg.get("layer_decay"),
    )
    return torch.optim.AdamW(groups, lr=run_cfg["init_lr"], betas=(0.9, run_cfg["beta2"]))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every group to `learning_rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_scale"]
