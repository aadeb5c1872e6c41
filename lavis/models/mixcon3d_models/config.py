"""Yaml keys of MixCon3D."""

from __future__ import annotations

from dataclasses import dataclass

from lavis.config import option
from lavis.models.mixcon3d_models.views import VIEWS
from lavis.models.point_encoders.model_config import ObjectHeadConfig

PROJECTIONS = ("shared", "separate", "none")
POSITIVES = ("text", "item")


@dataclass(frozen=True)
class Mixcon3dConfig(ObjectHeadConfig):
    """Keys of `mixcon3d`; names of the release's train.yaml in brackets.

    Attributes:
        embed_dim: width E of the teachers' embeddings and of the joint space (clip_embed_dim).
        text_teacher: embeds texts: `minilm`, a folder or a hub name; `clip:`, `siglip:` or
            `open_clip:` and a name, which also embeds the `image` of a batch; null: `text_embeds`
            come with the batch.
        space: name of the teachers' space where embeddings come with the batch, e.g.
            `openclip/ViT-bigG-14`; null takes the text teacher's.
        projections: linear layers behind the teachers: one for both (share_proj), one each
            (use_image_proj, use_text_proj), or none.
        views: how the projected views become one image vector (img_loss_mode).
        image_text: contrast images with texts (image_text_align).
        joint_text: contrast the joint vector of cloud and image with texts (pc_img_to_text).
        loss_avg: weigh the joint term as much as the mean of the other three.
        init_scale: of every term's cosines at first (logit_scale_init).
        learn_scale: train the scales (not logit_scale_fix).
        positives: `text`: equal texts are positives of each other; `item`: a pair alone, as
            published.
    """

    embed_dim: int = option(1280, low=1)
    text_teacher: str | None = None
    space: str | None = None
    projections: str = option("shared", choices=PROJECTIONS)
    views: str = option("avg", choices=VIEWS)
    image_text: bool = True
    joint_text: bool = True
    loss_avg: bool = False
    init_scale: float = option(14.28, low=1.0, high=100.0)
    learn_scale: bool = True
    positives: str = option("item", choices=POSITIVES)
