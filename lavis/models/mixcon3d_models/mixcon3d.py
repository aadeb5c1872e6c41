"""MixCon3D: a cloud and its views are aligned with texts alone and as one joint vector.

Sculpting Holistic 3D Representation in Contrastive Language-Image-3D Pre-Training, arXiv
2311.01734. Four symmetric InfoNCE terms, each with its own scale: cloud-text, cloud-image,
image-text, and [cloud; image]-text, where a linear layer makes the joint vector.

Differs from the release (UCSC-VLAA/MixCon3D), whose optimiser lacks the joint layer, its scale and
the layer behind pooled views, whose average copies another layer into the last one, and whose
checkpoint lacks them: here every parameter is trained, averaged and saved. Objects without views or
without a text leave the terms that need them; the release fails on the latter. Accumulation
(`run.accumulate: contrast`) has the gradients of the whole batch; the release multiplies those of
the scales by the number of micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import DataError
from lavis.common.registry import registry
from lavis.common.utils import get_abs_path
from lavis.models.abilities import JointEmbedder, check_modality
from lavis.models.base_model import BaseModel
from lavis.models.contrastive import ContrastiveTerms, Term, full_precision
from lavis.models.contrastive.contrast_only import ContrastOnly, item_keys
from lavis.models.contrastive.grad_cache import Encoded
from lavis.models.hub import HubSystem
from lavis.models.mixcon3d_models.config import Mixcon3dConfig
from lavis.models.mixcon3d_models.views import ViewPool
from lavis.models.point_encoders import (
    build_point_encoder,
    encode_batch,
    load_encoder_checkpoint,
)
from lavis.models.point_encoders.object_head import ObjectHead
from lavis.models.teachers import batch_embeds, embed_with, joint_text_teacher
from lavis.models.teachers.clip import ClipTeacher


@registry.register_model("mixcon3d")
class MixCon3D(ContrastOnly, HubSystem, BaseModel):
    """Point encoder and the layers behind frozen image and text teachers.

    Args:
        config: see `Mixcon3dConfig`.

    Raises:
        ConfigError: a teacher of another width than `embed_dim`.
    """

    abilities = (JointEmbedder,)
    modalities: tuple[str, ...] = ("point", "image", "joint", "text")
    config_class = Mixcon3dConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "bricks": "configs/models/mixcon3d/mixcon3d_bricks.yaml",
        "bricks_voxel": "configs/models/mixcon3d/mixcon3d_bricks_voxel.yaml",
        "openshape": "configs/models/mixcon3d/mixcon3d_openshape.yaml",
    }

    def __init__(self, config: Mixcon3dConfig) -> None:
        super().__init__()
        self.config, width = config, config.embed_dim
        self.point_encoder = build_point_encoder(config.point_encoder)
        if config.point_encoder_weights:
            path = get_abs_path(config.point_encoder_weights)
            load_encoder_checkpoint(self.point_encoder, path)
        self.object_head = ObjectHead(
            self.point_encoder.global_dim, config.use_size, config.head_width, config.head_dropout
        )
        # PPAT ends in this layer itself (out_dim).
        found = self.object_head.out_dim
        self.point_proj = nn.Identity() if found == width else nn.Linear(found, width)
        self.text_teacher = joint_text_teacher(config.text_teacher, width)
        self.text_proj, self.image_proj = self._build_projections()
        self.view_pool = ViewPool(config.views, width)
        self.joint_proj = nn.Linear(2 * width, width) if config.joint_text else None
        if self.joint_proj is None:
            self.modalities = ("point", "image", "text")
        self.logit_scale = ContrastiveTerms(self._build_terms())

    def _build_projections(self) -> tuple[nn.Module, nn.Module]:
        width, kind = self.config.embed_dim, self.config.projections
        text = nn.Identity() if kind == "none" else nn.Linear(width, width)
        return text, nn.Linear(width, width) if kind == "separate" else text

    def _build_terms(self) -> list[Term]:
        config = self.config
        pairs = [("point", "text"), ("point", "image")]
        pairs += [("image", "text")] if config.image_text else []
        share = 1 / 3 if config.loss_avg else 1.0
        weights = [share] * len(pairs) + [1.0] * config.joint_text
        pairs += [("joint", "text")] if config.joint_text else []
        return [
            Term(a, b, weight, config.learn_scale, config.init_scale)
            for (a, b), weight in zip(pairs, weights)
        ]

    @property
    def space(self) -> str | None:
        """The joint space of the teachers, stored in checkpoints."""
        if self.text_teacher is not None:
            return self.text_teacher.space
        return self.config.space

    def encode(self, samples: Mapping[str, Any]) -> Encoded:
        """Embed a batch: unit `point`, `image`, `text`, `joint` [B,E], and what exists [B].

        Args:
            samples: `point_cloud` [B,N,3|6]; `image_embeds` [B,V,E] of the image teacher and
                `image_embeds_mask` [B,V]; `text_input`, B texts, or `text_embeds` [B,E] and
                `text_embeds_mask` [B].
        """
        point = self.point_feature(samples)
        image, has_image = self.image_feature(samples, len(point))
        text, has_text = self.text_feature(samples)
        embeds = {"point": point, "image": image, "text": text}
        if self.joint_proj is not None:
            embeds["joint"] = self.joint_proj(torch.cat([point, image], -1))
        unit = {name: F.normalize(full_precision(x), dim=-1) for name, x in embeds.items()}
        return Encoded(unit | {"has_image": has_image, "has_text": has_text})

    def contrast(
        self, embeds: Mapping[str, Tensor], samples: Mapping[str, Any], rows: int | None = None
    ) -> dict[str, Tensor]:
        """InfoNCE of every term over the items of all ranks that have both sides."""
        has_image, has_text = embeds["has_image"].bool(), embeds["has_text"].bool()
        valid = {"image": has_image, "joint": has_image, "text": has_text}
        by_text = self.config.positives == "text" and "text_input" in samples
        texts = samples["text_input"] if by_text else None
        point = embeds["point"]
        keys = item_keys(self.logit_scale.terms, len(point), texts, point.device)
        losses = self.logit_scale(embeds, keys, valid, rows)
        losses.pop("loss")
        return losses

    def point_feature(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode clouds [B,N,3|6] to [B,E], before they are normalised."""
        feature = encode_batch(self.point_encoder, samples, self.device).global_feature
        return self.point_proj(self.object_head(feature, samples))

    def image_feature(self, samples: Mapping[str, Any], size: int) -> tuple[Tensor, Tensor]:
        """Project and pool the views of a batch: [B,E], and bool [B], which objects have any."""
        teacher, width = self.text_teacher, self.config.embed_dim
        if (
            "image_embeds" not in samples
            and "image" in samples
            and isinstance(teacher, ClipTeacher)
        ):
            images, given = samples["image"], samples.get("image_mask")  # [B,V,3,H,W]
            embeds = teacher.embed_images(images.flatten(0, 1)).view(*images.shape[:2], -1)
            samples = {"image_embeds": embeds, "image_embeds_mask": given}
        views, valid = batch_embeds(samples, "image_embeds", size, width, self.device)
        return self.view_pool(self.image_proj(views), valid), valid.any(1)

    def text_feature(self, samples: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Embed and project texts: [B,E], and bool [B], which objects have one."""
        if samples.get("text_embeds") is not None:
            size, width = len(samples["text_embeds"]), self.config.embed_dim
            embeds, exists = batch_embeds(samples, "text_embeds", size, width, self.device)
            return self.text_proj(embeds[:, 0]), exists[:, 0]
        texts = list(samples["text_input"])
        has_text = torch.tensor([bool(text.strip()) for text in texts], device=self.device)
        return self.text_proj(embed_with(self.text_teacher, texts)), has_text

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return unit embeddings [B,E] of a modality.

        Raises:
            DataError: images or joint vectors of objects without views.
        """
        check_modality(self, modality)
        if modality == "text":
            return F.normalize(self.text_feature(samples)[0], dim=-1)
        if modality == "point":
            return F.normalize(self.point_feature(samples), dim=-1)
        ids = samples.get("instance_id", [])
        size = len(samples["image_embeds"]) if "image_embeds" in samples else len(ids)
        image, has_image = self.image_feature(samples, size)
        if not bool(has_image.all()):
            absent = [str(i) for i, has in zip(ids, has_image.tolist()) if not has]
            what = f"the {modality} embedding needs the views of every object"
            got = f"no image_embeds for {absent[:5]}"
            raise DataError(what, where="image_embeds", got=got)
        if modality == "image":
            return F.normalize(image, dim=-1)
        assert self.joint_proj is not None  # else joint is no modality
        joint = self.joint_proj(torch.cat([self.point_feature(samples), image], -1))
        return F.normalize(joint, dim=-1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit embeddings [B,E] of texts, behind their projection."""
        return F.normalize(self.text_proj(embed_with(self.text_teacher, texts)), dim=-1)

    @torch.no_grad()
    def embed_text_features(self, features: Tensor) -> Tensor:
        """Return unit embeddings [B,E] of features [B,E] of the text teacher."""
        width = self.config.embed_dim
        embeds, _ = batch_embeds(
            {"class_embeds": features}, "class_embeds", len(features), width, self.device
        )
        return F.normalize(self.text_proj(embeds[:, 0]), dim=-1)
