"""The Q-Former of BLIP-2: learned queries read a cloud and share self-attention with text.

Four passes, each a named method:

- `query_pass`: queries [B,Q,C] cross-attend to the cloud's tokens;
- `text_pass`: text alone, bidirectional;
- `joint_pass`: queries and text attend to each other, queries also to the cloud (matching);
- `causal_pass`: text is decoded left to right with the queries' cached keys/values as prefix.

Parameter names are those of BLIP-2's `Qformer` (LAVIS), so released BLIP-2 and BERT weights load.
What differs, at equal results: scaled_dot_product_attention; a cloud's cross-attention keys/values
are projected once (`project_cloud`) and shared by every pass and by positives and negatives; in
the last layer only the positions that are read are computed; the vocabulary is projected only
where a label is.

References: BLIP-2 (arXiv 2301.12597), section 3.1; BERT (arXiv 1810.04805).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeyValue = tuple[Tensor, Tensor]  # keys and values, each [B,heads,T,C/heads]


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
    with_text: bool = True  # False: no word embeddings, text feed-forward or LM head (stage 2)


class SelfAttention(nn.Module):
    """Projections and attention of one BERT block; `key`/`value` may read another width."""

    def __init__(self, config: QFormerConfig, context_width: int | None = None) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(context_width or config.hidden_size, config.hidden_size)
        self.value = nn.Linear(context_width or config.hidden_size, config.hidden_size)

    def split_heads(self, hidden: Tensor) -> Tensor:
        """Reshape [B,T,C] to [B,heads,T,C/heads]."""
        return hidden.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def keys_values(self, context: Tensor) -> KeyValue:
        """Project a context [B,T,width] to keys and values."""
        return self.split_heads(self.key(context)), self.split_heads(self.value(context))

    def forward(self, hidden: Tensor, key_value: KeyValue, mask: Tensor | None = None) -> Tensor:
        """Attend from `hidden` [B,T,C]; `mask` is boolean, True where attention is allowed."""
        attended = F.scaled_dot_product_attention(
            self.split_heads(self.query(hidden)),
            *key_value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)  # [B,T,C]


class ResidualOutput(nn.Module):
    """Linear, dropout, residual, LayerNorm: how BERT closes attention and feed-forward."""

    def __init__(self, config: QFormerConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class Attention(nn.Module):
    """Attention with its output block, under BERT's names `self` and `output`."""

    def __init__(self, config: QFormerConfig, context_width: int | None = None) -> None:
        super().__init__()
        self.self = SelfAttention(config, context_width)
        self.output = ResidualOutput(config, config.hidden_size)

    def forward(self, hidden: Tensor, key_value: KeyValue, mask: Tensor | None = None) -> Tensor:
        return self.output(self.self(hidden, key_value, mask), hidden)


class Intermediate(nn.Module):
    """First half of the feed-forward block."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.gelu(self.dense(hidden))


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

    def forward(
        self,
        hidden: Tensor,
        num_queries: int,
        mask: Tensor | None,
        cloud: KeyValue | None,
        past: KeyValue | None = None,
        num_rows: int | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Run the layer.

        Args:
            hidden: [B,T,C]; the first `num_queries` positions are queries, the rest is text.
            mask: boolean, broadcastable to [B,heads,T,past+T], True where attention is allowed.
            cloud: this layer's cross-attention keys/values of the cloud, or None.
            past: cached keys/values that come before this input (the queries, in decoding).
            num_rows: compute only so many leading positions (the last layer's unread rest).

        Returns:
            Hidden states [B,rows,C] and this layer's keys/values including the past.
        """
        keys, values = self.attention.self.keys_values(hidden)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        if num_rows is not None:
            hidden = hidden[:, :num_rows]
            mask = mask[:, :, :num_rows] if mask is not None and mask.shape[2] > 1 else mask
        hidden = self.attention(hidden, (keys, values), mask)
        parts = []
        if num_queries:
            queries = hidden[:, :num_queries]
            if self.has_cross_attention and cloud is not None:
                queries = self.crossattention(queries, cloud)
            parts.append(self.output_query(self.intermediate_query(queries), queries))
        if hidden.shape[1] > num_queries:
            text = hidden[:, num_queries:]
            parts.append(self.output(self.intermediate(text), text))
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)), (keys, values)


