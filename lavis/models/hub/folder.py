"""A folder that can be shared: `config.json`, `model.safetensors`, a card, and code for auto_map.

Parts that have a source of their own (a frozen language model, a teacher) are not copied: the
configuration names them, and a fingerprint of their weights shows whether they are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.checkpoint import load_checkpoint_file, write_text_atomic
from lavis.common.errors import CheckpointError
from lavis.common.model_state import frozen_names, load_trainable_state
from lavis.common.text_files import read_json
from lavis.models.weights.files import save_tensors

FORMAT = "lavis-point-language/1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_SAMPLED = 256  # values of a tensor that its fingerprint reads


def write_folder(
    folder: str | Path, config: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Write weights, then the configuration, so that a folder with a configuration is whole.

    Args:
        folder: created when absent.
        config: `kind` and what rebuilds the module; plain JSON values.
        state: tensors by name.
    """
    folder = Path(folder)
    # Tied tensors share memory, which safetensors refuses.
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    save_tensors(folder / WEIGHTS, copies, {"format": "pt"})
    text = json.dumps({"format": FORMAT} | dict(config), indent=2)
    write_text_atomic(folder / CONFIG, text + "\n")


def is_hub_folder(folder: str | Path) -> bool:
    """Return whether a folder was written by `write_folder`, of this or another version."""
    try:
        config = read_json(Path(folder) / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and str(config.get("format")).startswith(FORMAT.split("/")[0])


def read_config(folder: str | Path, kind: str | None = None) -> dict[str, Any]:
    """Return the configuration of a folder.

    Args:
        folder: on this machine.
        kind: model, point_encoder or qformer; None accepts all.

    Raises:
        CheckpointError: no folder of this project, of a newer version, or of another kind.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        fix = "name a folder that export or save_pretrained wrote"
        what = "a shared folder has no configuration"
        raise CheckpointError(what, where=path, got="no such file", fix=fix)
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "a configuration cannot be read", where=path, got=error, fix="copy it again"
        ) from error
    _check_format(config, path)
    if kind is not None and config.get("kind") != kind:
        what = "a shared folder holds something else"
        got, expected = config.get("kind"), kind
        raise CheckpointError(what, where=path, got=got, expected=expected)
    return config


def _check_format(config: Any, path: Path) -> None:
    """Refuse a configuration of another project or version."""
    config = config if isinstance(config, dict) else {}
    found = config.get("format")
    if found == FORMAT:
        return
    of_ours = str(found).startswith(FORMAT.split("/")[0])
    named = config.get("architectures") or config.get("model_type") if not of_ours else found
    raise CheckpointError(
        "a folder of another version" if of_ours else "a folder of another project",
        where=path,
        got=f"format {found!r}" + ("" if of_ours else f", model {named!r}"),
        expected=f"format {FORMAT!r}",
        fix="update this checkout"
        if of_ours
        else "load it with the library that wrote it; a language model is named by model.llm",
    )


def shared_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a module without those of its base models."""
    left_out = base_names(module)
    return {name: value for name, value in module.state_dict().items() if name not in left_out}


def base_names(module: nn.Module) -> set[str]:
    """Return the names of frozen parameters that come from a source that the recipe names."""
    frozen, names = frozen_names(module), set()
    for prefix, part in base_parts(module):
        own = {f"{prefix}.{name}" for name in getattr(part, "own_names", ())}
        names |= {name for name in frozen - own if name.startswith(f"{prefix}.")}
    return names


def base_parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, submodule) of the language models and teachers."""
    # Here, because the encoders import this module.
    from lavis.models.language.llm import LanguageModel
    from lavis.models.teachers.teacher import Teacher

    kinds = (LanguageModel, Teacher)
    named = module.named_modules()
    return [(name, part) for name, part in named if name and isinstance(part, kinds)]


def base_fingerprint(module: nn.Module) -> str | None:
    """Return a hash of names, shapes and first values of the base models; None without any.

    Values are compared in bfloat16: `llm_dtype: auto` differs between machines.
    """
    names = base_names(module)
    if not names:
        return None
    digest, state = hashlib.sha256(), module.state_dict()
    for name in sorted(names):
        value = state[name]
        digest.update(f"{name} {tuple(value.shape)};".encode())
        first = value.detach().flatten()[:_SAMPLED].to("cpu", torch.bfloat16)
        digest.update(first.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(module: nn.Module, folder: str | Path, config: Mapping[str, Any]) -> None:
    """Load the weights of a folder into a module that was built from its configuration.

    Raises:
        CheckpointError: absent, damaged, of other sizes, or made for another base model.
    """
    path = Path(folder) / WEIGHTS
    state = load_checkpoint_file(path, key=str(Path(folder) / CONFIG))["model"]
    load_trainable_state(module, state, str(path))
    missing = sorted(module.state_dict().keys() - state.keys() - base_names(module))
    if missing:
        got, fix = f"no {missing[:4]} ({len(missing)} in all)", "export it again"
        raise CheckpointError("weights are missing", where=path, got=got, fix=fix)
    wanted = config.get("base_fingerprint")
    if wanted is not None and base_fingerprint(module) != wanted:
        raise CheckpointError(
            "the base model is not the one that these weights were trained beside",
            where=Path(folder) / CONFIG,
            got=str(config.get("base_models")),
            expected="the same weights under these names",
            fix="use the base model that the card names",
        )
