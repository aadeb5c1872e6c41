"""Point-Bind: clouds are aligned with images, texts and sounds of one frozen joint space.

Point-Bind & Point-LLM, arXiv 2309.00615. L = L(P,I) + L(P,T) + L(P,A), each a symmetric InfoNCE;
the text target is the mean of several templates' embeddings. Items without a sound (or image, or
text) leave the term that needs it.

The release has no training code. Ours: the teachers' embeddings come with the batch, or texts are
embedded by a teacher of the same space; each term has its own scale; equal texts, and sounds of one
class, of a batch can be positives of each other; the image target is the mean of an object's views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError
from lavis.common.registry import registry
from lavis.common.utils import get_abs_path
from lavis.evaluation.prompt_sets import load_templates
from lavis.models.abilities import JointEmbedder, check_modality
from lavis.models.base_model import BaseModel
from lavis.models.contrastive import ContrastiveTerms, Term, full_precision
from lavis.models.contrastive.contrast_only import ContrastOnly, item_keys
from lavis.models.contrastive.grad_cache import Encoded
from lavis.models.contrastive.text_keys import text_keys
from lavis.models.hub import HubSystem
from lavis.models.point_bind_models.config import PointBindConfig
from lavis.models.point_bind_models.joint_head import JointHead
from lavis.models.point_encoders import (
    build_point_encoder,
    encode_batch,
    load_encoder_checkpoint,
)
from lavis.models.teachers import batch_embeds, embed_with, joint_text_teacher

TEACHERS = ("image", "text", "audio")  # modalities of frozen teachers


@registry.register_model("point_bind")
class PointBind(ContrastOnly, HubSystem, BaseModel):
    """Point encoder and head into a frozen joint space.

    Args:
        config: see `PointBindConfig`.

    Raises:
        ConfigError: a text teacher of another width than `embed_dim`, no term, or a template
            without exactly one {}.
    """

    abilities = (JointEmbedder,)
    modalities = ("point", *TEACHERS)
    config_class = PointBindConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "bricks": "configs/models/point_bind/point_bind_bricks.yaml",
        "furniture_bricks": "configs/models/point_bind/point_bind_furniture_bricks.yaml",
        "furniture_bricks_i2p_mae": (
            "configs/models/point_bind/point_bind_furniture_bricks_i2p_mae.yaml"
        ),
        "i2p_mae": "configs/models/point_bind/point_bind_i2p_mae.yaml",
        "point_bert": "configs/models/point_bind/point_bind_point_bert.yaml",
    }

    def __init__(self, config: PointBindConfig) -> None:
        super().__init__()
        self.config = config
        self.templates = _checked_templates(config.text_templates)
        self.point_encoder = build_point_encoder(config.point_encoder)
        if config.point_encoder_weights:
            path = get_abs_path(config.point_encoder_weights)
            load_encoder_checkpoint(self.point_encoder, path)
        width = self.point_encoder.global_dim
        sizes = (config.layers, config.hidden, config.dropout)
        self.joint_head = JointHead(width, config.embed_dim, *sizes)
        self.text_teacher = joint_text_teacher(config.text_teacher, config.embed_dim)
        weights = {name: getattr(config, name) for name in TEACHERS}
        options = (config.learn_scale, config.init_scale)
        terms = [
            Term("point", name, weight, *options) for name, weight in weights.items() if weight
        ]
        self.logit_scale = ContrastiveTerms(terms)

    @property
    def space(self) -> str | None:
        """The joint space, stored in checkpoints."""
        return self.config.space if self.text_teacher is None else self.text_teacher.space

    def encode(self, samples: Mapping[str, Any]) -> Encoded:
        """Embed a batch: unit `point` and teachers' embeddings [B,E], and what exists [B].

        Args:
            samples: `point_cloud` [B,N,3|6]; `image_embeds` and `audio_embeds` [B,V,E] and
                `text_embeds` [B,E] of the joint space, each with `<name>_mask`; `text_input`, B
                texts, where there is a text teacher; `audio_class`, B names of sounds.
        """
        point = self.point_feature(samples)
        embeds, valid = {"point": F.normalize(full_precision(point), dim=-1)}, {}
        for term in self.logit_scale.terms:
            embeds[term.b], valid[f"has_{term.b}"] = self.target(samples, term.b, len(point))
        return Encoded(embeds | valid)

    def contrast(
        self, embeds: Mapping[str, Tensor], samples: Mapping[str, Any], rows: int | None = None
    ) -> dict[str, Tensor]:
        """InfoNCE of every term over the items of all ranks that have both sides."""
        terms = self.logit_scale.terms
        valid = {term.b: embeds[f"has_{term.b}"].bool() for term in terms}
        by_text = self.config.positives == "text" and "text_input" in samples
        texts = samples["text_input"] if by_text else None
        point = embeds["point"]
        keys = item_keys(terms, len(point), texts, point.device)
        if by_text and "audio_class" in samples and "point_audio" in keys:
            keys["point_audio"] = text_keys(samples["audio_class"]).to(point.device)
        losses = self.logit_scale(embeds, keys, valid, rows)
        losses.pop("loss")
        return losses

    def point_feature(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode clouds [B,N,3|6] to [B,E], before they are normalised."""
        encoded = encode_batch(self.point_encoder, samples, self.device)
        return self.joint_head(encoded.global_feature)

    def target(self, samples: Mapping[str, Any], modality: str, size: int) -> tuple[Tensor, Tensor]:
        """Return a teacher's unit embeddings [B,E], and bool [B], which items have one."""
        if modality == "text" and "text_embeds" not in samples:
            texts = list(samples["text_input"])
            has_text = torch.tensor([bool(text.strip()) for text in texts], device=self.device)
            return self.embed_texts(texts), has_text
        name = f"{modality}_embeds"
        embeds, exists = batch_embeds(samples, name, size, self.config.embed_dim, self.device)
        unit = F.normalize(embeds, dim=-1)  # zeros stay
        return F.normalize(unit.sum(1), dim=-1), exists.any(1)

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return unit embeddings [B,E] of a modality.

        Raises:
            DataError: items without that modality.
        """
        check_modality(self, modality)
        if modality == "point":
            return F.normalize(self.point_feature(samples), dim=-1)
        ids = [str(item) for item in samples.get("instance_id", [])]
        size = len(samples.get(f"{modality}_embeds", ids))
        embeds, exists = self.target(samples, modality, size)
        if not bool(exists.all()):
            absent = [item for item, has in zip(ids, exists.tolist()) if not has]
            what = f"items have no {modality} to embed"
            where, got = f"{modality}_embeds", f"none for {absent[:5]}"
            fix = "embed_views without --limit and embed_sounds, or leave these items out"
            raise DataError(what, where=where, got=got, fix=fix)
        return embeds

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings [B,E]: of each text the mean over the templates."""
        filled = [template.format(text) for text in texts for template in self.templates]
        embeds = embed_with(self.text_teacher, filled).view(len(texts), len(self.templates), -1)
        return F.normalize(embeds.mean(1), dim=-1)


def _checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return the templates; a single entry without {} names a set or a file of them.

    Raises:
        ConfigError: none, one without exactly one {}, or neither a set nor a file.
    """
    if len(templates) == 1 and "{}" not in str(templates[0]):
        return tuple(load_templates(str(templates[0]), "model.text_templates"))
    bad = [template for template in templates if str(template).count("{}") != 1]
    if bad or not templates:
        what, where = "every text template needs exactly one {}", "model.text_templates"
        raise ConfigError(what, where=where, got=bad or list(templates))
    return tuple(map(str, templates))
