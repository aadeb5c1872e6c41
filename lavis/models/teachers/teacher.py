"""What every teacher is: frozen, always in evaluation mode, with a bounded cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import CheckpointError, ConfigError


class Teacher(nn.Module):
    """Base of teachers; a subclass sets the attributes and defines `encode`.

    Args:
        cache_size: embeddings that are kept, the least recently used go first; 0 keeps none. A
            teacher never changes and texts repeat every epoch, so each is read once.

    Attributes:
        modality: text, image or audio.
        embed_dim: E.
        space: name of the joint space, e.g. `minilm` or `openclip/ViT-bigG-14`. Embeddings of
            different spaces cannot be compared.
    """

    modality: str
    embed_dim: int
    space: str

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__()
        self.cache_size = cache_size
        self._cache: OrderedDict[Hashable, Tensor] = OrderedDict()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode: a frozen teacher never drops out."""
        return super().train(False)

    def encode(self, inputs: Any) -> Tensor:
        """Embed inputs: unit [B,E]."""
        raise TypeError(f"{type(self).__name__} has to define encode()")

    @torch.no_grad()
    def forward(self, inputs: Any) -> Tensor:
        """Embed inputs, from the cache where they are known: unit [B,E]."""
        if not self.cache_size:
            return self.encode(inputs)
        known = {item: self._cache[item] for item in inputs if item in self._cache}
        new = [item for item in dict.fromkeys(inputs) if item not in known]
        if new:
            known |= dict(zip(new, self.encode(new).cpu()))
        self._remember(known)
        device = next(self.parameters()).device
        return torch.stack([known[item] for item in inputs]).to(device)

    def _remember(self, embeds: dict[Hashable, Tensor]) -> None:
        """Mark embeddings as the most recent ones and drop the oldest beyond the limit."""
        for item, embed in embeds.items():
            self._cache[item] = embed
            self._cache.move_to_end(item)
        while len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)


def check_spaces(teachers: Iterable[Teacher], where: str) -> str:
    """Return the space that teachers share.

    Raises:
        ConfigError: they have different spaces, or there is none.
    """
    spaces = {teacher.space: teacher.modality for teacher in teachers}
    if len(spaces) != 1:
        got = ", ".join(f"{modality}: {space}" for space, modality in spaces.items()) or "none"
        what = "teachers of one model need one space"
        fix = "name image, text and audio weights of the same model"
        raise ConfigError(what, where=where, got=got, fix=fix)
    return next(iter(spaces))


def check_trained_space(payload: Mapping[str, Any], space: str | None, where: str) -> None:
    """Refuse a checkpoint that was trained against teachers of another space.

    Args:
        payload: of the checkpoint; one without `space` (a published one, say) passes.
        space: of the model's teachers.
        where: the yaml key and the file.

    Raises:
        CheckpointError: the spaces differ.
    """
    trained = payload.get("space")
    if trained not in (None, space):
        what = "the checkpoint was trained against another teacher"
        fix = "name the teacher that the checkpoint was trained with"
        raise CheckpointError(what, where=where, got=trained, expected=space, fix=fix)
