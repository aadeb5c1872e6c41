"""The weight files that a recipe names, and where to get them."""

from __future__ import annotations

from pathlib import Path

from lavis.common.errors import CheckpointError, nearest
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
