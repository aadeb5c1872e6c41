"""Where a fine-tuned model starts: the network of pre-training, or a stage of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError
from lavis.common.model_state import load_trainable_state, model_report
from lavis.models.teachers import check_trained_space
from lavis.models.weights.files import weights_file

_logger = logging.getLogger(__name__)


def load_start(
    model: Any, section: Mapping[str, Any], required: tuple[str, ...] = ("network.",)
) -> None:
    """Load `pretrained` (what is required, and other parts that fit), then `finetuned` (all parts).

    Args:
        model: has `network` and `space`; gets `loaded_checkpoint`.
        section: the `model` section.
        required: beginnings of the names of parameters that `pretrained` has to hold.

    Raises:
        CheckpointError: not found, damaged, of another space or of other sizes.
    """
    for key in ("pretrained", "finetuned"):
        if not section.get(key):
            continue
        path = weights_file(str(section[key]), f"model.{key}")
        where = f"model.{key}: {path}"
        payload = load_checkpoint_file(path, f"model.{key}")
        check_trained_space(payload, model.space, where)
        state = payload.get("model", payload)
        if key == "pretrained":
            _load_parts(model, state, where, required)
        else:
            load_trainable_state(model, state, where)
        model.loaded_checkpoint = str(path)


def _load_parts(
    model: Any, state: Mapping[str, Tensor], where: str, required: tuple[str, ...]
) -> None:
    """Load every required tensor, and whole other parts of the same names and shapes."""
    own = model.state_dict()
    needed = [name for name in own if name.startswith(required)]
    missing = [name for name in needed if name not in state]
    wrong = [n for n in needed if n in state and state[n].shape != own[n].shape]
    if missing or wrong:
        what = "the checkpoint holds another network than the model, or lacks a part of it"
        shapes = [f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}" for n in wrong]
        got = model_report(missing, (), shapes)
        fix = "use the network section (point_encoder, alpha, beta, …) it was pre-trained with"
        raise CheckpointError(what, where=where, got=got, fix=fix)
    fits = {n for n in own if n in state and state[n].shape == own[n].shape}
    parts = {name.split(".")[0] for name in fits}
    whole = {p for p in parts if all(n in fits for n in own if n.split(".")[0] == p)}
    model.load_state_dict({n: state[n] for n in fits if n.split(".")[0] in whole}, strict=False)
    fresh = sorted({name.split(".")[0] for name, p in model.named_parameters()} - whole)
    _logger.info("%s: loaded %s; from scratch or frozen: %s", where, sorted(whole), fresh)
