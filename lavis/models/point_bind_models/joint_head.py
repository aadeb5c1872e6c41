"""From the features of a point encoder to a joint space."""

from __future__ import annotations

from torch import Tensor, nn

_STD = 512**-0.5  # of the release's projection


class JointHead(nn.Module):
    """One to three linear layers; the release has two.

        1: projection
        2: projection, LayerNorm, dropout, out
        3: projection, LayerNorm, middle, LayerNorm, dropout, out

    Args:
        width: of the encoder's feature D.
        embed_dim: E.
        layers: linear layers.
        hidden: width between them.
        dropout: before the last one.
    """

    def __init__(
        self, width: int, embed_dim: int, layers: int = 2, hidden: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(width, embed_dim if layers == 1 else hidden, bias=False)
        nn.init.normal_(self.projection.weight, std=_STD)
        middle: list[nn.Module] = []
        if layers == 3:
            middle = [nn.LayerNorm(hidden, eps=1e-6), nn.Linear(hidden, hidden)]
        last = [
            nn.LayerNorm(hidden, eps=1e-6),
            nn.Dropout(dropout),
            nn.Linear(hidden, embed_dim, bias=False),
        ]
        self.head = nn.Sequential(*middle, *(last if layers > 1 else []))

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B,D] to [B,E], before they are normalised."""
        return self.head(self.projection(features))
