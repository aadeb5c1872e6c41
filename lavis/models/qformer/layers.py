"""The blocks of the Q-Former: BERT's, with a query branch and cross-attention (BLIP-2's names).

States are packed: `hidden` [R,C] holds the query states of every row, then the real tokens of
every text, and nothing for padding. Projections and feed-forwards are nearly all of the
work, so the cost grows with the length of the captions. Only attention sees the padded layout.
`Layout` translates between the two.

References: BLIP-2 (arXiv 2301.12597), section 3.1; BERT (arXiv 1810.04805).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.models.qformer.attention import attend

KeyValue = tuple[Tensor, Tensor]  # keys and values, each [B,heads,T,C/heads]


class CloudKeyValue(NamedTuple):
    """What cross-attention reads of clouds.

    Attributes:
        keys, values: [B,heads,G,C/heads].
        mask: bool [B,1,1,G], true where a token is real; None when all are.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None = None


@dataclass
class QFormerConfig:
    """Sizes of a Q-Former; the BERT part follows the checkpoint it starts from."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 30523  # bert-uncased plus [DEC]
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    num_query_token: int = 32
    cross_attention_freq: int = 2  # cross-attention in every 2nd layer, from the first
    encoder_width: int = 1408  # width of the cloud tokens that cross-attention reads
    with_text: bool = True  # False: no word embeddings or text feed-forward (stage 2)
    with_lm_head: bool = True  # False: nothing is written by the Q-Former itself (stage 2)
    checkpoint_layers: bool = False  # recompute layers in backward: less memory, more time


@dataclass
class Layout:
    """Where packed states [R,C] lie in the padded layout [M,L] of attention.

    Attributes:
        shape: M rows of L positions: the queries, then the text.
        num_queries: Q, the leading positions of each row that are queries.
        grid: [M,L] index of each position's state; padding points at some other state. None when
            nothing is padded: then R = M*L and the packed states are the padded ones.
        kept: [R] flat position of each packed state.
    """

    shape: tuple[int, int]
    num_queries: int = 0
    grid: Tensor | None = None
    kept: Tensor | None = None

    @classmethod
    def of_text(cls, text_mask: Tensor, num_queries: int = 0) -> Layout:
        """Lay out M rows of Q queries and the real tokens of a text; text_mask boolean [M,T]."""
        rows, length = text_mask.shape
        first_word = rows * num_queries
        queries = torch.arange(first_word, device=text_mask.device).view(rows, num_queries)
        words = (text_mask.flatten().cumsum(0) - 1).clamp(min=0).view(rows, length)
        grid = torch.cat([queries, first_word + words], 1)  # [M,Q+T]
        positions = torch.arange(grid.numel(), device=text_mask.device).view_as(grid)
        words_kept = positions[:, num_queries:][text_mask]
        kept = torch.cat([positions[:, :num_queries].flatten(), words_kept])
        return cls((rows, num_queries + length), num_queries, grid, kept)

    def pad(self, packed: Tensor) -> Tensor:
        """Lay packed states [R,C] out as [M,L,C]; padding holds some other state."""
        if self.grid is None:
            return packed.unflatten(0, self.shape)
        return packed.index_select(0, self.grid.flatten()).unflatten(0, self.shape)

    def pack(self, padded: Tensor) -> Tensor:
        """Collect the real positions of [M,L,C]: [R,C]."""
        flat = padded.flatten(0, 1)
        return flat if self.kept is None else flat.index_select(0, self.kept)

    def leading(self, packed: Tensor, count: int) -> Tensor:
        """Collect the first `count` positions of every row: [M*count,C]."""
        if self.grid is None:
            return packed.unflatten(0, self.shape)[:, :count].flatten(0, 1)
        return packed.index_select(0, self.grid[:, :count].flatten())


class SelfAttention(nn.Module):
    """Projections and attention of one BERT block; `key`/`value` may read another width."""

    def __init__(self, config: QFormerConfig, context_width: int | None = None) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(context_width or config.hidden_size, config.hidden_size)
        self.value = nn.Linear(context_width or config.hidden_size, config.hidden_size)

    def split_heads(self, states: Tensor) -> Tensor:
        """Reshape [B,T,C] to [B,heads,T,C/heads]."""
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def attend(self, queries: Tensor, key_value: KeyValue, mask: Tensor | None = None) -> Tensor:
        """Attend from projected queries [M,T,C]; True in `mask` is where attention is allowed.

        Keys/values of B rows serve M = roles * B rows of queries, role by role: a cloud is read by
        several texts without being copied. The mask of shared keys has one row per cloud.
        """
        keys, values = key_value
        heads = self.split_heads(queries)  # [M,heads,T,d]
        roles = heads.shape[0] // keys.shape[0]
        if roles > 1:
            heads = heads.unflatten(0, (roles, -1)).permute(1, 2, 0, 3, 4).flatten(2, 3)
        dropout = self.dropout if self.training else 0.0
        read = attend(heads, keys, values, mask, dropout)
        if roles > 1:
            read = read.unflatten(2, (roles, -1)).permute(2, 0, 1, 3, 4).flatten(0, 1)
        return read.transpose(1, 2).flatten(2)  # [M,T,C]


class ResidualOutput(nn.Module):
    """Linear, dropout, residual, LayerNorm: how BERT closes attention and feed-forward."""

    def __init__(self, config: QFormerConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(states)) + residual)


class Attention(nn.Module):
    """Attention with its output block, under BERT's names `self` and `output`."""

    def __init__(self, config: QFormerConfig, context_width: int | None = None) -> None:
        super().__init__()
        self.self = SelfAttention(config, context_width)
        self.output = ResidualOutput(config, config.hidden_size)


