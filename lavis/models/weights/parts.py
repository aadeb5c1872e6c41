"""Whether every trained part of a model finds weights in the checkpoints that a recipe names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from torch import nn

from lavis.common.errors import CheckpointError, ConfigError, nearest

KEY = "model.may_start_fresh"
# These have files of their own; adapters of a language model start as the identity.
_OWN_FILES = ("point_encoder", "language_model", "retrieval_head")


def loadable_parts(model: nn.Module) -> dict[str, set[str]]:
    """Return what a checkpoint brings to a Q-Former model: {part: names of its parameters}.

    A part is a module or parameter of the model itself, e.g. `vision_proj`; the Q-Former's caption
    head `qformer.cls` is one of its own. Single numbers (`temp`) have published initial values and
    are no parts.
    """
    parts = defaultdict(set)
    for name, parameter in model.named_parameters():
        part = "qformer.cls" if name.startswith("qformer.cls.") else name.split(".")[0]
        if part not in _OWN_FILES and parameter.numel() > 1:
            parts[part].add(name)
    return dict(parts)


def require_parts(model: nn.Module, found: Collection[str], allowed: Collection[str]) -> None:
    """Check that every part has weights in the checkpoints that were loaded.

    Args:
        model: the model.
        found: parameter names that the checkpoints brought.
        allowed: parts that may keep their initial values (`model.may_start_fresh`).

    Raises:
        ConfigError: `allowed` names no part of the model.
        CheckpointError: a part finds nothing and is not allowed to.
    """
    parts = loadable_parts(model)
    for name in allowed:
        if name not in parts:
            what = f"the model has no part {name!r}.{nearest(name, parts)}"
            raise ConfigError(what, where=KEY, expected=f"of {sorted(parts)}")
    fresh = [name for name, own in parts.items() if own.isdisjoint(found) and name not in allowed]
    if fresh:
        names = ", ".join(fresh)
        raise CheckpointError(
            "parts of the model find nothing in the checkpoints and would stay random",
            where="model.pretrained, model.finetuned",
            got=f"no weights of {names}",
            expected="weights of every part",
            fix=f"name the checkpoint that holds them, or allow it: {KEY}: [{names}]",
        )
