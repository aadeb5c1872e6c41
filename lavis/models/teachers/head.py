"""A trained head from the features of a frozen network to a space of texts, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lavis.common.errors import CheckpointError
from lavis.models.contrastive import ContrastiveTerms, Term
from lavis.models.contrastive.text_keys import text_keys
from lavis.models.teachers.sentence import SentenceTeacher

BATCH, RATE, DECAY = 256, 1e-3, 0.05


class FeatureHead(nn.Module):
    """Two layers from a network's features to a space of texts.

    Args:
        inputs: width D of the features.
        width: E of the space.
        hidden: width between the layers.
        dropout: of what is between them.
    """

    def __init__(self, inputs: int, width: int, hidden: int = 512, dropout: float = 0.2) -> None:
        super().__init__()
        self.inputs, self.width = inputs, width
        self.layers = nn.Sequential(
            nn.LayerNorm(inputs),
            nn.Linear(inputs, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Embed features [B,D]: unit [B,E]."""
        return F.normalize(self.layers(features), dim=-1)


def train_head(
    features: Tensor,
    pairs: Sequence[tuple[int, str]],
    teacher: SentenceTeacher,
    epochs: int,
    seed: int = 42,
) -> tuple[FeatureHead, float]:
    """Contrast features with texts; returns the head and the mean loss of the last epoch.

    Args:
        features: [N,V,D], V views or parts of an item, of which a step draws one.
        pairs: (row, text); equal texts are positives of each other.
        teacher: of the texts.
        epochs: passes through the pairs.
        seed: of weights, order and views.
    """
    torch.manual_seed(seed)
    rows, keys = torch.tensor([row for row, _ in pairs]), text_keys([text for _, text in pairs])
    parts = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    texts = torch.cat([teacher([text for _, text in part]) for part in tqdm(parts, "Texts")])
    head = FeatureHead(features.shape[-1], teacher.embed_dim)
    terms = ContrastiveTerms([Term("image", "text")])
    trained = [*head.parameters(), *terms.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=DECAY)
    for _ in tqdm(range(epochs), "Training the head", unit="epoch"):
        losses = []
        for chosen in torch.randperm(len(pairs)).split(BATCH):
            view = torch.randint(features.shape[1], chosen.shape)
            embeds = {"image": head(features[rows[chosen], view]), "text": texts[chosen]}
            loss = terms(embeds, keys[chosen])["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return head.eval(), sum(losses) / len(losses)


def read_head(path: Path, inputs: int, fix: str) -> tuple[FeatureHead, str]:
    """Return a head and the name of its space.

    Args:
        path: of its file.
        inputs: width of the network's features.
        fix: the command that trains one, for messages.

    Raises:
        CheckpointError: no such file, a damaged one, or another content.
    """
    with readable_head(path, fix), safe_open(path, "pt") as file:
        return _head_of(file, "layers.", inputs), (file.metadata() or {})["space"]


@contextmanager
def readable_head(path: Path, fix: str) -> Iterator[None]:
    """Name the file and the command that makes it where it cannot be read."""
    try:
        yield
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        what = "a head of a teacher cannot be read"
        raise CheckpointError(what, where=path, got=repr(error), fix=fix) from error


def _head_of(file: Any, prefix: str, inputs: int) -> FeatureHead:
    """Build the head of the tensors whose names begin so."""
    names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
    weights = {f"layers.{name.removeprefix(prefix)}": file.get_tensor(name) for name in names}
    head = FeatureHead(inputs, *(len(weights[f"layers.{layer}.bias"]) for layer in (4, 1)))
    head.load_state_dict(weights)
    return head


FOLD_OF = "fold_of"  # metadata: {id: number of the head that was trained without it}


def with_folds(head: FeatureHead, folds: Sequence[FeatureHead]) -> dict[str, Tensor]:
    """Return the tensors of a head and of those that were trained without a part of the items."""
    heads = {"": head} | {f"folds.{number}.": fold for number, fold in enumerate(folds)}
    return {
        prefix + name: value
        for prefix, one in heads.items()
        for name, value in one.state_dict().items()
    }


def read_folds(path: Path, inputs: int, fix: str) -> tuple[list[FeatureHead], dict[str, int]]:
    """Return the heads trained without a part of the items, and {id: head without it}.

    Args:
        path, inputs, fix: see `read_head`.

    Raises:
        CheckpointError: a damaged file, or heads that are missing.
    """
    with readable_head(path, fix), safe_open(path, "pt") as file:
        fold_of = json.loads((file.metadata() or {}).get(FOLD_OF, "{}"))
        count = max(fold_of.values(), default=-1) + 1
        folds = [_head_of(file, f"folds.{number}.layers.", inputs) for number in range(count)]
    return [fold.requires_grad_(False).eval() for fold in folds], fold_of
