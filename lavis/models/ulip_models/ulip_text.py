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

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError, explain
from lavis.common.registry import registry
from lavis.models import losses
from lavis.models.abilities import JointEmbedder, check_modality
from lavis.models.base_model import BaseModel
from lavis.models.builtin_weights import reading_pretrained, resolve_pretrained
from lavis.models.point_encoders import build_point_encoder, encode_batch
from lavis.models.text_keys import text_keys
from lavis.models.ulip_models.config import UlipTextConfig

MAX_LOGIT_SCALE = math.log(100.0)


class SentenceTower(nn.Module):
    """A frozen BERT whose mean token state is the text's embedding (MiniLM's own pooling)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        folder = resolve_pretrained(name)
        with reading_pretrained("model.text_tower", name):
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.bert = AutoModel.from_pretrained(folder).requires_grad_(False)
        self.width = self.bert.config.hidden_size
        # Texts repeat every epoch and the tower never changes: each is read once.
        self._known: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> SentenceTower:
        """Stay in evaluation mode: a frozen tower never drops out."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: unit [B,width]."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            tokens = self.tokenizer(new, padding=True, truncation=True, return_tensors="pt")
            tokens = tokens.to(self.bert.device)
            states = self.bert(**tokens).last_hidden_state  # [n,T,width]
            mask = tokens.attention_mask[..., None]
            means = F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
            self._known |= dict(zip(new, means.cpu()))
        return torch.stack([self._known[text] for text in texts]).to(self.bert.device)


@registry.register_model("ulip_text")
class UlipText(BaseModel):
    """Point encoder, frozen text tower, and projections into a joint space for each text source.

    Args:
        point_encoder_cfg: the encoder's yaml section.
        text_tower: `minilm`, a folder, or a hub name.
        text_sources: weight of the contrast with each field of the samples that holds texts; the
            first is the one that `embed` uses.
    """

    abilities = (JointEmbedder,)
    modalities = ("point", "text")
    config_class = UlipTextConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "bricks": "configs/models/ulip/ulip_text_bricks.yaml",
    }

    def __init__(
        self,
        point_encoder_cfg: DictConfig,
        text_tower: str = "minilm",
        text_sources: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.loaded_checkpoint: str | None = None
        self.point_encoder = build_point_encoder(point_encoder_cfg)
        self.text_tower = SentenceTower(text_tower)
        point_width, text_width = self.point_encoder.global_dim, self.text_tower.width
        self.text_sources = dict(text_sources or {"caption": 1.0})
        self.point_proj = nn.ModuleDict(
            {name: nn.Linear(point_width, text_width) for name in self.text_sources}
        )
        self.logit_scale = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(math.log(1 / 0.07))) for name in self.text_sources}
        )

    @classmethod
    def from_config(cls, cfg: DictConfig) -> UlipText:
        """Build from the `model` section; every key read is listed in the default yaml."""
        return cls(
            point_encoder_cfg=cfg.point_encoder,
            text_tower=cfg.get("text_tower", "minilm"),
            text_sources=cfg.get("text_sources"),
        )

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Contrast clouds with each text source.

        Args:
            samples: `point_cloud` [B,N,3|6] and a list of B texts for every source.

        Returns:
            `loss` (weighted sum) and `loss_<source>`.
        """
        feature = encode_batch(self.point_encoder, samples, self.device).global_feature
        output = {
            f"loss_{name}": self.contrast(feature, samples, name) for name in self.text_sources
        }
        total = [weight * output[f"loss_{name}"] for name, weight in self.text_sources.items()]
        return output | {"loss": torch.stack(total).sum()}

    def contrast(self, feature: Tensor, samples: dict[str, Any], source: str) -> Tensor:
        """Symmetric InfoNCE of features [B,F] and one text source; equal texts are positives."""
        if source not in samples:
            raise ConfigError(
                explain(
                    "the data set has no such text",
                    where="model.text_sources",
                    got=source,
                    expected=sorted(k for k, v in samples.items() if isinstance(v, list)),
                )
            )
        texts = list(samples[source])
        keys = text_keys(texts).to(self.device)
        points = F.normalize(self.point_proj[source](feature).float(), dim=-1)
        words = self.text_tower(texts)
        scale = self.logit_scale[source].clamp(max=MAX_LOGIT_SCALE).exp()
        point_to_text = scale * points @ losses.gather_with_grad(words).T
        text_to_point = scale * words @ losses.gather_with_grad(points).T
        all_keys = losses.gather(keys)
        targets = losses.contrast_targets(keys, all_keys, smoothing=0.0)
        counts = losses.log_text_counts(all_keys)
        return losses.point_text_contrast(point_to_text, text_to_point, targets, counts)

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return unit embeddings [B,E]: clouds with the head of the first text source."""
        check_modality(self, modality)
        if modality == "text":
            return self.embed_texts(samples["text_input"])
        feature = encode_batch(self.point_encoder, samples, self.device).global_feature
        source = next(iter(self.text_sources))
        return F.normalize(self.point_proj[source](feature), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings [B,E] of the tower."""
        return self.text_tower(texts)
