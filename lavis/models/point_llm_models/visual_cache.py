"""The visual cache: an embedding moves towards the training images that are nearest to it.

Point-LLM (arXiv 2309.00615, section 3.3) is trained on images and asked about points. The cache
narrows the gap between the two without training: keys and values are embeddings of training images.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import CheckpointError, ConfigError


class VisualCache(nn.Module):
    """Embeddings of training images.

    Args:
        embeds: unit [M,E]; the keys, and the values.
        space: name of their joint space.
        size: nearest images that are mixed (cache_size).
        sharpness: what their cosines are multiplied by before softmax (cache_t).
        weight: of the mixture against the embedding itself (cache_weight).

    Raises:
        ConfigError: no image.
    """

    embeds: Tensor

    def __init__(
        self,
        embeds: Tensor,
        space: str,
        size: int = 10,
        sharpness: float = 20.0,
        weight: float = 0.5,
    ) -> None:
        super().__init__()
        if embeds.ndim != 2 or not len(embeds):
            got, expected = list(embeds.shape), "[M,E] of at least one image"
            raise ConfigError(
                "the visual cache is empty", where="model.cache", got=got, expected=expected
            )
        self.register_buffer("embeds", F.normalize(embeds.float(), dim=-1), persistent=False)
        self.space, self.size = space, min(size, len(embeds))
        self.sharpness, self.weight = sharpness, weight

    def forward(self, embeds: Tensor) -> Tensor:
        """Mix unit embeddings [B,E] with their nearest images, each item alone: unit [B,E]."""
        nearest = (embeds.float() @ self.embeds.T).topk(self.size)  # [B,K]
        shares = (nearest.values * self.sharpness).softmax(-1)
        prototypes = (shares[..., None] * self.embeds[nearest.indices]).sum(1)  # [B,E]
        prototypes = F.normalize(prototypes, dim=-1)
        mixed = (1 - self.weight) * embeds + self.weight * prototypes
        return F.normalize(mixed, dim=-1).to(embeds.dtype)


def load_cache(
    path: Path, space: str | None, size: int, sharpness: float, weight: float
) -> VisualCache:
    """Read the embeddings of training images, as the task `embedding_export` writes them.

    Args:
        path: of the file; every view of an object is a key of its own.
        space: of the model; None takes any.
        size, sharpness, weight: see `VisualCache`.

    Raises:
        CheckpointError: an unreadable file, or embeddings of another space.
    """
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {})["space"]
            embeds = file.get_tensor("image_embeds").flatten(0, 1)  # [N,V,E] -> [N*V,E]
    except (OSError, SafetensorError, KeyError) as error:
        what, where = "the visual cache cannot be read", f"model.cache: {path}"
        fix = "write it: lavis/projects/point_llm/eval/bricks_cache.yaml"
        raise CheckpointError(what, where=where, got=repr(error), fix=fix) from error
    if space not in (None, found):
        what, where = "the visual cache has another joint space", f"model.cache: {path}"
        raise CheckpointError(what, where=where, got=found, expected=space)
    return VisualCache(embeds, found, size, sharpness, weight)
