"""BLIP-2's stage-1 step in the usual layout: what `stage1_step.py` measures ours against.

A plain re-implementation of how the public repositories compute it, on the same parameters: every
text padded to 32 tokens, attention written out with an additive mask, cross-attention keys/values
recomputed by every pass for every row (so the matching pass projects 3B clouds), every layer
computed for all positions, and the vocabulary projected at every position.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.models.qformer.layers import Attention, KeyValue, QFormerLayer
from lavis.models.qformer.qformer import QFormer

MASKED = -10000.0


def attend(attention: Attention, hidden: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
    """Write attention out: scores, mask, softmax, dropout, product; keys/values from `context`."""
    keys_values = attention.self.key(context), attention.self.value(context)
    return attend_to(attention, hidden, *map(attention.self.split_heads, keys_values), mask)


def attend_to(
    attention: Attention, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """Attend to ready keys/values [B,heads,K,d] and close the block."""
    queries = attention.self.split_heads(attention.self.query(hidden))
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    weights = (scores if mask is None else scores + mask).softmax(-1)
    weights = F.dropout(weights, attention.self.dropout, attention.training)
    context = (weights @ values).transpose(1, 2).flatten(2)
    return attention.output(context, hidden)


def run_layers(
    qformer: QFormer,
    hidden: Tensor,
    num_queries: int,
    mask: Tensor | None,
    cloud_tokens: Tensor | None,
    past: list[KeyValue] | None = None,
) -> tuple[Tensor, list[KeyValue]]:
    """Run every layer for every position of padded states [B,T,C]."""
    cache = []
    layers: list[QFormerLayer] = list(qformer.bert.encoder.layer)  # type: ignore[arg-type]
    for index, layer in enumerate(layers):
        attention = layer.attention.self
        keys = attention.split_heads(attention.key(hidden))
        values = attention.split_heads(attention.value(hidden))
        if past is not None:
            keys = torch.cat([past[index][0], keys], 2)
            values = torch.cat([past[index][1], values], 2)
        cache.append((keys, values))
        hidden = attend_to(layer.attention, hidden, keys, values, mask)
        parts = []
        if num_queries:
            queries = hidden[:, :num_queries]
            if layer.has_cross_attention:
                queries = attend(layer.crossattention, queries, cloud_tokens, None)
            parts.append(layer.output_query(layer.intermediate_query(queries), queries))
        if hidden.shape[1] > num_queries:
            text = hidden[:, num_queries:]
            parts.append(layer.output(layer.intermediate(text), text))
        hidden = torch.cat(parts, 1)
    return hidden, cache


def embed(qformer: QFormer, queries: Tensor | None, ids: Tensor | None) -> Tensor:
    """Embed queries [B,Q,C] and/or ids [B,T]."""
    parts = [] if queries is None else [queries]
    embeddings = qformer.bert.embeddings
    if ids is not None:
        positions = torch.arange(ids.shape[1], device=ids.device)
        words = embeddings.word_embeddings(ids) + embeddings.position_embeddings(positions)
        parts.append(words)
    return embeddings.dropout(embeddings.LayerNorm(torch.cat(parts, 1)))


def additive(mask: Tensor) -> Tensor:
    """Turn a 0/1 mask, broadcastable to [B,heads,T,K], into what is added to scores."""
    return (1.0 - mask.float()) * MASKED


def usual_losses(
    model: torch.nn.Module, cloud_tokens: Tensor, ids: Tensor, mask: Tensor, negatives: Tensor
) -> dict[str, Tensor]:
    """Compute PTC, PTM and PTG.

    Args:
        model: holds `qformer`, `vision_proj`, `text_proj`, `itm_head`, `temp`, `tokenizer`.
        cloud_tokens: [B,G,encoder_width], projected.
        ids, mask: [B,32], padded.
        negatives: [2,B], the hard cloud of each text and the hard text of each cloud.
    """
    qformer, batch = model.qformer, len(ids)
    queries = qformer.query_tokens.expand(batch, -1, -1)
    num_queries = queries.shape[1]
    states, cache = run_layers(
        qformer, embed(qformer, queries, None), num_queries, None, cloud_tokens
    )
    text_mask = additive(mask[:, None, None, :])
    text, _ = run_layers(qformer, embed(qformer, None, ids), 0, text_mask, None)
    points = F.normalize(model.vision_proj(states), dim=-1)
    texts = F.normalize(model.text_proj(text[:, 0]), dim=-1)
    cosine = torch.einsum("pqe,te->pqt", points, texts).amax(1) / model.temp
    target = torch.arange(batch, device=ids.device)
    ptc = sum(F.cross_entropy(x, target, label_smoothing=0.1) for x in (cosine, cosine.T)) / 2

    pair_ids = torch.cat([ids, ids, ids[negatives[1]]])
    pair_mask = torch.cat([mask, mask, mask[negatives[1]]])
    pair_tokens = torch.cat([cloud_tokens, cloud_tokens[negatives[0]], cloud_tokens])
    pair_queries = qformer.query_tokens.expand(3 * batch, -1, -1)
    joint_mask = additive(F.pad(pair_mask, (num_queries, 0), value=1)[:, None, None, :])
    joint, _ = run_layers(
        qformer, embed(qformer, pair_queries, pair_ids), num_queries, joint_mask, pair_tokens
    )
    logits = model.itm_head(joint[:, :num_queries]).mean(1)
    labels = torch.zeros(3 * batch, dtype=torch.long, device=ids.device)
    labels[:batch] = 1
    ptm = F.cross_entropy(logits, labels)

    decoder_ids = ids.clone()
    decoder_ids[:, 0] = model.tokenizer.bos_token_id
    length = ids.shape[1]
    causal = torch.ones(length, length, device=ids.device).tril()[None] * mask[:, None, :]
    causal = additive(F.pad(causal, (num_queries, 0), value=1)[:, None])
    written, _ = run_layers(qformer, embed(qformer, None, decoder_ids), 0, causal, None, cache)
    scores = qformer.vocabulary_logits(written)[:, :-1]
    wanted = decoder_ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    ptg = F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), label_smoothing=0.1)
    return {"ptc": ptc, "ptm": ptm, "ptg": ptg}
