"""PointBLIP stage 1: a Q-Former learns to read point clouds with three losses.

PTC (contrast), PTM (matching) and PTG (grounded captioning) are BLIP-2's ITC, ITM and ITG with
point clouds in place of images. Source: PointBLIP (github.com/zhaozh10/PointBLIP), BLIP-2 (arXiv
2301.12597).

What differs from the release, and why: batch size 1 and a single process work; captions that are
equal count as positives, never as hard negatives; a cloud's cross-attention keys/values are
computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError, explain
from lavis.common.registry import registry
from lavis.models import losses
from lavis.models.beam_search import BeamOptions
from lavis.models.point_blip_models.answering import (
    caption_head_log_likelihood,
    score_candidates,
)
from lavis.models.point_blip_models.decoding import decode_captions, decode_captions_with_beams
from lavis.models.point_blip_models.point_blip_base import PointBlipBase
from lavis.models.point_blip_models.similarity import SimilarityMatrices, compute_sim_matrix
from lavis.models.qformer import Cloud, select_cloud
from lavis.models.qformer_layers import KeyValue
from lavis.models.text_keys import text_keys


@dataclass
class PointBlipFeatures:
    """Embeddings of one batch; a field is None when the mode did not ask for it."""

    point_embeds: Tensor | None = None  # [B,Q,E], unit
    text_embeds: Tensor | None = None  # [B,E], unit
    multimodal_embeds: Tensor | None = None  # [B,Q,C]


@registry.register_model("point_blip")
@registry.register_model("point_blip_feature_extractor")
class PointBlip(PointBlipBase):
    """Stage 1 of PointBLIP.

    Args:
        embed_dim: width E of the joint embedding space.
        max_txt_len: longest caption in tokens; longer ones are cut.
        loss_weights: weight of `ptc`, `ptm`, `ptg`; a loss of weight 0 is not computed.
        label_smoothing: for PTC targets and PTG.
        matching_batch: PTM on so many pairs of a batch, with hard negatives from all of it; None is
            every pair, as published. PTM is half of a step, so a small CPU budget buys more steps.
        text_pooling: `cls` (published) or `mean` for the text embedding; `mean` keeps the sentence
            space of a BERT that was trained so (MiniLM) from the first step.
        captioning_batch: PTG on so many objects of a batch; None is every object, as published.
        contrast_trains_both: each direction of PTC trains both towers; False detaches the gathered
            side, as LAVIS does.
        backbone: arguments of `PointBlipBase`.
    """

    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "pretrain": "configs/models/point_blip/point_blip_pretrain.yaml",
        "bricks": "configs/models/point_blip/point_blip_bricks.yaml",
    }

    def __init__(
        self,
        embed_dim: int = 256,
        max_txt_len: int = 32,
        loss_weights: dict[str, float] | None = None,
        label_smoothing: float = 0.1,
        matching_batch: int | None = None,
        captioning_batch: int | None = None,
        text_pooling: str = "cls",
        contrast_trains_both: bool = True,
        **backbone: Any,
    ) -> None:
        super().__init__(**backbone)
        if text_pooling not in ("cls", "mean"):
            raise ConfigError(
                explain(
                    "unknown pooling of the text states",
                    where="model.text_pooling",
                    got=text_pooling,
                    expected="cls or mean",
                )
            )
        self.text_pooling = text_pooling
        width = self.qformer.config.hidden_size
        self.vision_proj = nn.Linear(width, embed_dim)
        self.text_proj = nn.Linear(width, embed_dim)
        self.itm_head = nn.Linear(width, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))
        self.max_txt_len = max_txt_len
        self.loss_weights = {"ptc": 1.0, "ptm": 1.0, "ptg": 1.0} | dict(loss_weights or {})
        self.label_smoothing = label_smoothing
        self.matching_batch = matching_batch
        self.captioning_batch = captioning_batch
        self.contrast_trains_both = contrast_trains_both

    @classmethod
    def from_config(cls, cfg: DictConfig) -> PointBlip:
        """Build from the `model` section; every key read is listed in the default yaml."""
        model = cls(
            embed_dim=cfg.get("embed_dim", 256),
            max_txt_len=cfg.get("max_txt_len", 32),
            loss_weights=cfg.get("loss_weights"),
            label_smoothing=cfg.get("label_smoothing", 0.1),
            matching_batch=cfg.get("matching_batch"),
            captioning_batch=cfg.get("captioning_batch"),
            text_pooling=cfg.get("text_pooling", "cls"),
            contrast_trains_both=cfg.get("contrast_trains_both", True),
            **cls.backbone_options(cfg),
        )
        model.load_weights(cfg)
        return model

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the three losses.

        Args:
            samples: `point_cloud` [B,N,3|6] and `text_input`, B captions.

        Returns:
            `loss` (weighted sum), `loss_ptc`, `loss_ptm`, `loss_ptg`, `temperature`.
        """
        captions = list(samples["text_input"])
        point_tokens = self.point_tokens(samples["point_cloud"])  # [B,G,D]
        cloud = self.project_cloud(point_tokens)
        query_states, query_cache = self.qformer.query_pass(cloud)  # [B,Q,C]
        text_ids, text_mask = self.tokenize(captions)  # [B,T]
        keys = text_keys(captions).to(self.device)
        all_keys = losses.gather(keys)

        point_embeds = F.normalize(self.vision_proj(query_states).float(), dim=-1)  # [B,Q,E]
        text_states = self.qformer.text_pass(text_ids, text_mask, self.text_pooling)
        text_embeds = F.normalize(self.text_proj(text_states).float(), dim=-1)  # [B,E]
        similarity = self.contrast_similarity(point_embeds, text_embeds)

        output = {"temperature": self.temp.detach().clone()}
        if self.loss_weights["ptc"]:
            targets = losses.contrast_targets(keys, all_keys, self.label_smoothing)
            counts = losses.log_text_counts(all_keys)
            output["loss_ptc"] = losses.point_text_contrast(*similarity, targets, counts)
        if self.loss_weights["ptm"]:
            output["loss_ptm"] = self.matching_loss(
                point_tokens, cloud, text_ids, text_mask, similarity, (keys, all_keys)
            )
        if self.loss_weights["ptg"]:
            output["loss_ptg"] = self.caption_loss(text_ids, text_mask, query_cache)
        terms = [
            weight * output[f"loss_{name}"] for name, weight in self.loss_weights.items() if weight
        ]
        return output | {"loss": torch.stack(terms).sum()}

    def contrast_similarity(
        self, point_embeds: Tensor, text_embeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scale similarities of local with all items: (point->text, text->point) [B,world*B]."""
        own = (point_embeds, text_embeds)
        if self.contrast_trains_both:
            everyone = [losses.gather_with_grad(embeds) for embeds in own]
        else:
            everyone = [losses.gather(embeds.detach()) for embeds in own]
        return losses.contrast_logits(*own, *everyone, self.temp.clamp(0.001, 0.5))

    def matching_loss(
        self,
        point_tokens: Tensor,
        cloud: Cloud,
        text_ids: Tensor,
        text_mask: Tensor,
        similarity: tuple[Tensor, Tensor],
        keys: tuple[Tensor, Tensor],
    ) -> Tensor:
        """PTM over 3B pairs: matched; each cloud with a hard text; each text with a hard cloud."""
        rows = slice(self.matching_batch)
        own_keys, all_keys = keys[0][rows], keys[1]
        similarity = (similarity[0][rows], similarity[1][rows])
        (cloud_index, has_cloud), (text_index, has_text) = self.draw_negatives(
            similarity, (own_keys, all_keys)
        )
        all_ids, all_mask = self.gather_text(text_ids, text_mask)
        extra = (0, all_ids.shape[1] - text_ids.shape[1])
        own_ids, own_mask = F.pad(text_ids[rows], extra), F.pad(text_mask[rows], extra)
        # A cloud reads its own and its hard text with the same keys/values.
        own_cloud = [pair and (pair[0][rows], pair[1][rows]) for pair in cloud]
        own_states = self.qformer.joint_pass(
            own_cloud,
            torch.cat([own_ids, all_ids[text_index]]),
            torch.cat([own_mask, all_mask[text_index]]),
        )
        hard_cloud = self.negative_clouds(point_tokens, cloud, cloud_index)
        hard_states = self.qformer.joint_pass(hard_cloud, own_ids, own_mask)
        logits = self.itm_head(torch.cat([own_states, hard_states])).mean(1)  # [3B,2]
        is_own = torch.ones_like(has_text)
        is_pair = torch.cat([is_own, has_text, has_cloud])
        labels = torch.cat([is_own, ~is_own, ~is_own]).long()
        return losses.point_text_matching(logits[is_pair], labels[is_pair])

    def draw_negatives(
        self, similarity: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Draw each text's hard cloud and each cloud's hard text: index and is-there-one, [B]."""
        point_to_text, text_to_point = similarity
        clouds = losses.sample_hard_negatives(text_to_point, *keys)
        return clouds, losses.sample_hard_negatives(point_to_text, *keys)

    def negative_clouds(self, point_tokens: Tensor, cloud: Cloud, index: Tensor) -> Cloud:
        """Keys/values of clouds by global index; other ranks' clouds are gathered as tokens."""
        all_tokens = losses.gather_with_grad(point_tokens)
        if all_tokens is point_tokens:
            return select_cloud(cloud, index)
        return self.project_cloud(all_tokens[index])

    def gather_text(self, text_ids: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Gather ids and masks over ranks, padded to the longest caption of any rank."""
        longest = int(losses.gather(torch.tensor([text_ids.shape[1]], device=self.device)).max())
        pad = (0, longest - text_ids.shape[1])
        return losses.gather(F.pad(text_ids, pad)), losses.gather(F.pad(text_mask, pad))

    def caption_loss(self, text_ids: Tensor, text_mask: Tensor, cache: list[KeyValue]) -> Tensor:
        """PTG: predict each next token behind [DEC], reading the cloud by the queries' cache."""
        rows = slice(self.captioning_batch)
        text_ids, text_mask = text_ids[rows], text_mask[rows]
        cache = [(key[rows], value[rows]) for key, value in cache]
        decoder_ids = text_ids.clone()
        decoder_ids[:, 0] = self.tokenizer.bos_token_id  # [CLS] becomes [DEC]
        has_label = text_mask[
            :, 1:
        ].bool()  # [B,T-1]; a last token predicts nothing and is left out
        states, _ = self.qformer.causal_pass(decoder_ids[:, :-1], has_label, cache)
        logits = self.qformer.vocabulary_logits(states[has_label])  # [M,V]
        return losses.caption_loss(logits, decoder_ids[:, 1:][has_label], self.label_smoothing)

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn captions into ids and mask [B,T], T the longest of the batch.

        Raises:
            DataError: when a caption is empty.
        """
        empty = [index for index, caption in enumerate(captions) if not str(caption).strip()]
        if empty:
            raise DataError(
                explain(
                    "empty captions cannot be aligned",
                    where="samples['text_input']",
                    got=f"positions {empty[:5]} of a batch of {len(captions)}",
                    fix="filter them in the data set's annotation file",
                )
            )
        tokens = self.tokenizer(
            list(captions),
            padding="longest",
            truncation=True,
            max_length=self.max_txt_len,
            return_tensors="pt",
        )
        return tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)

    @torch.no_grad()
    def extract_features(
        self, samples: dict[str, Any], mode: str = "multimodal"
    ) -> PointBlipFeatures:
        """Embed a batch.

        Args:
            samples: `point_cloud` [B,N,3|6] and/or `text_input`.
            mode: `point`, `text`, `both` (each alone), or `multimodal` (queries that see the text).
        """
        features = PointBlipFeatures()
        if mode in ("text", "both"):
            features.text_embeds = self.embed_texts(samples["text_input"])
        if mode in ("point", "both"):
            features.point_embeds = self.embed_clouds(samples["point_cloud"])[0]
        if mode == "multimodal":
            cloud = self.project_cloud(self.point_tokens(samples["point_cloud"]))
            tokens = self.tokenize(samples["text_input"])
            features.multimodal_embeds = self.qformer.joint_pass(cloud, *tokens)
        return features

    @torch.no_grad()
    def embed_clouds(self, point_cloud: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit query embeddings [B,Q,E] and the point tokens [B,G,D] of clouds."""
        point_tokens = self.point_tokens(point_cloud)
        states, _ = self.qformer.query_pass(self.project_cloud(point_tokens))
        return F.normalize(self.vision_proj(states).float(), dim=-1), point_tokens

    def object_embeddings(self, point_cloud: Tensor) -> Tensor:
        """Embed objects for comparison with each other: [B,Q,E]."""
        return self.embed_clouds(point_cloud)[0]

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit text embeddings [B,E]."""
        states = self.qformer.text_pass(*self.tokenize(texts), self.text_pooling)
        return F.normalize(self.text_proj(states).float(), dim=-1)

    @torch.no_grad()
    def match_scores(self, point_tokens: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the matching probability of aligned pairs: tokens [M,G,D], M texts -> [M]."""
        cloud = self.project_cloud(point_tokens)
        states = self.qformer.joint_pass(cloud, *self.tokenize(texts))
        return self.itm_head(states).mean(1).float().softmax(-1)[:, 1]

    def compute_sim_matrix(self, data_loader: Any, k_test: int = 128) -> SimilarityMatrices:
        """Score every object of a loader with every caption: PTC, then PTM on each side's top k."""
        return compute_sim_matrix(self, data_loader, k_test)

    @torch.no_grad()
    def generate(
        self,
        samples: dict[str, Any],
        max_length: int = 30,
        min_length: int = 1,
        top_p: float | None = None,
        temperature: float = 1.0,
        num_beams: int = 1,
        prompt: str | None = None,
    ) -> list[str]:
        """Caption clouds with the Q-Former itself.

        Args:
            samples: `point_cloud` [B,N,3|6].
            max_length, min_length: bounds on the written tokens.
            top_p: nucleus mass; sets sampling. temperature: of sampling.
            num_beams: beams; 1 is greedy.
            prompt: must be empty.

        Raises:
            ConfigError: a prompt is asked for; only stage 2 has them.
        """
        if prompt:
            raise ConfigError(
                explain(
                    "the Q-Former captions without a prompt",
                    where="run.prompt",
                    got=repr(prompt),
                    expected="no prompt with arch point_blip",
                    fix="use arch point_blip_llm for prompts",
                )
            )
        cloud = self.project_cloud(self.point_tokens(samples["point_cloud"]))
        _, cache = self.qformer.query_pass(cloud)
        tokenizer = self.tokenizer
        if num_beams > 1 and top_p is None:
            options = BeamOptions(
                *(num_beams, max_length, tokenizer.sep_token_id, tokenizer.pad_token_id),
                min_new_tokens=min_length,
            )
            token_ids = decode_captions_with_beams(
                self.qformer, cache, start_id=tokenizer.bos_token_id, options=options
            )
        else:
            token_ids = decode_captions(
                self.qformer,
                cache,
                start_id=tokenizer.bos_token_id,
                end_id=tokenizer.sep_token_id,
                pad_id=tokenizer.pad_token_id,
                max_length=max_length,
                min_length=min_length,
                top_p=top_p,
                temperature=temperature,
            )
        return [text.strip() for text in tokenizer.batch_decode(token_ids, True)]

    @torch.no_grad()
    def score_answers(
        self, samples: dict[str, Any], candidates: Sequence[Sequence[str]]
    ) -> list[Tensor]:
        """Likelihood of candidate answers to `samples['question']`, by the captioning head.

        Returns:
            Per question [K,2] on the CPU: log-likelihood summed over the answer's tokens, and their
            number.
        """
        cloud = self.project_cloud(self.point_tokens(samples["point_cloud"]))
        _, cache = self.qformer.query_pass(cloud)
        questions = list(samples["question"])

        def score(rows: list[int], answers: list[str]) -> tuple[Tensor, Tensor]:
            own = [(key[rows], value[rows]) for key, value in cache]
            asked = [questions[row] for row in rows]
            return caption_head_log_likelihood(self.qformer, self.tokenizer, own, asked, answers)

        return score_candidates(score, candidates)

    @torch.no_grad()
    def class_embeddings(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Average each class' prompts in embedding space: unit [K,E]."""
        prompts = [template.format(name) for name in class_names for template in templates]
        embeds = self.embed_texts(prompts).unflatten(0, (len(class_names), len(templates)))
        return F.normalize(embeds.mean(1), dim=-1)

    @torch.no_grad()
    def predict_class(self, samples: dict[str, Any], class_embeds: Tensor) -> Tensor:
        """Score clouds against classes: [B,K], the best query's cosine over the temperature."""
        point_embeds, _ = self.embed_clouds(samples["point_cloud"])
        return losses.query_text_similarity(point_embeds, class_embeds) / self.temp.clamp(0.001)
