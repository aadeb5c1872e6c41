"""Tokens of a frozen point encoder, written once and read by every run of a study.

A folder holds `<split>.npy`, float32 [N,1+G,C], and `tokens.json`: which encoder wrote them, from
which data, and for each split the object ids in the order of the rows, with their texts and groups.
Tokens are those of evaluation processing: a run that reads them trains without augmentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lavis.common.errors import CheckpointError, DataError
from lavis.common.model_state import frozen_hash
from lavis.evaluation.records import write_json_atomic

INDEX_FILE = "tokens.json"


def encoder_identity(encoder: nn.Module) -> str:
    """Return a SHA-256 over a frozen encoder's parameters and printed structure."""
    digest = hashlib.sha256(frozen_hash(encoder).encode())
    config = getattr(encoder, "config", None)
    digest.update(repr(encoder if config is None else config).encode())
    return digest.hexdigest()


def write_tokens(
    folder: Path,
    identity: Mapping[str, str],
    splits: Mapping[str, np.ndarray],
    objects: Mapping[str, Mapping[str, Sequence[str]]],
) -> None:
    """Write the tokens of all splits, the index last.

    Args:
        folder: is created.
        identity: {"encoder": …, "data": …}; a reader compares it.
        splits: {split: float32 [N,1+G,C]}.
        objects: {split: {"object_id": N ids, "text": N texts, "color": …, "category": …}}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX_FILE).unlink(missing_ok=True)
    for split, tokens in splits.items():
        np.save(folder / f"{split}.npy", np.ascontiguousarray(tokens, dtype=np.float32))
    write_json_atomic(folder / INDEX_FILE, {**identity, "splits": objects})


def read_index(folder: str | Path) -> dict[str, Any] | None:
    """Return the content of `tokens.json`, or None where tokens were not completely written."""
    path = Path(folder) / INDEX_FILE
    if not path.is_file():
        return None
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return index


class TokenCache:
    """Reads the tokens of a folder by object id; the files stay memory-mapped.

    Args:
        folder: written by `write_tokens`.
        encoder: identity of the encoder in use.

    Raises:
        CheckpointError: no tokens, or those of another encoder.
    """

    def __init__(self, folder: str | Path, encoder: str) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        if index is None or index["encoder"] != encoder:
            raise CheckpointError(
                "the cached tokens cannot be used",
                where=f"model.token_cache: {folder}",
                got=f"no {INDEX_FILE}" if index is None else "tokens of another point encoder",
                expected=f"tokens of the encoder {encoder[:12]}",
                fix="run python -m lavis.tasks.alignment_experiment, or set the key to null",
            )
        self._rows: dict[str, tuple[str, int]] = {}
        self._tokens: dict[str, np.ndarray] = {}
        for split, columns in index["splits"].items():
            self._tokens[split] = np.load(self.folder / f"{split}.npy", mmap_mode="r")
            self._rows |= {name: (split, row) for row, name in enumerate(columns["object_id"])}

    def tokens(self, samples: Mapping[str, Any]) -> Tensor:
        """Look up the tokens of a batch by `object_id`: float32 [B,1+G,C].

        Raises:
            DataError: the batch has no object ids, or one that was not encoded.
        """
        ids = [str(name) for name in samples.get("object_id", ())]
        unknown = [name for name in ids if name not in self._rows]
        if unknown or not ids:
            raise DataError(
                "the tokens of an object are not cached",
                where=f"model.token_cache: {self.folder}",
                got=unknown[:5] if unknown else "samples without object_id",
                expected="objects of the encoded splits",
                fix="encode the split again, or set model.token_cache=null",
            )
        rows = [self._rows[name] for name in ids]
        return torch.from_numpy(np.stack([self._tokens[split][row] for split, row in rows]))
