"""A trained head that embeds every pixel in a space of texts, and its file.

As LSeg (Li et al., arXiv 2201.03546) pixels are compared with the texts of their labels; here the
image network is frozen, and the head reads its stages, so that cells are 4 pixels wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.teachers.head import readable_head
from lavis.models.teachers.image_decoder import ImageDecoder
from lavis.models.weights.files import save_tensors

FIX = "python -m lavis.models.teachers.train_pixel_head"
_KIND = {"kind": "pixels"}  # metadata of the file


class PixelHead(nn.Module):
    """A feature pyramid over the stages, then a layer into the space of texts.

    Args:
        stage_dims: widths of the stages, finest first.
        coarse_dim: width of the network's last map.
        width: E of the space.
        hidden: width of the pyramid.
    """

    def __init__(
        self, stage_dims: Sequence[int], coarse_dim: int, width: int, hidden: int = 64
    ) -> None:
        super().__init__()
        self.width = width
        self.decoder = ImageDecoder(stage_dims, coarse_dim, hidden)
        self.out = nn.Linear(hidden, width)

    def features(self, coarse: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """Return features [B,hidden,h,w], for `embed` at chosen places."""
        return F.gelu(self.decoder(coarse, stages))

    def embed(self, features: Tensor) -> Tensor:
        """Return unit embeddings [...,E] of features [...,hidden]."""
        return F.normalize(self.out(features), dim=-1)

    def forward(self, coarse: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """Return unit embeddings [B,E,h,w] in the size of the finest stage.

        Args:
            coarse: the network's last map [B,C,h',w'].
            stages: [B,C_i,h_i,w_i], finest first.
        """
        features = self.features(coarse, stages)
        return self.embed(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def save_pixel_head(path: Path, head: PixelHead, space: str) -> None:
    """Write a head and the name of its space."""
    save_tensors(path, head.state_dict(), {"space": space, **_KIND})


def holds_pixel_head(path: Path) -> bool:
    """Whether a file is a pixel head's; False where it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).items() >= _KIND.items()
    except (OSError, SafetensorError):
        return False


def read_pixel_head(
    path: Path, stage_dims: Sequence[int], coarse_dim: int
) -> tuple[PixelHead, str]:
    """Return a frozen head and the name of its space.

    Args:
        path: of its file.
        stage_dims, coarse_dim: widths of the network's maps; see `PixelHead`.

    Raises:
        CheckpointError: a damaged file, or a head for another network.
    """
    with readable_head(path, FIX), safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        space = (file.metadata() or {})["space"]
        width, hidden = weights["out.weight"].shape
        head = PixelHead(stage_dims, coarse_dim, width, hidden)
        head.load_state_dict(weights)
    return head.requires_grad_(False).eval(), space
