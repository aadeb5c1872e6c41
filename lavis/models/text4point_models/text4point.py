"""Text4Point, pre-training: points learn from the pixels of RGB-D frames, and query texts.

Text4Point (arXiv 2301.07584), whose authors released no code; the facts are those of the abstract
and the figures, the rest is our choice (docs/systems/text4point.md). Two symmetric InfoNCE terms
between drawn points and their pixels: L_e between the encoder's tokens and the frozen image
teacher's embeddings, L_d between the decoder's features z3D and those of a trainable 2D decoder.
Negatives are the other drawn pairs.

Ours: points of one token are positives of each other in L_e, because they have one embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.dist_utils import get_rank
from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.config import option
from lavis.models.abilities import SceneSegmenter
from lavis.models.base_model import BaseModel
from lavis.models.contrastive import ContrastiveTerms, Term, full_precision
from lavis.models.hub import HubSystem
from lavis.models.teachers import Teacher, embed_with, joint_text_teacher
from lavis.models.teachers.dense import DenseMaps, dense_teacher
from lavis.models.teachers.image_decoder import ImageDecoder, at_pixels
from lavis.models.text4point_models.config import NetworkConfig
from lavis.models.text4point_models.finetune import checked_labels
from lavis.models.text4point_models.network import NetworkOutput, Text4PointNetwork
from lavis.models.text4point_models.pairs import Pairs, draw_pairs, frame_images


@dataclass(frozen=True)
class Text4PointConfig(NetworkConfig):
    """Keys of `text4point`.

    Attributes:
        labels: the set whose texts the points query.
        text_teacher: embeds texts: `minilm`, a folder or a hub name, or `clip:` and a name.
        image_teacher: `conse` (EfficientNet-Lite0), a head's file, or `clip:` and a name.
        image_scale: resize images for the image teacher; 2 doubles the cells along each axis.
        prompt: words before a label.
        encoder_loss: weight of L_e; 0 leaves the term out.
        decoder_loss: weight of L_d.
        pixel_loss: weight of 1 - cosine between a point and its pixel's embedding, as OpenScene
            (arXiv 2211.15654) distils; the layer behind the points, `to_label`, is that of
            segmentation, which starts from it. For image teachers that are sure of single pixels.
        decoder_dim: width of the features that L_d compares.
        pairs: drawn from a batch.
        init_scale: of the cosines at first.
        learn_scale: train the scales.
    """

    labels: Sequence[str] = option([])
    text_teacher: str = "minilm"
    image_teacher: str = "conse"
    image_scale: float = option(1.0, low=0.25, high=8.0)
    prompt: str = "point cloud of a"
    encoder_loss: float = option(1.0, low=0.0)
    decoder_loss: float = option(1.0, low=0.0)
    pixel_loss: float = option(0.0, low=0.0)
    decoder_dim: int = option(64, low=1)
    pairs: int = option(1024, low=2)
    init_scale: float = option(1 / 0.07, low=1.0, high=100.0)
    learn_scale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.encoder_loss or self.decoder_loss or self.pixel_loss):
            where = "model.encoder_loss, model.decoder_loss, model.pixel_loss"
            what, fix = "a pre-training needs a loss", "set one above 0"
            raise ConfigError(what, where=where, got="0, 0 and 0", fix=fix)


@registry.register_model("text4point")
class Text4Point(HubSystem, BaseModel):
    """Network, frozen teachers, 2D decoder, and the two terms.

    Args:
        config: see `Text4PointConfig`.

    Raises:
        ConfigError: no labels, no loss, an encoder that is not dense, or teachers that do not fit
            each other or `embed_dim`.
    """

    abilities = (SceneSegmenter,)
    class_names: tuple[str, ...] = ()  # of `model.labels`
    config_class = Text4PointConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "rooms": "configs/models/text4point/pretrain_rooms.yaml",
    }

    def __init__(self, config: Text4PointConfig) -> None:
        super().__init__()
        self.config, self.class_names = config, checked_labels(config.labels)
        self.network = Text4PointNetwork(config)
        width, dim = config.embed_dim, config.decoder_dim
        self.text_teacher = cast(Teacher, joint_text_teacher(config.text_teacher, width))
        teacher = dense_teacher(config.image_teacher, self.text_teacher, config.image_scale)
        self.image_teacher, names = teacher, ("learn_scale", "init_scale")
        learn, start = (getattr(config, name) for name in names)
        terms = []
        if config.encoder_loss:
            terms.append(Term("token", "pixel", config.encoder_loss, learn, start, name="encoder"))
        self.image_decoder: ImageDecoder | None = None
        if config.decoder_loss:
            terms.append(Term("point", "image", config.decoder_loss, learn, start, name="decoder"))
            self.image_decoder = ImageDecoder(teacher.stage_dims, width, dim)
            self.point_proj = nn.Linear(self.network.point_dim, dim)
        self.to_label = nn.Linear(self.network.point_dim, width) if config.pixel_loss else None
        self.logit_scale = ContrastiveTerms(terms) if terms else None

    @property
    def space(self) -> str:
        """The space of the teachers, stored in checkpoints."""
        return self.text_teacher.space

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Contrast the points and pixels of a batch of frames.

        Args:
            samples: `point_cloud` [B,N,3|6] in metres, `lengths`; `image` [B,1,3,H,W] in [0,1];
                `pixel_of_point` Long [B,N,2], column and row, -1 for none.

        Returns:
            `loss` (weighted sum), `loss_encoder`, `loss_decoder`, `loss_pixel`; without those of
            weight 0.

        Raises:
            DataError: the batch is not of frames, or a pixel lies outside its image.
        """
        images = frame_images(samples).to(self.device)
        size = (images.shape[2], images.shape[3])
        pairs = self.draw(samples, size)
        maps = self.image_teacher(images)
        output = self._encode(samples, self.class_names)
        embeds, keys = self.pair_embeds(output, maps, pairs, size)
        valid = dict.fromkeys(embeds, pairs.valid)
        losses = {} if self.logit_scale is None else self.logit_scale(embeds, keys, valid)
        if self.to_label is None:
            return losses
        distance = self.pixel_distance(self.to_label, output, maps, pairs, size)
        total = losses.get("loss", distance.new_zeros(())) + self.config.pixel_loss * distance
        return {**losses, "loss_pixel": distance, "loss": total}

    def pixel_distance(
        self,
        layer: nn.Linear,
        output: NetworkOutput,
        maps: DenseMaps,
        pairs: Pairs,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the mean of 1 - cosine between points in view and their pixels' embeddings."""
        points = layer(output.point_features[pairs.cloud, pairs.point])
        pixels = at_pixels(maps.embeds, pairs.cloud, pairs.pixel, size)
        cosine = F.cosine_similarity(full_precision(points), full_precision(pixels), dim=-1)
        valid = pairs.valid.to(cosine.dtype)
        return ((1 - cosine) * valid).sum() / valid.sum().clamp(min=1)

    def draw(self, samples: Mapping[str, Any], size: tuple[int, int]) -> Pairs:
        """Draw pairs: at random in training, the same ones of a batch in evaluation."""
        generator = None if self.training else torch.Generator().manual_seed(0)
        pairs = draw_pairs(samples, self.config.pairs, size, generator)
        if not bool(pairs.valid.any()):
            ids = samples.get("instance_id", "a batch")
            logging.warning("No point in view in %s: it does not count.", ids)
        return Pairs(*(part.to(self.device) for part in pairs))

    def pair_embeds(
        self, output: NetworkOutput, maps: DenseMaps, pairs: Pairs, size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return unit embeddings [P,·] of both sides of each term, and its keys [P]."""
        where = (pairs.cloud, pairs.pixel, size)
        embeds, keys = {}, {}
        shift = get_rank() * 2**40  # pairs of other ranks are no positives
        if self.config.encoder_loss:
            encoding = output.encoding
            index = encoding.index[pairs.cloud, pairs.point]  # [P,S]
            share = encoding.weight[pairs.cloud, pairs.point]
            embeds["token"] = (output.token_embeds[index] * share[..., None]).sum(1)
            embeds["pixel"] = at_pixels(maps.embeds, *where)
            keys["encoder"] = index[:, 0] + shift
        if self.image_decoder is not None:
            features = output.point_features[pairs.cloud, pairs.point]
            embeds["point"] = self.point_proj(features)
            embeds["image"] = at_pixels(self.image_decoder(maps.embeds, maps.stages), *where)
            keys["decoder"] = torch.arange(len(features), device=features.device) + shift
        return {n: F.normalize(full_precision(x), dim=-1) for n, x in embeds.items()}, keys

    def _encode(self, samples: Mapping[str, Any], labels: Sequence[str]) -> NetworkOutput:
        texts = [f"{self.config.prompt} {label}" for label in labels]
        lengths = samples.get("lengths")
        lengths = None if lengths is None else lengths.to(self.device)
        cloud = samples["point_cloud"].to(self.device)
        return self.network(cloud, embed_with(self.text_teacher, texts), lengths)

    @torch.no_grad()
    def segment_points(
        self, batch: Mapping[str, Any], labels: Sequence[str] | None = None
    ) -> Tensor:
        """Return cosines [B,N,K] of the points' tokens with any labels, without fine-tuning."""
        names = self.class_names if labels is None else checked_labels(labels, "labels")
        output = self._encode(batch, names)
        texts = [f"{self.config.prompt} {label}" for label in names]
        unit = F.normalize(output.token_embeds, dim=-1)
        return output.encoding.spread(unit @ embed_with(self.text_teacher, texts).T)
