"""The projector: from a point token to the place of a word in a language model.

Source: src/projector/projector_sequence.py of github.com/amine-maazizi/PointLLM-Contrastive, whose
parameter names are kept. What is ours: `text_norm`. The release ends in a LayerNorm, so a projected
token is about sqrt(D) long (24 for SmolLM2, 45 for TinyLlama), while word embeddings are an order
of magnitude shorter: whatever is learnt of the direction, the distance stays that of the lengths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenProjector(nn.Module):
    """Three linear layers with LayerNorm, applied to each token by itself.

    Args:
        input_dim: width of a point token.
        output_dim: width D of the language model's embeddings.
        hidden_dim: of the two hidden layers.
        text_norm: mean length of a word embedding, from which a learnt scale starts; None, as
            published, leaves the length to the last LayerNorm.
        seed: of the weights, so that every loss starts from the same projector.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dim: int = 512,
        text_norm: float | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        self.sizes = {
            "input_dim": input_dim,
            "hidden_dim": hidden_dim,
            "output_dim": output_dim,
        }
        self.fc1 = nn.Linear(input_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, hidden_dim)
        self.fc3 = nn.Linear(hidden_dim, output_dim)
        self.ln1 = nn.LayerNorm(hidden_dim)
        self.ln2 = nn.LayerNorm(hidden_dim)
        self.ln_final = nn.LayerNorm(output_dim)
        self.norm_scale = None if text_norm is None else nn.Parameter(torch.tensor(text_norm))
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        """Draw weights from N(0, 0.02) as published, apart from torch's global generator."""
        generator = torch.Generator().manual_seed(seed)
        for layer in (self.fc1, self.fc2, self.fc3):
            layer.weight.normal_(0.0, 0.02, generator=generator)
            layer.bias.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Project point tokens [B,T,input_dim] -> [B,T,D]."""
        hidden = F.gelu(self.ln1(self.fc1(tokens)))
        hidden = F.gelu(self.ln2(self.fc2(hidden)))
        projected = self.ln_final(self.fc3(hidden))
        if self.norm_scale is None:
            return projected
        # LayerNorm makes a token sqrt(D) long; norm_scale is the length itself.
        return projected * (self.norm_scale * projected.shape[-1] ** -0.5)
