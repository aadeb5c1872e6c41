"""The Q-Former of BLIP-2: learned queries read a cloud and share self-attention with text.

Four passes, each a named method:

- `query_pass`: queries [B,Q,C] cross-attend to the cloud's tokens;
- `text_pass`: text alone, bidirectional;
- `joint_pass`: queries and text attend to each other, queries also to the cloud (matching);
- `causal_pass`: text is decoded left to right with the queries' cached keys/values as prefix.

Parameter names are those of BLIP-2's `Qformer` (LAVIS), so released BLIP-2 and BERT weights load.
What differs, at equal results: scaled_dot_product_attention; a cloud's cross-attention keys/values
are projected once (`project_cloud`) and shared, uncopied, by every pass and every text beside the
cloud; padding is never computed; in the last layer only the positions that are read are computed;
the vocabulary is projected only where a label is. The blocks are in `layers.py`.

References: BLIP-2 (arXiv 2301.12597), section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lavis.models.hub.part import HubPart
from lavis.models.qformer.layers import (
    CloudKeyValue,
    Embeddings,
    Encoder,
    KeyValue,
    Layout,
    Predictions,
    QFormerConfig,
)

Cloud = list[
    CloudKeyValue | None
]  # each layer's cross-attention keys/values, None where it has none


class BertBody(nn.Module):
    """`bert.embeddings` and `bert.encoder`."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)


