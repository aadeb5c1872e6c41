"""PointBLIP stage 1: a Q-Former learns to read point clouds with three losses.

`Stage1Losses` trains it (PTC, PTM, PTG); here is what the trained Q-Former serves for: features,
retrieval, captions, answers, classes. Source: PointBLIP (github.com/zhaozh10/PointBLIP), BLIP-2
(arXiv 2301.12597).

What differs from the release (and from BLIP-2 in LAVIS 1.0.2), and the key that restores it:

- Equal captions are positives of each other, never hard negatives: `positives: row`.
- The copies of a caption in a batch count as one in PTC: `correct_repeated_texts: False`.
- Hard negatives are drawn by LAVIS' later rule (HEAD): `hard_negatives: floored`.
- Both directions of PTC train both towers across ranks: `contrast_trains_both: False`.
- The temperature is kept within 0.001 to 0.5.
- Batches of one and single processes work; a row without any negative is left out of PTM.
- Texts are padded to the longest of the batch, not to `max_txt_len`; padding is not computed.
- A cloud's cross-attention keys/values are computed once for all losses; the values are equal.
- An empty caption and a checkpoint that lacks a part are errors.
- `matching_batch`, `captioning_batch`, `text_pooling`, `matching_text`, `positives: annotated`,
  `use_class_token`, `use_size_token`, `use_pooled_token`, `xyz_encoding`: options whose defaults
  are the release's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.models.abilities import (
    AnswerScorer,
    Captioner,
    JointEmbedder,
    Reranker,
    check_modality,
)
from lavis.models.language.beam_search import BeamOptions
from lavis.models.language.candidates import score_candidates
from lavis.models.point_blip_models.answering import (
    caption_head_log_likelihood,
)
from lavis.models.point_blip_models.config import PointBlipConfig
from lavis.models.point_blip_models.decoding import decode_captions, decode_captions_with_beams
from lavis.models.point_blip_models.stage1_losses import Stage1Losses


@dataclass
class PointBlipFeatures:
    """Embeddings of one batch; a field is None when the mode does not compute it."""

    point_embeds: Tensor | None = None  # [B,Q,E], unit
    text_embeds: Tensor | None = None  # [B,E], unit
    multimodal_embeds: Tensor | None = None  # [B,Q,C]


@registry.register_model("point_blip")
@registry.register_model("point_blip_feature_extractor")
class PointBlip(Stage1Losses):
    """Stage 1 of PointBLIP: what the trained Q-Former is used for; `Stage1Losses` trains it."""

    abilities = (JointEmbedder, Reranker, Captioner, AnswerScorer)
    modalities = ("point", "text")
    config_class = PointBlipConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "pretrain": "configs/models/point_blip/point_blip_pretrain.yaml",
        "bricks": "configs/models/point_blip/point_blip_bricks.yaml",
    }

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
            features.point_embeds = self.embed(samples, "point")
        if mode == "multimodal":
            cloud = self.read_cloud(samples)
            tokens = self.tokenize(samples["text_input"])
            features.multimodal_embeds = self.qformer.joint_pass(cloud, *tokens)
        return features

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return unit embeddings: [B,Q,E] of clouds, [B,E] of `samples["text_input"]`."""
        check_modality(self, modality)
        if modality == "text":
            return self.embed_texts(samples["text_input"])
        states, _ = self.qformer.query_pass(self.read_cloud(samples))
        return self.embed_queries(states)

    @torch.no_grad()
    def embed_for_matching(self, samples: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return unit query embeddings [B,Q,E] and the point tokens [B,G,D] of clouds."""
        self.refuse_padded_tokens(samples)  # the tokens are kept without a mask
        point_tokens = self.point_tokens(samples)
        states, _ = self.qformer.query_pass(self.project_cloud(point_tokens))
        return self.embed_queries(states), point_tokens

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit text embeddings [B,E]."""
        return self.embed_text_tokens(*self.tokenize(texts))

    @torch.no_grad()
    def match_scores(self, point_tokens: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the matching log-odds of aligned pairs: tokens [M,G,D], M texts -> [M]."""
        cloud = self.project_cloud(point_tokens)
        states = self.qformer.joint_pass(cloud, *self.tokenize(texts))
        logits = self.itm_head(states).mean(1).float()  # [M,2]
        return logits[:, 1] - logits[:, 0]

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
            ConfigError: a prompt was given; only stage 2 has them.
        """
        if prompt:
            raise ConfigError(
                "the Q-Former captions without a prompt",
                where="run.prompt",
                got=repr(prompt),
                expected="no prompt with arch point_blip",
                fix="use arch point_blip_llm for prompts",
            )
        cloud = self.read_cloud(samples)
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
        cloud = self.read_cloud(samples)
        _, cache = self.qformer.query_pass(cloud)
        questions = list(samples["question"])

        def score(rows: list[int], answers: list[str]) -> tuple[Tensor, Tensor]:
            own = [(key[rows], value[rows]) for key, value in cache]
            asked = [questions[row] for row in rows]
            return caption_head_log_likelihood(self.qformer, self.tokenizer, own, asked, answers)

        return score_candidates(score, candidates)
