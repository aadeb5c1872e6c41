"""What the fine-tuned models of Text4Point share: texts of the labels, network, score map.

Text4Point, arXiv 2301.07584: no images; learned context words and a class name go through the
frozen text encoder; points of the encoder are compared with the texts (score map, an auxiliary
loss), and a task head reads the decoder's features.

The authors released no code. Ours: the learned words start as those of pre-training's template;
logits over labels are scaled cosines with texts, so that any words can be labels after training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import ConfigError, DataError
from lavis.config import option
from lavis.models.base_model import BaseModel
from lavis.models.contrastive import full_precision
from lavis.models.hub import HubSystem
from lavis.models.teachers import Teacher, embed_with, joint_text_teacher
from lavis.models.teachers.prompts import ContextPrompt
from lavis.models.text4point_models.config import NetworkConfig
from lavis.models.text4point_models.network import Text4PointNetwork
from lavis.models.text4point_models.start import load_start

MAX_SCALE = 100.0
_LEAST_SQUARE = 1e-12  # of a norm


@dataclass(frozen=True)
class FinetuneConfig(NetworkConfig):
    """Keys of every fine-tuned Text4Point.

    Attributes:
        labels: class names in the order of the data's labels.
        text_teacher: embeds texts: `minilm`, a folder or a hub name, or `clip:` and a name.
        prompt: words before a class name.
        learn_prompt: train the embeddings of these words (CoOp).
        map_weight: of the score map's loss; 0 leaves it out.
        balance: points weigh by the number of their class's points in the batch to the power of
            -balance: 0 equally, 1 every class equally.
        init_scale: of cosines between points and texts at first.
    """

    labels: Sequence[str] = option([])
    text_teacher: str = "minilm"
    prompt: str = "point cloud of a"
    learn_prompt: bool = True
    map_weight: float = option(0.4, low=0.0)
    balance: float = option(0.0, low=0.0, high=1.0)
    init_scale: float = option(1 / 0.07, low=1.0, high=MAX_SCALE)


class Scene(NamedTuple):
    """What the heads read.

    Attributes:
        xyz: float32 [B,N,3], metres.
        features: z3D [B,N,D], zero in padding.
        score_map: scaled cosines of the encoder's tokens with the texts [B,N,K].
        text: unit embeddings of the labels [K,E].
        lengths: Long [B], or None without padding.
    """

    xyz: Tensor
    features: Tensor
    score_map: Tensor
    text: Tensor
    lengths: Tensor | None

    def counts(self) -> list[int]:
        """Return the number of points of each cloud."""
        size, padded = self.xyz.shape[:2]
        return [padded] * size if self.lengths is None else self.lengths.tolist()


class CosineScale(nn.Module):
    """Scaled cosines with texts.

    Args:
        start: of the scale.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self, embeds: Tensor, text: Tensor) -> Tensor:
        """Compare embeds [...,E] with unit texts [K,E]: [...,K]."""
        return self._scale() * (
            F.normalize(full_precision(embeds), dim=-1) @ full_precision(text).T
        )

    def of_linear(self, layer: nn.Linear, features: Tensor, text: Tensor) -> Tensor:
        """Compare layer(features [...,D]) with unit texts [K,E] without its outputs: [...,K].

        With W the layer's weights, cosines are f'(W't) / sqrt(f'(W'W)f): D is 32 and E is 384 for
        tens of thousands of points.
        """
        with torch.autocast(features.device.type, enabled=False):
            weight = torch.cat([layer.weight, layer.bias[:, None]], 1)  # [E,D+1]
            features = F.pad(full_precision(features), (0, 1), value=1.0)
            square = (features @ (weight.T @ weight) * features).sum(-1, keepdim=True)  # [...,1]
            products = features @ (weight.T @ full_precision(text).T)
            return self._scale() * products * torch.rsqrt(square.clamp(min=_LEAST_SQUARE))

    def _scale(self) -> Tensor:
        return self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()