class LMHead(nn.Module):
    """`cls.predictions`."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class QFormer(HubPart, nn.Module):
    """Queries, BERT with cross-attention, and the LM head.

    Args:
        config: sizes. `query_tokens` [1,Q,C] is the learned input of every pass over a cloud.
    """

    hub_kind = "qformer"

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_token, config.hidden_size))
        self.bert = BertBody(config)
        if config.with_text and config.with_lm_head:
            self.cls = LMHead(config)
        self.apply(self._init_weights)
        nn.init.normal_(self.query_tokens, std=config.initializer_range)
        self._init_cross_attention()

    def hub_config(self) -> dict[str, Any]:
        """Return the sizes."""
        return {"qformer": asdict(self.config)}

    @classmethod
    def from_hub_config(cls, config: Mapping[str, Any], folder: Path) -> Self:
        """Build the Q-Former that a shared folder describes."""
        return cls(QFormerConfig(**config["qformer"]))

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @torch.no_grad()
    def _init_cross_attention(self) -> None:
        """Start cross-attention at fan-in scale, so that queries see the cloud from the first step.

        BERT's 0.02 suits BLIP-2's widths (768 and 1408). In a narrow Q-Former it leaves the cloud's
        part of a query's state an order of magnitude below the residual, and training stalls.
        """
        for name, parameter in self.named_parameters():
            if "crossattention" in name and parameter.ndim == 2:
                std = max(self.config.initializer_range, scaled_std(parameter.shape[1]))
                nn.init.normal_(parameter, std=std)

    def project_cloud(
        self,
        cloud_tokens: Tensor,
        projection: Tensor | None = None,
        token_mask: Tensor | None = None,
    ) -> Cloud:
        """Compute every layer's cross-attention keys/values of clouds, once for all passes.

        Args:
            cloud_tokens: [B,G,encoder_width]; with a projection [B,G,D].
            projection: [D,encoder_width], PointBLIP's `pc_projection`, applied to the tokens.
            token_mask: bool [B,G], true where a token is real; None when all are.
        """
        layers: Iterable[Any] = self.bert.encoder.layer
        return [
            layer.project_cloud(cloud_tokens, projection, token_mask)
            if layer.has_cross_attention
            else None
            for layer in layers
        ]

    def query_pass(self, cloud: Cloud) -> tuple[Tensor, list[KeyValue]]:
        """Read clouds with the learned queries.

        Args:
            cloud: the output of `project_cloud`, B clouds.

        Returns:
            Query states [B,Q,C] and each layer's self-attention cache for `causal_pass`.
        """
        num_queries = self.query_tokens.shape[1]
        layout = Layout((cloud_rows(cloud), num_queries), num_queries)
        hidden = self.bert.embeddings.queries(self.query_tokens, layout.shape[0])
        hidden, cache = self._run(hidden, layout, None, cloud)
        return layout.pad(hidden), cache

    def text_pass(self, text_ids: Tensor, text_mask: Tensor, pooling: str = "cls") -> Tensor:
        """Encode text alone.

        Args:
            text_ids, text_mask: [B,T]; every text has a token.
            pooling: `cls`, the first token's state as in BLIP-2; `mean` over the tokens, as the
                sentence encoders that a Q-Former may start from were trained.

        Returns:
            One state per text [B,C].
        """
        real = text_mask.bool()
        layout = Layout.of_text(real)
        hidden = self.bert.embeddings.words(text_ids, real)
        num_read = 1 if pooling == "cls" else None
        states, _ = self._run(hidden, layout, real[:, None, None, :], None, num_read=num_read)
        if pooling == "cls":
            return states
        weights = real.to(states.dtype)[..., None]  # [B,T,1]
        return (layout.pad(states) * weights).sum(1) / weights.sum(1)

    def joint_pass(self, cloud: Cloud, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Let queries and text see each other while the queries read the cloud.

        Args:
            cloud: the output of `project_cloud`, B clouds.
            text_ids, text_mask: [roles*B,T]: each cloud's first text, then each cloud's second …

        Returns:
            The query states [roles*B,Q,C].
        """
        real, num_queries = text_mask.bool(), self.query_tokens.shape[1]
        layout = Layout.of_text(real, num_queries)
        queries = self.bert.embeddings.queries(self.query_tokens, len(text_ids))
        hidden = torch.cat([queries, self.bert.embeddings.words(text_ids, real)])
        mask = F.pad(real, (num_queries, 0), value=True)[:, None, None, :]  # [M,1,1,Q+T]
        states, _ = self._run(hidden, layout, mask, cloud, num_read=num_queries)
        return states.unflatten(0, (len(text_ids), num_queries))

    def causal_pass(
        self, text_ids: Tensor, text_mask: Tensor, past: list[KeyValue], start: int = 0
    ) -> tuple[Tensor, list[KeyValue]]:
        """Decode text that sees the cached queries and its own past.

        Args:
            text_ids: [B,T] new tokens, the first of them at text position `start`.
            text_mask: [B,start+T], 1 where a token is real.
            past: cache from `query_pass`, or from an earlier `causal_pass`.

        Returns:
            States [B,T,C], of no meaning where the mask is 0, and the grown cache.
        """
        rows, length = text_ids.shape
        num_queries = past[0][0].shape[2] - start
        new = text_mask[:, start:].bool()
        # A single new token is a decoding step: nothing is padded, and no index is needed.
        layout = Layout((rows, 1)) if length == 1 else Layout.of_text(new)
        real = new if length > 1 else torch.ones_like(new)
        hidden = self.bert.embeddings.words(text_ids, real, start)
        mask = self._causal_mask(text_mask.bool(), start, num_queries)
        hidden, cache = self._run(hidden, layout, mask, None, past)
        return layout.pad(hidden), cache

    def branch_pass(
        self, text_ids: Tensor, ancestry: Tensor, past: list[KeyValue], position: int
    ) -> tuple[Tensor, list[KeyValue]]:
        """Decode one token for each of K texts that branch off the same row.

        Args:
            text_ids: [B,K], all at text position `position`.
            ancestry: boolean [B,K,n*K]: which of the n*K branched tokens in the row's cache, these
                included, each text consists of. What came before the branching is seen by all.
            past: cache of B rows.
            position: text position of the new tokens.

        Returns:
            States [B,K,C] and the cache, longer by K.
        """
        everywhere = torch.ones_like(text_ids, dtype=torch.bool).flatten()[:, None]
        hidden = self.bert.embeddings.words(text_ids.flatten()[:, None], everywhere, position)
        layout = Layout((text_ids.shape[0], text_ids.shape[1]))
        prefix = past[0][0].shape[2] + text_ids.shape[1] - ancestry.shape[2]
        mask = F.pad(ancestry[:, None], (prefix, 0), value=True)  # [B,1,K,prefix+n*K]
        hidden, cache = self._run(hidden, layout, mask, None, past)
        return layout.pad(hidden), cache

    @staticmethod
    def _causal_mask(text_mask: Tensor, start: int, num_queries: int) -> Tensor:
        """Allow every query and each text position's own past: [B,1,T,Q+start+T]."""
        positions = torch.arange(text_mask.shape[1], device=text_mask.device)
        causal = positions[None, :] <= positions[start:, None]  # [T,start+T]
        mask = causal[None, None] & text_mask[:, None, None, :]
        return F.pad(mask, (num_queries, 0), value=True)

    def vocabulary_logits(self, states: Tensor) -> Tensor:
        """Project states [...,C] to the vocabulary [...,V]."""
        return self.cls.predictions(states, self.bert.embeddings.word_embeddings.weight)

    def _run(
        self,
        hidden: Tensor,
        layout: Layout,
        mask: Tensor | None,
        cloud: Cloud | None,
        past: list[KeyValue] | None = None,
        num_read: int | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run every layer; only the last computes no more than what is read."""
        cache = []
        layers = self.bert.encoder.layer
        recompute = self.config.checkpoint_layers and self.training and torch.is_grad_enabled()
        for index, layer in enumerate(layers):
            inputs = (
                hidden,
                layout,
                mask,
                cloud[index] if cloud is not None else None,
                past[index] if past is not None else None,
                num_read if index == len(layers) - 1 else None,
            )
            if recompute:
                hidden, key_value = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                hidden, key_value = layer(*inputs)
            cache.append(key_value)
        return hidden, cache


def cloud_rows(cloud: Cloud) -> int:
    """Return the number B of projected clouds."""
    return next(layer.keys.shape[0] for layer in cloud if layer is not None)


def select_cloud(cloud: Cloud, index: Tensor) -> Cloud:
    """Pick rows of projected clouds, e.g. the hard negatives; index [M]."""

    def rows(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.index_select(0, index)

    return [None if layer is None else CloudKeyValue(*map(rows, layer)) for layer in cloud]


def slice_cloud(cloud: Cloud, rows: slice) -> Cloud:
    """Return some rows of projected clouds without copying them."""

    def part(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor[rows]

    return [None if layer is None else CloudKeyValue(*map(part, layer)) for layer in cloud]


def scaled_std(width: int) -> float:
    """Return width^-0.5, the initial deviation of BLIP-style projections."""
    return math.pow(width, -0.5)
