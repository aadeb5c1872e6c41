"""ImageBind's trunks for images, texts and sounds, of torch's layers under the official names.

ImageBind (Girdhar et al., arXiv 2305.05665); release: facebookresearch/ImageBind, whose weights
imagebind_huge.pth (CC BY-NC-SA 4.0) are not distributed here. Sizes are read from the checkpoint;
its trunks for depth, heat and motion are left out. A checkpoint of Point-Bind has the same names
and more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import CheckpointError

MODALITIES = ("vision", "text", "audio")
HEADS = {"vision": 16, "text": 16, "audio": 12}  # of attention, which no tensor's shape tells
_EPS = 1e-6
_PATCH, _STRIDE = 16, 10  # of spectrograms
_PARTS = ("modality_preprocessors", "modality_trunks", "modality_heads")


class _Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); tokens first: [L,B,D]."""

    def __init__(self, width: int, hidden: int, heads: int, add_bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=add_bias_kv)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.mlp: Any = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.norm_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm_2(x))))


class _Trunk(nn.Module):
    """Blocks behind a norm, where there is one."""

    def __init__(self, state: Mapping[str, Tensor], name: str, heads: int) -> None:
        super().__init__()
        prefix = f"modality_trunks.{name}."
        hidden, width = state[f"{prefix}blocks.0.mlp.fc1.weight"].shape
        found = [re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", key) for key in state]
        depth = 1 + max(int(match[1]) for match in found if match)
        biased = f"{prefix}blocks.0.attn.bias_k" in state
        self.blocks = nn.ModuleList(_Block(width, hidden, heads, biased) for _ in range(depth))
        has_norm = f"{prefix}pre_transformer_layer.0.weight" in state
        norm = nn.LayerNorm(width, eps=_EPS) if has_norm else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(norm)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform tokens [B,L,D]."""
        x = self.pre_transformer_layer(tokens).transpose(0, 1)
        for block in self.blocks:
            x = block(x, mask)
        return x.transpose(0, 1)


class ImageBindNetwork(nn.Module):
    """The three trunks.

    Args:
        state: tensors of a checkpoint by their official names.
        heads: of attention by modality.

    Raises:
        CheckpointError: tensors are absent or of shapes that do not fit each other.
    """

    def __init__(self, state: Mapping[str, Tensor], heads: Mapping[str, int] | None = None) -> None:
        super().__init__()
        state = {name: tensor for name, tensor in state.items() if _is_used(name)}
        heads = HEADS | dict(heads or {})
        try:
            for part, build in zip(_PARTS, (_stem, _Trunk, _head)):
                modules = {m: build(state, m, heads[m]) for m in MODALITIES}
                self.add_module(part, nn.ModuleDict(modules))
            self.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError, AssertionError) as error:
            what, expected = "not a checkpoint of ImageBind", "imagebind_huge.pth"
            raise CheckpointError(what, got=str(error), expected=expected) from error
        self.requires_grad_(False).eval()

    @property
    def longest_text(self) -> int:
        """Number of tokens that texts are padded to."""
        return self._of("preprocessors", "text").pos_embed.shape[1]

    @property
    def embed_dim(self) -> int:
        """E of the joint space."""
        return self._of("heads", "text").proj[1].out_features

    def images(self, pixels: Tensor) -> Tensor:
        """Embed normalised images [B,3,224,224], not of unit length: [B,E]."""
        stem = self._of("preprocessors", "vision")
        frames = stem.rgbt_stem.proj[1].kernel_size[0]
        video = pixels[:, :, None].expand(-1, -1, frames, -1, -1)  # an image is a still video
        return self._finish("vision", stem, stem.rgbt_stem.proj[1](video))

    def sounds(self, spectrograms: Tensor) -> Tensor:
        """Embed normalised spectrograms [B,128,204], mel by time: [B,E]."""
        stem = self._of("preprocessors", "audio")
        return self._finish("audio", stem, stem.rgbt_stem.proj(spectrograms[:, None]))

    def texts(self, ids: Tensor) -> Tensor:
        """Embed token ids [B,T] whose end token has the largest id: [B,E]."""
        stem = self._of("preprocessors", "text")
        tokens = stem.token_embedding(ids) + stem.pos_embed  # [B,T,D]
        tokens = self._of("trunks", "text")(tokens, stem.mask)
        ends = tokens[torch.arange(len(ids)), ids.argmax(-1)]
        return self._of("heads", "text").proj(ends)

    def _finish(self, name: str, stem: Any, patches: Tensor) -> Tensor:
        """Run trunk and head on patches [B,D,...]; the class token is read."""
        tokens = patches.flatten(2).transpose(1, 2)  # [B,L,D]
        norm = stem.rgbt_stem.norm_layer
        tokens = tokens if norm is None else norm(tokens)
        tokens = torch.cat([stem.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        tokens = self._of("trunks", name)(tokens + stem.pos_embedding_helper.pos_embed)
        head = self._of("heads", name)
        return head[2](head[0](tokens[:, 0]))

    def _of(self, part: str, name: str) -> Any:
        return getattr(self, f"modality_{part}")[name]


def _is_used(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 2 and parts[0] in _PARTS and parts[1] in MODALITIES


def _stem(state: Mapping[str, Tensor], name: str, heads: int) -> nn.Module:
    """Return what makes tokens of a modality."""
    prefix = f"modality_preprocessors.{name}."
    stem: Any = nn.Module()
    if name == "text":
        stem.token_embedding = nn.Embedding(*state[f"{prefix}token_embedding.weight"].shape)
        stem.pos_embed = nn.Parameter(torch.empty_like(state[f"{prefix}pos_embed"]))
        stem.register_buffer("mask", torch.empty_like(state[f"{prefix}mask"]))
        return stem
    stem.cls_token = nn.Parameter(torch.empty_like(state[f"{prefix}cls_token"]))
    stem.pos_embedding_helper = nn.Module()
    position = state[f"{prefix}pos_embedding_helper.pos_embed"]
    stem.pos_embedding_helper.pos_embed = nn.Parameter(torch.empty_like(position))
    stem.rgbt_stem = nn.Module()
    if name == "vision":
        weight = state[f"{prefix}rgbt_stem.proj.1.weight"]
        width, channels, *kernel = weight.shape
        size: Any = tuple(kernel)
        conv: nn.Module = nn.Conv3d(channels, width, size, size, bias=False)
        stem.rgbt_stem.proj = nn.Sequential(nn.Identity(), conv)
        stem.rgbt_stem.norm_layer = None
    else:
        weight = state[f"{prefix}rgbt_stem.proj.weight"]
        width, channels, edge, _ = weight.shape
        stride = round(edge * _STRIDE / _PATCH)
        stem.rgbt_stem.proj = nn.Conv2d(channels, width, edge, stride, bias=False)
        stem.rgbt_stem.norm_layer = nn.LayerNorm(width)
    return stem


def _head(state: Mapping[str, Tensor], name: str, heads: int) -> nn.Module:
    """Return the norm and the linear layer into the joint space."""
    is_text = name == "text"
    key = f"modality_heads.{name}." + ("proj.1.weight" if is_text else "2.weight")
    width_out, width = state[key].shape
    norm, linear = nn.LayerNorm(width, eps=_EPS), nn.Linear(width, width_out, bias=False)
    if not is_text:
        return nn.Sequential(norm, nn.Identity(), linear)
    head: Any = nn.Module()
    head.proj = nn.Sequential(norm, linear)
    return head
