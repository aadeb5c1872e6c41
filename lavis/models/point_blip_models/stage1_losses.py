"""The training half of PointBLIP's stage 1: PTC, PTM and PTG over a batch.

PTC (contrast), PTM (matching) and PTG (grounded captioning) are BLIP-2's ITC, ITM and ITG with
point clouds in place of images. Source: BLIP-2 (arXiv 2301.12597), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models.contrastive import (
    Temperature,
    contrast_targets,
    full_precision,
    gather,
    gather_with_grad,
    info_nce,
    log_text_counts,
    max_over_queries,
    pair_logits,
)
from lavis.models.contrastive.grad_cache import Encoded, whole_batch
from lavis.models.point_blip_models import matching_losses as losses
from lavis.models.point_blip_models.config import PointBlipConfig, Stage1Options
from lavis.models.point_blip_models.point_blip_base import PADDED_TOKENS, PointBlipBase
from lavis.models.point_blip_models.right_pairs import PairKeys, described
from lavis.models.qformer.layers import KeyValue
from lavis.models.qformer.qformer import Cloud, select_cloud, slice_cloud

Text = tuple[Tensor, Tensor]  # ids and mask, each [B,T]
Negatives = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class BatchTexts:
    """The texts of a batch as tokens, and which objects they are right for.

    Attributes:
        drawn: what PTC and PTG read.
        matched, matched_keys: what PTM reads.
    """

    drawn: Text
    matched: Text
    matched_keys: PairKeys


@dataclass(frozen=True)
class EncodedBatch:
    """What PTM and PTG read of an encoded batch.

    Attributes:
        texts: tokens and keys.
        point_tokens: [B,G,D].
        cloud: the Q-Former's keys/values of them.
        query_cache: keys/values of the queries.
    """

    texts: BatchTexts
    point_tokens: Tensor
    cloud: Cloud
    query_cache: list[KeyValue]


class Stage1Losses(PointBlipBase):
    """Encoder, Q-Former and heads, and the losses that train them.

    Args:
        config: keys of stage 1.
    """

    def __init__(self, config: PointBlipConfig) -> None:
        super().__init__(config)
        self.options: Stage1Options = config
        self.max_txt_len = config.max_txt_len
        self.loss_weights = {**Stage1Options().loss_weights, **config.loss_weights}
        width = self.qformer.config.hidden_size
        self.vision_proj = nn.Linear(width, config.embed_dim)
        self.text_proj = nn.Linear(width, config.embed_dim)
        self.itm_head = nn.Linear(width, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the three losses.

        Args:
            samples: `point_cloud` [B,N,3|6] and `text_input`, B captions.

        Returns:
            `loss` (weighted sum), `loss_ptc`, `loss_ptm`, `loss_ptg`, `temperature`.
        """
        return whole_batch(self, samples)

    @property
    def contrasts(self) -> bool:
        """Whether PTC is trained."""
        return bool(self.loss_weights["ptc"])

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of losses."""
        weights = self.loss_weights
        terms = [weights[n.removeprefix("loss_")] * value for n, value in losses.items()]
        return torch.stack(terms).sum()

    def read_texts(self, samples: Mapping[str, Any]) -> BatchTexts:
        """Tokenize a batch's texts, and find which of them are right for which object."""
        texts = list(samples["text_input"])
        tokens = self.tokenize(texts)
        if self.options.matching_text == "drawn":
            keys = PairKeys.of(samples, texts, self.options.positives, self.device)
            return BatchTexts(tokens, tokens, keys)
        matched = described(samples)
        matched_keys = PairKeys.of(samples, matched, "annotated", self.device)
        return BatchTexts(tokens, self.tokenize(matched), matched_keys)

    def encode(self, samples: Mapping[str, Any]) -> Encoded:
        """Encode clouds and drawn texts: unit `point` [B,Q,E] and `text` [B,E].

        Clouds are encoded once for all three losses.
        """
        batch = self.read_texts(samples)
        point_tokens = self.point_tokens(samples)  # [B,G,D]
        cloud = self.project_cloud(point_tokens, self.token_mask(samples))
        query_states, query_cache = self.qformer.query_pass(cloud)  # [B,Q,C]
        embeds = {
            "point": self.embed_queries(query_states),
            "text": self.embed_text_tokens(*batch.drawn),
        }
        return Encoded(embeds, EncodedBatch(batch, point_tokens, cloud, query_cache))

    def contrast(
        self, embeds: Mapping[str, Tensor], samples: Mapping[str, Any], rows: int | None = None
    ) -> dict[str, Tensor]:
        """PTC over embeddings of `encode`, if it has a weight; `samples` needs the texts alone."""
        if not self.contrasts:
            return {}
        texts, options = list(samples["text_input"]), self.options
        keys = PairKeys.of(samples, texts, options.positives, self.device)
        counts = log_text_counts(keys.all_texts) if options.correct_repeated_texts else 0.0
        all_points, all_texts = self.gather_embeds(embeds["point"], embeds["text"])
        smoothing = options.label_smoothing
        (points, texts_of), (words, points_of) = keys.object_to_text, keys.text_to_object
        loss = info_nce(
            embeds["point"],
            embeds["text"],
            scale=Temperature(self.temperature()),
            targets=lambda part: contrast_targets(points[part], texts_of, smoothing, counts),
            back_targets=lambda part: contrast_targets(words[part], points_of, smoothing),
            all_a=all_points,
            all_b=all_texts,
            similarity=max_over_queries,
            log_counts=counts,
            rows=rows,
        )
        return {"loss_ptc": loss, "temperature": self.temp.detach().clone()}

    def other_losses(self, encoded: Encoded, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """PTM and PTG within a batch, those of positive weight."""
        known, output = encoded.rest, {}
        if self.loss_weights["ptm"]:
            similarity = self.contrast_similarity(encoded.embeds["point"], encoded.embeds["text"])
            matched = (*known.texts.matched, similarity, known.texts.matched_keys)
            output["loss_ptm"] = self.matching_loss(known.point_tokens, known.cloud, *matched)
        if self.loss_weights["ptg"]:
            output["loss_ptg"] = self.caption_loss(
                known.texts.drawn[0], known.texts.drawn[1], known.query_cache
            )
        return output

    def embed_queries(self, query_states: Tensor) -> Tensor:
        """Project query states [B,Q,C] to unit embeddings [B,Q,E]."""
        return F.normalize(full_precision(self.vision_proj(query_states)), dim=-1)

    def embed_text_tokens(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Embed tokenized texts [B,T]: unit [B,E]."""
        states = self.qformer.text_pass(text_ids, text_mask, self.options.text_pooling)
        return F.normalize(full_precision(self.text_proj(states)), dim=-1)

    def temperature(self) -> Tensor:
        """Return what cosines are divided by, kept where training cannot run away."""
        return self.temp.clamp(0.001, 0.5)

    def gather_embeds(self, point_embeds: Tensor, text_embeds: Tensor) -> list[Tensor]:
        """Gather embeddings over ranks: [world*B,Q,E] and [world*B,E]."""
        own = (point_embeds, text_embeds)
        if self.options.contrast_trains_both:
            return [gather_with_grad(embeds) for embeds in own]
        return [gather(embeds.detach()) for embeds in own]

    @torch.no_grad()
    def contrast_similarity(
        self, point_embeds: Tensor, text_embeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scale similarities of local with all items: (point->text, text->point) [B,world*B]."""
        everyone = gather(point_embeds), gather(text_embeds)
        scale = Temperature(self.temperature())
        return pair_logits(point_embeds, text_embeds, *everyone, scale, max_over_queries)

    def matching_loss(
        self,
        point_tokens: Tensor,
        cloud: Cloud,
        text_ids: Tensor,
        text_mask: Tensor,
        similarity: tuple[Tensor, Tensor],
        keys: PairKeys,
    ) -> Tensor:
        """PTM over 3B pairs: matched; each cloud with a hard text; each text with a hard cloud."""
        rows = slice(self.options.matching_batch)
        (cloud_index, has_cloud), (text_index, has_text) = self.draw_negatives(
            (similarity[0][rows], similarity[1][rows]), keys.rows(rows)
        )
        all_ids, all_mask = self.gather_text(text_ids, text_mask)
        logits = self.matching_logits(
            slice_cloud(cloud, rows),
            self.negative_clouds(point_tokens, cloud, cloud_index),
            pad_text(text_ids[rows], text_mask[rows], all_ids.shape[1]),
            (all_ids[text_index], all_mask[text_index]),
        )
        return pair_loss(logits, has_cloud, has_text)

    def matching_logits(
        self, own_cloud: Cloud, hard_cloud: Cloud, own_text: Text, hard_text: Text
    ) -> Tensor:
        """Score B matched pairs, B hard texts, B hard clouds: [3B,2].

        A cloud reads its own and its hard text with the same keys/values.
        """
        both = (torch.cat(pair) for pair in zip(own_text, hard_text))
        own_states = self.qformer.joint_pass(own_cloud, *both)
        hard_states = self.qformer.joint_pass(hard_cloud, *own_text)
        return self.itm_head(torch.cat([own_states, hard_states])).mean(1)

    def draw_negatives(self, similarity: tuple[Tensor, Tensor], keys: PairKeys) -> Negatives:
        """Draw each text's hard cloud and each cloud's hard text: index and is-there-one, [B]."""
        point_to_text, text_to_point = similarity
        rule = self.options.hard_negatives
        clouds = losses.sample_hard_negatives(text_to_point, *keys.text_to_object, rule)
        return clouds, losses.sample_hard_negatives(point_to_text, *keys.object_to_text, rule)

    def negative_clouds(self, point_tokens: Tensor, cloud: Cloud, index: Tensor) -> Cloud:
        """Keys/values of clouds by global index; other ranks' clouds are gathered as tokens."""
        all_tokens = gather_with_grad(point_tokens)
        if all_tokens is point_tokens:
            return select_cloud(cloud, index)
        if any(layer is not None and layer.mask is not None for layer in cloud):
            got = "other processes' clouds"
            raise ConfigError(PADDED_TOKENS, got=got, expected="one process")
        return self.project_cloud(all_tokens[index])

    def gather_text(self, text_ids: Tensor, text_mask: Tensor) -> Text:
        """Gather ids and masks over ranks, padded to the longest caption of any rank."""
        longest = int(gather(torch.tensor([text_ids.shape[1]], device=self.device)).max())
        ids, mask = pad_text(text_ids, text_mask, longest)
        return gather(ids), gather(mask)

    def caption_loss(self, text_ids: Tensor, text_mask: Tensor, cache: list[KeyValue]) -> Tensor:
        """PTG: predict each next token behind [DEC], reading the cloud by the queries' cache."""
        rows = slice(self.options.captioning_batch)
        cache = [(key[rows], value[rows]) for key, value in cache]
        decoder_ids = text_ids[rows].clone()
        decoder_ids[:, 0] = self.tokenizer.bos_token_id  # [CLS] becomes [DEC]
        # [B,T-1]; a last token predicts nothing and is left out
        has_label = text_mask[rows, 1:].bool()
        states, _ = self.qformer.causal_pass(decoder_ids[:, :-1], has_label, cache)
        logits = self.qformer.vocabulary_logits(states[has_label])  # [M,V]
        labels = decoder_ids[:, 1:][has_label]
        return losses.caption_loss(logits, labels, self.options.label_smoothing)


def pad_text(text_ids: Tensor, text_mask: Tensor, length: int) -> Text:
    """Pad ids and mask [B,T] on the right to `length`."""
    extra = (0, length - text_ids.shape[1])
    return F.pad(text_ids, extra), F.pad(text_mask, extra)


def pair_loss(logits: Tensor, has_cloud: Tensor, has_text: Tensor) -> Tensor:
    """Return the mean loss of `matching_logits` over the pairs that exist.

    Args:
        logits: [3B,2].
        has_cloud, has_text: boolean [B], False where a row has no hard cloud or text.
    """
    is_own = torch.ones_like(has_text)
    is_pair = torch.cat([is_own, has_text, has_cloud])
    labels = torch.cat([is_own, ~is_own, ~is_own]).long()
    return losses.point_text_matching(logits[is_pair], labels[is_pair])