class Intermediate(nn.Module):
    """First half of the feed-forward block."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, states: Tensor) -> Tensor:
        return F.gelu(self.dense(states))


class QFormerLayer(nn.Module):
    """Shared self-attention, cross-attention for queries, a feed-forward for each kind."""

    def __init__(self, config: QFormerConfig, layer_index: int) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.has_cross_attention = layer_index % config.cross_attention_freq == 0
        if self.has_cross_attention:
            self.crossattention = Attention(config, config.encoder_width)
        if config.with_text:
            self.intermediate = Intermediate(config)
            self.output = ResidualOutput(config, config.intermediate_size)
        self.intermediate_query = Intermediate(config)
        self.output_query = ResidualOutput(config, config.intermediate_size)

    def project_cloud(
        self, cloud_tokens: Tensor, projection: Tensor | None, mask: Tensor | None = None
    ) -> CloudKeyValue:
        """Project cloud tokens [B,G,D] to this layer's cross-attention keys and values.

        `mask` bool [B,G] is true where a token is real.

        With a `projection` [D,width] the two linear maps are multiplied first: K = x (P W) and not
        (x P) W. Equal but for rounding, and at BLIP-2's width of 1408 a quarter of the work.
        """
        attention = self.crossattention.self
        keys, values = (
            F.linear(
                cloud_tokens, p.weight if projection is None else p.weight @ projection.T, p.bias
            )
            for p in (attention.key, attention.value)
        )
        mask = None if mask is None else mask[:, None, None, :]  # [B,1,1,G]
        return CloudKeyValue(attention.split_heads(keys), attention.split_heads(values), mask)

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        mask: Tensor | None,
        cloud: CloudKeyValue | None,
        past: KeyValue | None = None,
        num_read: int | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Run the layer.

        Args:
            hidden: packed states [R,C], laid out by `layout` as [M,L].
            mask: boolean, broadcastable to [M,heads,L,past+L], True where attention is allowed.
            cloud: this layer's cross-attention keys/values of the clouds, or None.
            past: cached keys/values that come before this input (the queries, in decoding).
            num_read: compute only so many leading positions of each row, because no more are read
                (the last layer): all queries, or the first token of a text.

        Returns:
            States [R,C], or [M*num_read,C], and this layer's keys/values including the past.
        """
        keys, values = self._self_keys_values(hidden, layout, past)
        if num_read is not None:
            hidden = layout.leading(hidden, num_read)
            layout = Layout((layout.shape[0], num_read), layout.num_queries)
        attention = self.attention
        context = attention.self.attend(
            layout.pad(attention.self.query(hidden)), (keys, values), mask
        )
        hidden = attention.output(layout.pack(context), hidden)
        return self._feed_forward(hidden, layout, cloud), (keys, values)

    def _self_keys_values(self, hidden: Tensor, layout: Layout, past: KeyValue | None) -> KeyValue:
        attention = self.attention.self
        keys = attention.split_heads(layout.pad(attention.key(hidden)))
        values = attention.split_heads(layout.pad(attention.value(hidden)))
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        return keys, values

    def _feed_forward(self, hidden: Tensor, layout: Layout, cloud: CloudKeyValue | None) -> Tensor:
        """Let the queries read the cloud, then run each kind through its own feed-forward."""
        num_states = layout.shape[0] * layout.num_queries
        queries, words = hidden[:num_states], hidden[num_states:]
        if self.has_cross_attention and cloud is not None and num_states:
            cross = self.crossattention
            projected = cross.self.query(queries).unflatten(0, (layout.shape[0], -1))  # [M,Q,C]
            read = cross.self.attend(projected, (cloud.keys, cloud.values), cloud.mask)
            queries = cross.output(read.flatten(0, 1), queries)
        parts = []
        if len(queries):
            parts.append(self.output_query(self.intermediate_query(queries), queries))
        if len(words):
            parts.append(self.output(self.intermediate(words), words))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class Encoder(nn.Module):
    """The stack of layers, under BERT's name `encoder.layer`."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(QFormerLayer(config, i) for i in range(config.num_hidden_layers))


class Embeddings(nn.Module):
    """Word and position embeddings of the text; queries pass the same LayerNorm without them."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        if config.with_text:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
            self.position_embeddings = nn.Embedding(
                config.max_position_embeddings, config.hidden_size
            )
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def queries(self, query_tokens: Tensor, rows: int) -> Tensor:
        """Embed queries [1,Q,C] for so many rows: [rows*Q,C]."""
        return self.dropout(self.LayerNorm(query_tokens).expand(rows, -1, -1).flatten(0, 1))

    def words(self, text_ids: Tensor, text_mask: Tensor, start: int = 0) -> Tensor:
        """Embed the real tokens of ids [M,T], whose first position is `start`: [N,C]."""
        positions = torch.arange(start, start + text_ids.shape[1], device=text_ids.device)
        positions = positions.expand_as(text_ids)[text_mask]
        words = self.word_embeddings(text_ids[text_mask]) + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(words))


class PredictionTransform(nn.Module):
    """Dense, GELU, LayerNorm before the vocabulary."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class Predictions(nn.Module):
    """BERT's LM head; its decoder matrix is the word embedding (tied, never stored twice)."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.transform = PredictionTransform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        states = self.transform.LayerNorm(F.gelu(self.transform.dense(states)))
        return F.linear(states, word_embeddings, self.bias)
