"""Save the trained state of a model to a checkpoint, and load it.

Model states hold the trainable parameters and all buffers (running statistics of batch
normalisation included). Frozen parameters are left out: they come from the recipe, and their hash
shows whether they have changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from lavis.common.errors import CheckpointError


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict without frozen parameters; buffers stay."""
    frozen = frozen_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def frozen_names(model: nn.Module) -> set[str]:
    """Return the names (every alias of tied ones too) of parameters that are not trained."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}


def frozen_hash(model: nn.Module) -> str:
    """Return a SHA-256 over the frozen parameters: names, types, shapes and values.

    A checkpoint leaves them out; the hash shows whether a resumed run has the same ones.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            value = parameter.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_trainable_state(model: nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Load what `trainable_state` returned: strict, except that frozen parameters may be absent.

    Raises:
        CheckpointError: any other name is missing, unknown or of another shape; the message lists
            them by module, with shapes.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and name not in frozen_names(model)]
    unexpected = [name for name in state if name not in own]
    # An empty buffer takes the size of the saved one (point_blip_models/retrieved_texts.py).
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and own[name].numel() and state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        raise CheckpointError(
            "a checkpoint does not fit the model",
            where=where,
            got=model_report(missing, unexpected, shapes),
            expected="the model section the checkpoint was trained with",
            fix="compare with the config.yaml beside the checkpoint",
        )
    model.load_state_dict(dict(state), strict=False)


def model_report(
    missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str] = ()
) -> str:
    """Summarise names that did not match, counted per module: one line each."""
    lines = []
    for title, names in (("missing", missing), ("unexpected", unexpected), ("shape", shapes)):
        by_module: dict[str, list[str]] = {}
        for name in names:
            by_module.setdefault(name.split(".")[0], []).append(name)
        for module, members in by_module.items():
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            lines.append(f"{title}: {module} ({members[0]}{more})")
    return "; ".join(lines) or "every name matched"
