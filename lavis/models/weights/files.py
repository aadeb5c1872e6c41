"""Weight files: those that a recipe names and where to get them, and how ours are written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lavis.common.errors import CheckpointError, nearest
from lavis.common.files import whole_file
from lavis.common.utils import get_abs_path

SOURCES = {
    "model.point_encoder_weights": (
        "ULIP-2's Point-BERT for 8192 points without colour: pointbert_ULIP-2.pt of "
        "github.com/salesforce/ULIP (PointBLIP calls it model/point_bert_pretrained.pt); "
        "null starts from scratch and needs model.freeze_point_encoder=False"
    ),
    "model.pretrained": (
        "run the stage before this one, or name its checkpoint; stage 1 starts from BLIP-2's "
        "blip2_pretrained_opt2.7b.pth (https://storage.googleapis.com/"
        "sfr-vision-language-research/LAVIS/models/BLIP2/) or, with null, from model.qformer_bert"
    ),
    "model.finetuned": "train this stage first, or name its checkpoint; null leaves it out",
}


def weights_file(path: str, key: str) -> Path:
    """Return the file (or folder of transformers) that `key` names, relative to the root.

    Raises:
        CheckpointError: there is no such file; the message names its source.
    """
    found = Path(get_abs_path(path))
    if not (found.is_file() or list(found.glob("model.safetensors*"))):
        beside = found.parent.iterdir() if found.parent.is_dir() else ()
        hint = nearest(found.name, [other.name for other in beside])
        raise CheckpointError(
            "Weight file not found." + hint, where=key, got=found, fix=SOURCES[key]
        )
    return found


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write a safetensors file under its name in one step, readable by all.

    Args:
        path: its folder is created.
        tensors: by name; those that share memory are refused by safetensors.
        facts: the file's metadata.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        save_file({n: t.contiguous() for n, t in tensors.items()}, partial, dict(facts))
        os.chmod(partial, 0o644)  # safetensors makes it private