class Encoder(nn.Module):
    """The stack of layers, under BERT's name `encoder.layer`."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(QFormerLayer(config, i) for i in range(config.num_hidden_layers))


class Embeddings(nn.Module):
    """Word and position embeddings of the text; queries enter beside them before one LayerNorm."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        if config.with_text:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
            self.position_embeddings = nn.Embedding(
                config.max_position_embeddings, config.hidden_size
            )
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, queries: Tensor | None = None, text_ids: Tensor | None = None, start: int = 0
    ) -> Tensor:
        """Embed queries [B,Q,C] and/or ids [B,T], whose first position is `start`."""
        parts = [queries] if queries is not None else []
        if text_ids is not None:
            positions = torch.arange(start, start + text_ids.shape[1], device=text_ids.device)
            parts.append(self.word_embeddings(text_ids) + self.position_embeddings(positions))
        return self.dropout(self.LayerNorm(torch.cat(parts, 1)))


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

    def forward(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        hidden = self.transform.LayerNorm(F.gelu(self.transform.dense(hidden)))
        return F.linear(hidden, word_embeddings, self.bias)


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


class QFormer(nn.Module):
    """Queries, BERT with cross-attention, and the LM head.

    Args:
        config: sizes. `query_tokens` [1,Q,C] is the learned input of every pass over a cloud.
    """

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_token, config.hidden_size))
        self.bert = BertBody(config)
        if config.with_text:
            self.cls = LMHead(config)
        self.apply(self._init_weights)
        nn.init.normal_(self.query_tokens, std=config.initializer_range)
        self._init_cross_attention()

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

    def project_cloud(self, cloud_tokens: Tensor) -> list[KeyValue | None]:
        """Compute every layer's cross-attention keys/values of cloud tokens [B,G,width], once."""
        return [
            layer.crossattention.self.keys_values(cloud_tokens)
            if layer.has_cross_attention
            else None
            for layer in self.bert.encoder.layer
        ]

    def query_pass(self, cloud: list[KeyValue | None]) -> tuple[Tensor, list[KeyValue]]:
        """Read clouds with the learned queries.

        Args:
            cloud: the output of `project_cloud`.

        Returns:
            Query states [B,Q,C] and each layer's self-attention cache for `causal_pass`.
        """
        batch_size = next(pair[0].shape[0] for pair in cloud if pair is not None)
        hidden = self.bert.embeddings(queries=self.query_tokens.expand(batch_size, -1, -1))
        return self._run(hidden, hidden.shape[1], None, cloud)

    def text_pass(self, text_ids: Tensor, text_mask: Tensor, pooling: str = "cls") -> Tensor:
        """Encode text alone.

        Args:
            text_ids, text_mask: [B,T].
            pooling: `cls`, the first token's state as in BLIP-2; `mean` over the tokens, as the
                sentence encoders that a Q-Former may start from were trained.

        Returns:
            One state per text [B,C].
        """
        hidden = self.bert.embeddings(text_ids=text_ids)
        mask = text_mask.bool()[:, None, None, :]  # [B,1,1,T]
        num_rows = 1 if pooling == "cls" else text_ids.shape[1]
        states = self._run(hidden, 0, mask, None, num_rows=num_rows)[0]
        if pooling == "cls":
            return states[:, 0]
        weights = text_mask.to(states.dtype)[..., None]  # [B,T,1]
        return (states * weights).sum(1) / weights.sum(1)

    def joint_pass(
        self, cloud: list[KeyValue | None], text_ids: Tensor, text_mask: Tensor
    ) -> Tensor:
        """Let queries and text [B,T] see each other; returns the query states [B,Q,C]."""
        queries = self.query_tokens.expand(text_ids.shape[0], -1, -1)
        hidden = self.bert.embeddings(queries=queries, text_ids=text_ids)
        mask = F.pad(text_mask.bool(), (queries.shape[1], 0), value=True)[:, None, None, :]
        num_queries = queries.shape[1]
        return self._run(hidden, num_queries, mask, cloud, num_rows=num_queries)[0]

    def causal_pass(
        self, text_ids: Tensor, text_mask: Tensor, past: list[KeyValue], start: int = 0
    ) -> tuple[Tensor, list[KeyValue]]:
        """Decode text that sees the cached queries and its own past.

        Args:
            text_ids: [B,T] new tokens, the first of them at text position `start`.
            text_mask: [B,start+T], 1 where a token is real.
            past: cache from `query_pass`, or from an earlier `causal_pass`.

        Returns:
            States [B,T,C] and the grown cache.
        """
        num_new = text_ids.shape[1]
        num_queries = past[0][0].shape[2] - start
        hidden = self.bert.embeddings(text_ids=text_ids, start=start)
        rows = torch.arange(start, start + num_new, device=text_ids.device)
        columns = torch.arange(start + num_new, device=text_ids.device)
        causal = columns[None, :] <= rows[:, None]  # [T,start+T]
        mask = causal[None, None] & text_mask.bool()[:, None, None, :]  # [B,1,T,start+T]
        mask = F.pad(mask, (num_queries, 0), value=True)
        return self._run(hidden, 0, mask, None, past)

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """Project states [...,C] to the vocabulary [...,V]."""
        return self.cls.predictions(hidden, self.bert.embeddings.word_embeddings.weight)

    def _run(
        self,
        hidden: Tensor,
        num_queries: int,
        mask: Tensor | None,
        cloud: list[KeyValue | None] | None,
        past: list[KeyValue] | None = None,
        num_rows: int | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        cache = []
        layers = self.bert.encoder.layer
        for index, layer in enumerate(layers):
            hidden, key_value = layer(
                hidden,
                num_queries,
                mask,
                cloud[index] if cloud is not None else None,
                past[index] if past is not None else None,
                num_rows if index == len(layers) - 1 else None,
            )
            cache.append(key_value)
        return hidden, cache


def select_cloud(cloud: list[KeyValue | None], index: Tensor) -> list[KeyValue | None]:
    """Pick rows of projected clouds, e.g. the hard negatives; index [M]."""
    return [None if pair is None else (pair[0][index], pair[1][index]) for pair in cloud]


def concat_clouds(*clouds: list[KeyValue | None]) -> list[KeyValue | None]:
    """Join projected clouds along the batch."""
    return [
        None if pairs[0] is None else tuple(torch.cat(part) for part in zip(*pairs))
        for pairs in zip(*clouds)
    ]  # type: ignore[misc]


def scaled_std(width: int) -> float:
    """Return width^-0.5, the initial deviation of BLIP-style projections."""
    return math.pow(width, -0.5)
