"""Pre-train a point encoder against a frozen text tower, as ULIP does before PointBLIP starts.

PointBLIP's Point-BERT is frozen and comes from ULIP-2. Where no such weights exist (the built-in
data, your own objects), this model makes them: symmetric InfoNCE between the encoder's global
feature and the sentence embedding of the object's text. Its checkpoint is what
`model.point_encoder_weights` reads.

Each text source has its own head, scale and weight. With `description` (shape words only) and
`category` beside `caption` (with the colour), colour alone cannot solve the task, and a small
weight of `caption` keeps the easy colour from ruling the gradient. The text space stays the tower's
own, as in ULIP: text projections learned from thousands of objects fit only those (docs/LOG.md).

References: ULIP (arXiv 2212.05171), ULIP-2 (arXiv 2305.08275); there the teachers are CLIP's
towers, here the text tower alone, because no image-text weights arrive from a package registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.common.utils import get_abs_path
from lavis.models.abilities import JointEmbedder, check_modality
from lavis.models.base_model import BaseModel
from lavis.models.contrastive import ContrastiveTerms, Term, autocast_cosine, full_precision
from lavis.models.contrastive.contrast_only import ContrastOnly
from lavis.models.contrastive.grad_cache import Encoded
from lavis.models.contrastive.text_keys import text_keys
from lavis.models.hub import HubSystem
from lavis.models.point_encoders import (
    build_point_encoder,
    encode_batch,
    load_encoder_checkpoint,
)
from lavis.models.point_encoders.object_head import ObjectHead
from lavis.models.teachers import SentenceTeacher
from lavis.models.ulip_models.config import UlipTextConfig
from lavis.models.ulip_models.lexical_head import LexicalHead
from lavis.models.ulip_models.vocabulary import Vocabulary

WORDS = "words"  # of the loss and the scale


@registry.register_model("ulip_text")
class UlipText(ContrastOnly, HubSystem, BaseModel):
    """Point encoder, frozen text tower, and projections into a joint space for each text source.

    Args:
        config: yaml keys.
    """

    abilities = (JointEmbedder,)
    modalities = ("point", "text")
    config_class = UlipTextConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "bricks": "configs/models/ulip/ulip_text_bricks.yaml",
        "bricks_voxel": "configs/models/ulip/ulip_text_bricks_voxel.yaml",
    }

    def __init__(self, config: UlipTextConfig) -> None:
        super().__init__()
        self.point_encoder = build_point_encoder(config.point_encoder)
        if config.point_encoder_weights:
            path = get_abs_path(config.point_encoder_weights)
            load_encoder_checkpoint(self.point_encoder, path)
        self.text_tower = SentenceTeacher(config.text_tower)
        self.object_head = ObjectHead(
            self.point_encoder.global_dim, config.use_size, config.head_width, config.head_dropout
        )
        self.text_sources = dict(config.text_sources)
        self.embed_source = config.embed_source or next(iter(self.text_sources))
        for key, names in (
            ("whole_vocabulary", config.whole_vocabulary),
            ("embed_source", (self.embed_source,)),
        ):
            unknown = sorted(set(names) - set(self.text_sources))
            if unknown:
                where, known = f"model.{key}", sorted(self.text_sources)
                raise ConfigError("no such text source", where=where, got=unknown, expected=known)
        self.vocabularies = {
            name: Vocabulary(f"model.whole_vocabulary: {name}") for name in config.whole_vocabulary
        }
        self.label_smoothing = config.label_smoothing
        self.point_proj = nn.ModuleDict(
            {
                name: nn.Linear(self.object_head.out_dim, self.text_tower.embed_dim)
                for name in self.text_sources
            }
        )
        terms = [
            Term(f"point_{name}", f"text_{name}", weight, name=name)
            for name, weight in self.text_sources.items()
        ]
        self.lexical_source, self.lexical_share = config.lexical_source or "", config.lexical_share
        self.lexical: LexicalHead | None = None
        if self.lexical_source:
            self.lexical = LexicalHead(self.object_head.out_dim)
            terms.append(Term("point_words", "text_words", config.lexical_weight, name=WORDS))
        # Named after its parameters: "logit_scale.<source>" in checkpoints.
        self.logit_scale = ContrastiveTerms(terms, autocast_cosine)

    @property
    def space(self) -> str:
        """The joint space that clouds are aligned with, stored in checkpoints."""
        words = "" if self.lexical is None else f"+{self.lexical.words.space}"
        return self.text_tower.space + words

    def read_training_objects(self, datasets: Iterable[Any]) -> None:
        """Collect the texts of the training split that a loss compares with."""
        if not self.vocabularies and self.lexical is None:
            return
        records = [record for dataset in datasets for record in dataset.train_annotation()]
        for name, known in self.vocabularies.items():
            texts = [str(r[name]) for r in records if r.get(name)]
            self.vocabularies[name] = Vocabulary(known.key, texts)
        texts = [str(r[self.lexical_source]) for r in records if r.get(self.lexical_source)]
        if self.lexical is not None and texts:
            self.lexical.fit(texts)

    def encode(self, samples: Mapping[str, Any]) -> Encoded:
        """Encode clouds with the head of each text source, and its texts: unit [B,E].

        Args:
            samples: `point_cloud` [B,N,3|6] and a list of B texts for every source.
        """
        feature = self.object_feature(samples)
        embeds = {}
        for name in self.text_sources:
            points = full_precision(self.point_proj[name](feature))
            embeds[f"point_{name}"] = F.normalize(points, dim=-1)
            embeds[f"text_{name}"] = self.text_tower(self.texts_of(samples, name))
        if self.lexical is not None:
            embeds["point_words"] = self.lexical(feature)
            embeds["text_words"] = self.lexical.words(self.texts_of(samples, self.lexical_source))
        return Encoded(embeds)

    def object_feature(self, samples: Mapping[str, Any]) -> Tensor:
        """Return what the projections read [B,F]: the global feature, or the head's layer.

        Raises:
            ConfigError: the model reads sizes, and the samples have none.
        """
        feature = encode_batch(self.point_encoder, samples, self.device).global_feature
        return self.object_head(feature, samples)

    def texts_of(self, samples: Mapping[str, Any], source: str) -> list[str]:
        """Return the texts of a source.

        Raises:
            ConfigError: the samples have none.
        """
        if source not in samples:
            raise ConfigError(
                "the data set has no such text",
                where="model.text_sources",
                got=source,
                expected=sorted(k for k, v in samples.items() if isinstance(v, list)),
            )
        return list(samples[source])

    def contrast(
        self, embeds: Mapping[str, Tensor], samples: Mapping[str, Any], rows: int | None = None
    ) -> dict[str, Tensor]:
        """Compare objects with the texts of each source.

        Symmetric InfoNCE over the batch, where equal texts are positives; cross-entropy over the
        training split's texts for those of `whole_vocabulary`; the mean of both for words.
        """
        losses = {}
        for term in self.logit_scale.terms:
            lexical = self.lexical if term.key == WORDS else None
            texts = self.texts_of(samples, self.lexical_source if lexical else term.key)
            parts = []
            if term.key in self.vocabularies:
                parts.append(self.vocabulary_loss(term, embeds[term.a], texts))
            else:
                keys = {term.key: text_keys(texts).to(self.device)}
                parts.append(self.logit_scale.one(term, embeds, keys, {}, rows))
            if lexical is not None:
                scale = self.logit_scale.scale(term)
                parts.append(lexical.loss(embeds[term.a], texts, scale, self.label_smoothing))
            losses[f"loss_{term.key}"] = torch.stack(parts).mean()
        return losses

    def vocabulary_loss(self, term: Term, points: Tensor, texts: Sequence[str]) -> Tensor:
        """Cross-entropy of embedded clouds [B,E] over all texts of a source; `texts` are the B own.

        Raises:
            ConfigError: the training split was not read, or lacks a text.
        """
        vocabulary = self.vocabularies[term.key]
        rows = vocabulary.rows(texts).to(points.device)
        logits = self.logit_scale.scale(term) * points @ self.text_tower(vocabulary.texts).T
        return F.cross_entropy(logits, rows, label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return unit embeddings [B,E]: clouds with the head of `embed_source`."""
        check_modality(self, modality)
        if modality == "text":
            return self.embed_texts(samples["text_input"])
        feature = self.object_feature(samples)
        dense = F.normalize(self.point_proj[self.embed_source](feature), dim=-1)
        return dense if self.lexical is None else self.hybrid(dense, self.lexical(feature))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings [B,E] of texts: of the tower, and with `lexical` of words."""
        dense = self.text_tower(texts)
        return dense if self.lexical is None else self.hybrid(dense, self.lexical.words(texts))

    def hybrid(self, dense: Tensor, lexical: Tensor) -> Tensor:
        """Join two embeddings, so that a cosine is the mean of theirs by `lexical_share`."""
        share = self.lexical_share
        joined = torch.cat([dense * (1 - share) ** 0.5, lexical * share**0.5], dim=-1)
        return F.normalize(joined, dim=-1)  # a text without a known word has no lexical part