class Text4PointFinetune(HubSystem, BaseModel):
    """Network and texts; a subclass adds its head, `forward` and what its abilities need.

    Args:
        config: see `FinetuneConfig`.

    Raises:
        ConfigError: no labels, one name twice, or a teacher of another width than `embed_dim`.
    """

    config_class: type[FinetuneConfig] = FinetuneConfig
    modalities: tuple[str, ...] = ("point", "text")
    starts_with: tuple[str, ...] = ("network.",)  # what `model.pretrained` has to hold

    def __init__(self, config: FinetuneConfig) -> None:
        super().__init__()
        self.config = config
        self._labels = checked_labels(config.labels)
        self.network = Text4PointNetwork(config)
        teacher = joint_text_teacher(config.text_teacher, config.embed_dim)
        self.text_teacher = cast(Teacher, teacher)
        learned = config.learn_prompt
        self.prompt = ContextPrompt(self.text_teacher, config.prompt) if learned else None
        self.map_scale = CosineScale(config.init_scale)

    def load_weights(self, section: Mapping[str, Any]) -> None:
        """Load the pre-trained network, or a checkpoint of this model (`load_start`)."""
        load_start(self, section, self.starts_with)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels of training."""
        return self._labels

    @property
    def space(self) -> str:
        """The space of the texts, stored in checkpoints."""
        return self.text_teacher.space

    def label_embeds(self, names: Sequence[str]) -> Tensor:
        """Return unit embeddings [K,E] of class names behind the prompt."""
        if self.prompt is not None:
            return self.prompt(self.text_teacher, names)
        return embed_with(self.text_teacher, [f"{self.config.prompt} {name}" for name in names])

    def read_scene(self, samples: Mapping[str, Any], labels: Sequence[str] | None = None) -> Scene:
        """Encode the clouds of a batch against labels; None: those of training.

        Args:
            samples: `point_cloud` [B,N,3|6] in metres, `lengths` Long [B] when padded.
        """
        names = self.class_names if labels is None else checked_labels(labels, "labels")
        cloud, lengths = samples["point_cloud"].to(self.device), samples.get("lengths")
        lengths = None if lengths is None else lengths.to(self.device)
        text = self.label_embeds(names)
        output = self.network(cloud, text, lengths)
        per_token = self.map_scale(output.token_embeds, text)  # [T,K]
        score_map = output.encoding.spread(per_token)
        return Scene(cloud[..., :3].float(), output.point_features, score_map, text, lengths)

    def point_labels(self, samples: Mapping[str, Any], scene: Scene) -> Tensor:
        """Return the labels of points, Long [B,N]; -1: none, as where a batch has no labels.

        Raises:
            DataError: a label outside the set.
        """
        labels = samples.get("semantic_label")
        if labels is None:
            return torch.full(scene.xyz.shape[:2], -1, device=self.device)
        if int(labels.max()) >= len(self.class_names):
            worst = int(labels.flatten(1).amax(1).argmax())
            ids = samples.get("instance_id", [""] * len(labels))
            what = "a scene has a label outside model.labels"
            got = f"label {int(labels.max())}"
            expected = f"-1 (none) to {len(self.class_names) - 1}"
            fix = "list the data set's class names in model.labels, in the order of its labels"
            raise DataError(what, where=str(ids[worst]), got=got, expected=expected, fix=fix)
        return labels.to(self.device)

    def label_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits [B,N,K] of points with labels Long [B,N]."""
        return point_cross_entropy(logits, labels, self.config.balance)

    def total(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add `loss`: the sum, with the score map's loss by its weight."""
        weights = {"loss_map": self.config.map_weight}
        parts = [weights.get(name, 1.0) * value for name, value in losses.items()]
        return {"loss": torch.stack(parts).sum()} | losses


def checked_labels(labels: Sequence[str], where: str = "model.labels") -> tuple[str, ...]:
    """Return class names.

    Raises:
        ConfigError: none, an empty one, or one twice.
    """
    names = tuple(str(label).strip() for label in labels)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if not names or not all(names) or doubled:
        what = "labels have to be different words, at least one"
        raise ConfigError(what, where=where, got=doubled or list(names))
    return names


def point_cross_entropy(logits: Tensor, labels: Tensor, balance: float = 0.0) -> Tensor:
    """Return the weighted mean cross-entropy of the labelled points; 0 where there is none.

    Args:
        logits: [B,N,K].
        labels: Long [B,N], -1: none.
        balance: see `FinetuneConfig`.
    """
    known = labels[labels >= 0]
    count = torch.bincount(known, minlength=logits.shape[-1]).clamp(min=1)
    weight = full_precision(count) ** -balance  # [K]
    total = F.cross_entropy(
        full_precision(logits).flatten(0, 1),
        labels.flatten(),
        weight.to(full_precision(logits)),
        ignore_index=-1,
        reduction="sum",
    )
    return total / weight[known].sum().clamp(min=torch.finfo(weight.dtype).tiny)
