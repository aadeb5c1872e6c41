"""Read released BLIP-2 weights under our parameter names.

- LAVIS `.pth` of stage 1 and stage 2: `Qformer.*`, `query_tokens`, and the language-model
  projection `opt_proj` / `t5_proj` / `llm_proj`. GPT4Point's files are laid out so, too; its
  `point_proj` is BLIP-2's `vision_proj`.
- transformers' Blip2ForConditionalGeneration and Blip2ForImageTextRetrieval: `qformer.*`,
  `embeddings.*`, `language_projection`, `vision_projection`, `text_projection`, as one file or as a
  folder with an index of shards. Of shards only what we keep is read: the vision tower and the
  language model stay on disk.

Both hold names that we do not have (`visual_encoder.*`, `ln_vision.*`, the tied decoder matrix).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError
from lavis.common.text_files import read_json

_NOT_OURS = re.compile(
    r"^(model\.)?(visual_encoder|ln_vision|vision_model|language_model|opt_model|t5_model|llm_model)\."
    r"|position_ids$|cls\.predictions\.decoder\.|\.pooler\."
)
_Rules = tuple[tuple[str, str], ...]  # (theirs, ours), tried in order, each once
_LAVIS: _Rules = (
    (r"^Qformer\.", "qformer."),
    (r"^query_tokens$", "qformer.query_tokens"),
    (r"^(opt|t5)_proj\.", "llm_proj."),
    (r"^point_proj\.", "vision_proj."),  # GPT4Point, stage 1
)
_TRANSFORMERS: _Rules = (
    (r"^query_tokens$", "qformer.query_tokens"),
    (r"^language_projection\.", "llm_proj."),
    (r"^vision_projection\.", "vision_proj."),
    (r"^text_projection\.", "text_proj."),
    (r"^embeddings\.", "qformer.bert.embeddings."),
    (r"^qformer\.layernorm\.", "qformer.bert.embeddings.LayerNorm."),
    (r"^qformer\.encoder\.", "qformer.bert.encoder."),
    (r"attention\.attention\.", "attention.self."),
)


def released_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a LAVIS or transformers BLIP-2 state dict to our names; others pass unchanged.

    The vision tower, the language model and tied copies are left out.
    """
    if any(name.startswith("Qformer.") for name in state):
        rules = _LAVIS
    elif any(".attention.attention." in name for name in state):
        rules = _TRANSFORMERS
    else:
        return dict(state)
    return {_rename(n, rules): t for n, t in state.items() if not _NOT_OURS.search(n)}


def _rename(name: str, rules: _Rules) -> str:
    for theirs, ours in rules:
        name = re.sub(theirs, ours, name, count=1)
    return name


def read_released(
    path: str | Path, own: Mapping[str, Tensor], key: str = "model.pretrained"
) -> dict[str, Tensor]:
    """Read a checkpoint file, or a transformers folder (sharded or not), under our names.

    A release's projection into its language model is left out where `own` projects into another.

    Args:
        path: `.pth`, `.safetensors`, or a folder with `model.safetensors` or its index.
        own: the state dict that it is meant for.
        key: the yaml key that named it, for messages.

    Raises:
        CheckpointError: nothing readable is there.
    """
    path = Path(path)
    index = path / "model.safetensors.index.json"
    if index.is_file():
        payload: Mapping[str, Any] = _read_shards(index, key)
    else:
        file = path / "model.safetensors" if path.is_dir() else path
        payload = load_checkpoint_file(file, key=key)
        payload = payload.get("model", payload)
    state = released_state(payload)
    is_release = state.keys() != payload.keys()
    projection = state.get("llm_proj.weight")
    fits = projection is None or own.get("llm_proj.weight", projection).shape == projection.shape
    if is_release and not fits:
        logging.info("%s projects into another language model: llm_proj starts fresh", path)
        return {name: t for name, t in state.items() if not name.startswith("llm_proj.")}
    return state


def _read_shards(index: Path, key: str) -> dict[str, Tensor]:
    """Read the tensors that we keep from the shards that hold them."""
    from safetensors import SafetensorError, safe_open

    shards: dict[str, list[str]] = {}
    for name, shard in read_json(index)["weight_map"].items():
        if not _NOT_OURS.search(name):
            shards.setdefault(shard, []).append(name)
    state = {}
    for shard, names in shards.items():
        try:
            with safe_open(index.parent / shard, framework="pt") as file:
                state.update({name: file.get_tensor(name) for name in names})
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                "a shard cannot be read", where=f"{key}: {index.parent / shard}", got=error
            ) from error
    return state
