"""Images as maps of embeddings in a space of texts, and the stages below them.

    teacher = dense_teacher("conse", text_teacher)    # EfficientNet-Lite0, ConSE at every place
    teacher = dense_teacher("data/views_head.safetensors", text_teacher)     # a trained head
    teacher = dense_teacher("data/rooms_pixel_head.safetensors", text_teacher)     # at every pixel
    teacher = dense_teacher("clip:/models/clip-vit-base-patch32", text_teacher)

CLIP's map follows MaskCLIP (Zhou et al., arXiv 2112.01071): the values of the last layer without
their mixing by attention, because mixed patches describe the whole image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.errors import ConfigError, ShapeError
from lavis.common.utils import get_abs_path
from lavis.models.teachers.clip import PREFIXES, ClipTeacher
from lavis.models.teachers.image import FEATURES, ConseTeacher, EfficientNetLite0, HeadTeacher
from lavis.models.teachers.pixel_head import holds_pixel_head, read_pixel_head
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher, check_spaces

KEY = "model.image_teacher"
CONSE = "conse"
_CELL = 32  # pixels of a cell of EfficientNet's last map
_STAGES = ((2, 24), (4, 40), (10, 112))  # last block of strides 4, 8 and 16, and its width


class DenseMaps(NamedTuple):
    """What a teacher makes of images.

    Attributes:
        embeds: unit embeddings in the space of texts [B,E,h,w].
        stages: maps of features [B,C_i,h_i,w_i], finest first.
    """

    embeds: Tensor
    stages: list[Tensor]


class DenseTeacher(Teacher):
    """A frozen image network with maps; see `dense_teacher`.

    Attributes:
        stage_dims: widths C_i of the stages, finest first.
    """

    modality = "image"
    stage_dims: tuple[int, ...]

    def dense(self, images: Tensor) -> DenseMaps:
        """Return the maps of images float [B,3,H,W] in [0,1].

        Raises:
            ShapeError: another shape.
        """
        raise TypeError(f"{type(self).__name__} has to define dense()")

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Any:
        """Return the maps of images; see `dense`."""
        if inputs.ndim != 4 or inputs.shape[1] != 3 or not inputs.numel():
            what, got = "images have another shape", list(inputs.shape)
            raise ShapeError(what, got=got, expected="[B,3,H,W]")
        return self.dense(inputs)


class EfficientNetMaps(DenseTeacher):
    """EfficientNet-Lite0's maps, and what embeds them.

    Attributes:
        network: frozen.
        image_scale: resize images by this factor first; 2 makes cells of 16 pixels.
    """

    stage_dims = tuple(width for _, width in _STAGES)
    network: EfficientNetLite0
    image_scale: float

    def maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map [B,1280,h,w], cells of 32 pixels, and strides 4, 8 and 16."""
        size = [max(1, round(side * self.image_scale / _CELL)) * _CELL for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return stages_of(self.network, images)


class FeatureMaps(EfficientNetMaps):
    """An image teacher's last layers at every cell of 32 pixels.

    Args:
        teacher: has `network` and `from_features`.
        image_scale: see `EfficientNetMaps`.
    """

    def __init__(self, teacher: ConseTeacher | HeadTeacher, image_scale: float = 1.0) -> None:
        super().__init__()
        self.teacher, self.image_scale = teacher, image_scale
        self.embed_dim, self.space = teacher.embed_dim, teacher.space
        self.requires_grad_(False).eval()

    @property
    def network(self) -> EfficientNetLite0:  # type: ignore[override]
        """The teacher's; checkpoints know it as `teacher.network`."""
        return self.teacher.network

    def dense(self, images: Tensor) -> DenseMaps:
        """Return embeddings of cells of 32 pixels, and the stages."""
        features, stages = self.maps(images)
        flat = features.permute(0, 2, 3, 1).flatten(0, 2)  # [B*h*w,1280]
        embeds = self.teacher.from_features(flat).view(len(images), *features.shape[2:], -1)
        return DenseMaps(embeds.permute(0, 3, 1, 2), stages)


class PixelHeadMaps(EfficientNetMaps):
    """A head that train_pixel_head.py trained, at cells of 4 pixels.

    Args:
        path: of the head.
        image_scale: see `EfficientNetMaps`.

    Raises:
        CheckpointError: a damaged file, or a head for another network.
    """

    def __init__(self, path: Path, image_scale: float = 1.0) -> None:
        super().__init__()
        self.head, self.space = read_pixel_head(path, self.stage_dims, FEATURES)
        self.network, self.image_scale = EfficientNetLite0(), image_scale
        self.embed_dim = self.head.width
        self.requires_grad_(False).eval()

    def dense(self, images: Tensor) -> DenseMaps:
        """Return embeddings of cells of 4 pixels, and the stages."""
        features, stages = self.maps(images)
        return DenseMaps(self.head(features, stages), stages)


def stages_of(network: EfficientNetLite0, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the last map [B,1280,H/32,W/32] of images, and the maps of `_STAGES`."""
    net = network.net
    x = net._swish(net._bn0(net._conv_stem((images - network.mean) / network.std)))
    stages = []
    for index, block in enumerate(net._blocks):
        x = block(x)
        if index in dict(_STAGES):
            stages.append(x)
    return net._swish(net._bn1(net._conv_head(x))), stages


class ClipMaps(DenseTeacher):
    """CLIP's vision transformer through transformers; one stage, its patches.

    Args:
        clip: of `clip:` and a folder.
        image_scale: resize images to CLIP's own size times this factor.

    Raises:
        ConfigError: the model does not project patches by themselves (SigLIP, open_clip).
    """

    def __init__(self, clip: ClipTeacher, image_scale: float = 1.0) -> None:
        super().__init__()
        self.tower, self.image_scale = clip.tower, image_scale
        net: Any = getattr(self.tower, "net", None)
        if not hasattr(net, "visual_projection"):
            what, got = "the image teacher has no map of embeddings", type(net).__name__
            expected = "clip:<folder> of a CLIP model of transformers, or conse"
            raise ConfigError(what, where=KEY, got=got, expected=expected)
        self.embed_dim, self.space = clip.embed_dim, clip.space
        self.stage_dims = (net.config.vision_config.hidden_size,)
        self.requires_grad_(False).eval()

    def dense(self, images: Tensor) -> DenseMaps:
        """Return embeddings and patches [B,·,g,g]; the aspect of images is not kept."""
        net: Any = self.tower.net
        vision, patch = net.vision_model, net.config.vision_config.patch_size
        side = max(1, round(self.tower.size * self.image_scale / patch)) * patch
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (images.new_tensor(v)[:, None, None] for v in (self.tower.mean, self.tower.std))
        states = vision(
            pixel_values=(images - mean) / std,
            output_hidden_states=True,
            interpolate_pos_encoding=True,
        ).hidden_states
        last = vision.encoder.layers[-1]
        values = last.self_attn.v_proj(last.layer_norm1(states[-2]))
        values = last.self_attn.out_proj(values)[:, 1:]  # without the class token
        embeds = net.visual_projection(vision.post_layernorm(values))
        maps = [_as_map(tokens, side // patch) for tokens in (embeds, states[-2][:, 1:])]
        return DenseMaps(F.normalize(maps[0].float(), dim=1), maps[1:])


def _as_map(tokens: Tensor, side: int) -> Tensor:
    """Return patches [B,g*g,C] as a map [B,C,g,g]."""
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def dense_teacher(name: str, text_teacher: Teacher, image_scale: float = 1.0) -> DenseTeacher:
    """Build the image teacher `model.image_teacher` beside a text teacher.

    Args:
        name: `conse`; the file of a head (train_view_head.py, train_pixel_head.py); or `clip:`
            and a folder.
        text_teacher: of the texts that points are compared with.
        image_scale: resize images by this factor.

    Raises:
        ConfigError: teachers of different spaces, or one without maps.
        CheckpointError, DependencyError: the teacher cannot be built.
    """
    if name.startswith(PREFIXES):
        teacher: DenseTeacher = ClipMaps(ClipTeacher(name, key=KEY), image_scale)
    elif name == CONSE and isinstance(text_teacher, SentenceTeacher):
        teacher = FeatureMaps(ConseTeacher(text_teacher), image_scale)
    elif name == CONSE:
        what, fix = "ConSE needs a sentence encoder as text teacher", "model.image_teacher=clip:…"
        got = type(text_teacher).__name__
        raise ConfigError(what, where=KEY, got=got, fix=fix)
    elif holds_pixel_head(path := Path(get_abs_path(name))):
        teacher = PixelHeadMaps(path, image_scale)
    else:
        teacher = FeatureMaps(HeadTeacher(path), image_scale)
    check_spaces([teacher, text_teacher], KEY)
    return teacher
