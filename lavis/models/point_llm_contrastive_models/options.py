"""Option values of PointLLM-Contrastive: which exist, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lavis.common.errors import ConfigError, DataError, explain, nearest
from lavis.common.precision import fast_bf16

CHOICES = {
    "loss_type": ("generative", "contrastive"),
    "negatives": ("bank", "batch"),
    "train_embeddings": ("all", "new"),
    "llm_dtype": ("float32", "bfloat16", "float16", "auto"),
}
# Our own wording; one is drawn for each object and epoch, the first one in evaluation.
INSTRUCTIONS = (
    "Describe this 3D object in a few words.",
    "What is this object?",
    "Name the shape that these points show.",
    "Say briefly what this point cloud is.",
    "Which object do these points belong to?",
)


def check_choices(loss_type: str, negatives: str, train_embeddings: str, llm_dtype: str) -> None:
    """Refuse option values that do not exist, by yaml key and with the nearest that does."""
    given = {
        "loss_type": loss_type,
        "negatives": negatives,
        "train_embeddings": train_embeddings,
        "llm_dtype": llm_dtype,
    }
    for key, value in given.items():
        if value not in CHOICES[key]:
            raise ConfigError(
                explain(
                    f"unknown {key}.{nearest(str(value), CHOICES[key])}",
                    where=f"model.{key}",
                    got=value,
                    expected=" or ".join(CHOICES[key]),
                )
            )


def resolve_dtype(name: str) -> torch.dtype:
    """Return the dtype of a name; `auto` is bfloat16 where products in it are native."""
    if name == "auto":
        fast = fast_bf16("cuda" if torch.cuda.is_available() else "cpu")
        return torch.bfloat16 if fast else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def require_texts(texts: Sequence[str]) -> list[str]:
    """Return texts as a list, refusing empty ones: they have no mean word embedding."""
    empty = [row for row, text in enumerate(texts) if not str(text).strip()]
    if empty:
        raise DataError(
            explain(
                "empty texts cannot be aligned",
                where="samples['text_input']",
                got=f"positions {empty[:5]} of a batch of {len(texts)}",
                fix="filter them in the data set's annotation file",
            )
        )
    return list(texts)
