"""The optimiser over the trainable parameters: no decay on 1-D weights, rates by prefix and depth.

References:
    layer decay: Clark et al. 2020 (ELECTRA), arXiv:2003.10555; Bao et al. 2022 (BEiT), 2106.08254
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lavis.common.errors import CheckpointError, ConfigError, nearest

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

    The groups depend on the parameters and factors alone, so a resumed run may have another decay.

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
        raise ConfigError(message, where="model", fix="unfreeze a part, or run.evaluate")
    for prefix in lr_multipliers:
        if not any(_has_prefix(name, prefix) for name in trainable):
            parts = {".".join(name.split(".")[:k]) for name in trainable for k in (1, 2, 3)}
            what = f"no trainable parameter starts with {prefix!r}.{nearest(prefix, parts)}"
            raise ConfigError(what, where="run.lr_multipliers", got=prefix)
    depth_scales = {}
    if layer_decay is not None:
        depth_scales = layer_scales((name for name, _ in model.named_parameters()), layer_decay)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in trainable.items():
        matching = [prefix for prefix in lr_multipliers if _has_prefix(name, prefix)]
        scale = float(lr_multipliers[max(matching, key=len)]) if matching else 1.0
        scale *= depth_scales.get(name, 1.0)
        decayed = not (parameter.ndim < 2 or name.endswith("bias"))
        decay = weight_decay if decayed else 0.0
        group = {"params": [], "weight_decay": decay, "lr_scale": scale}
        groups.setdefault((scale, decayed), group)["params"].append(parameter)
    return list(groups.values())


def _has_prefix(name: str, prefix: str) -> bool:
    """Return whether `name` is `prefix` or lies below it."""
    return name == prefix or name.startswith(prefix.rstrip(".") + ".")


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adafactor": torch.optim.Adafactor,
    "sgd": torch.optim.SGD,
}


def build_optimizer(model: nn.Module, run_cfg: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimiser of run.optimizer; the runner sets the rate at every step.

    The Adam family takes run.beta2, SGD run.momentum.
    """
    groups = parameter_groups(
        model,
        run_cfg["weight_decay"],
        run_cfg["lr_multipliers"],
        run_cfg.get("layer_decay"),
    )
    name = run_cfg.get("optimizer", "adamw")
    options: dict[str, Any] = {"betas": (0.9, run_cfg["beta2"])}
    if name == "sgd":
        options = {"momentum": run_cfg["momentum"]}
    elif name == "adafactor":
        options = {}
    return OPTIMIZERS[name](groups, lr=run_cfg["init_lr"], **options)  # type: ignore[call-arg]


def select_trainable(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze every parameter whose name matches no pattern.

    A pattern selects among the parameters that the model leaves trainable: a part that the model
    freezes also runs in evaluation mode and without a graph, which no pattern can undo.

    Args:
        model: unwrapped.
        patterns: globs such as "qformer.*" or "*.bias"; none: the model's own choice.

    Raises:
        ConfigError: a pattern matches no trainable parameter.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise _unmatched(model, pattern, names)
    for name, parameter in model.named_parameters() if patterns else ():
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def _unmatched(model: nn.Module, pattern: str, trainable: Sequence[str]) -> ConfigError:
    """Compose the message for a pattern that matches no trainable parameter."""
    everything = [name for name, _ in model.named_parameters()]
    frozen = fnmatch.filter(everything, pattern)
    what = f"the pattern {pattern!r} matches frozen parameters only ({frozen[0]})" if frozen else ""
    near = difflib.get_close_matches(pattern.replace("*", ""), trainable, n=3, cutoff=0.3)
    return ConfigError(
        what or f"the pattern {pattern!r} matches no parameter",
        where="run.trainable",
        got=pattern,
        expected=f"a glob of trainable names; nearest: {', '.join(near or trainable[:3])}",
        fix="switch off the model's own freezing of that part" if frozen else None,
    )


@contextlib.contextmanager
def own_options(optimizer: torch.optim.Optimizer, path: Any) -> Iterator[None]:
    """Keep the optimiser's own options (decay, betas, factors) while a state is loaded into it.

    Args:
        optimizer: freshly built from the recipe.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: the state is of other parameter groups.
    """
    groups = optimizer.param_groups
    own = [{key: value for key, value in g.items() if key != "params"} for g in groups]
    try:
        yield
    except ValueError as error:  # how torch reports other groups
        raise CheckpointError(
            "the optimiser's state is of other parameter groups",
            where=f"run.resume_ckpt_path: {path}",
            got=error,
            expected="the same trainable parameters, rates and layer decay",
            fix="compare with the config.yaml beside the checkpoint",
        ) from error
    for group, options in zip(optimizer.param_groups, own, strict=True):
        group.update(options)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every group to `learning_rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_scale"]
