"""The contract of every point encoder, its frozen mode and the preparation of its input."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from lavis.common.errors import CheckpointError, ConfigError
from lavis.models.hub.part import HubPart
from lavis.models.point_encoders.cloud_input import (
    blank_padding,
    check_point_cloud,
    resample,
    resample_padded,
    turn_back,
    turn_up,
    valid_rows,
    with_channels,
)
from lavis.models.point_encoders.config import EncoderConfig

_logger = logging.getLogger(__name__)


class PointEncoderOutput(NamedTuple):
    """What an encoder returns.

    Attributes:
        tokens: [B,G,D] one token per group of points.
        centers: float32 [B,G,3] where each token sits, in the coordinates of the cloud.
        global_feature: [B,F] the whole object, for contrastive systems.
        cls_token: [B,D] the class token after the last layer, None for encoders without one.
            Systems with G+1 tokens (PointLLM, PointLLM-Contrastive) put it before `tokens`.
    """

    tokens: Tensor
    centers: Tensor
    global_feature: Tensor
    cls_token: Tensor | None = None


class PointEncoder(HubPart, nn.Module):
    """Base class: point_cloud [B,N,3|6] -> PointEncoderOutput.

    A subclass takes its configuration, sets the sizes, implements `forward`, and registers itself.

    Args:
        config: the keys that every encoder reads.
        min_points: fewest points N that the encoder can group.

    Attributes:
        embed_dim: D, width of a token.
        num_tokens: G, tokens per cloud; None when every point is a token.
        in_channels: C the network reads, 3 (xyz) or 6 (xyz + rgb in [0,1]).
        global_dim: F, width of the global feature.
        config_class: the dataclass of its yaml keys.
        published_extras: patterns of keys that published files of this encoder hold beside it.
        reads_lengths: whether `forward` takes `lengths`: padded clouds of different size.
    """

    hub_kind = "point_encoder"
    config_class: ClassVar[type[EncoderConfig]]
    published_extras: ClassVar[tuple[str, ...]] = ()
    reads_lengths: ClassVar[bool] = False
    embed_dim: int
    num_tokens: int | None
    in_channels: int
    global_dim: int

    def __init__(self, config: EncoderConfig, min_points: int = 1) -> None:
        super().__init__()
        self.config = config
        self.in_channels = config.point_dims
        self._min_points = min_points
        self._frozen = False
        self._told: set[str] = set()

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> Self:
        """Build from yaml keys (without `name`).

        Raises:
            ConfigError: an unknown key or a value that cannot be used.
        """
        return cls(cls.config_class.from_mapping(cfg))

    def hub_config(self) -> dict[str, Any]:
        """Return the yaml section of this encoder."""
        from lavis.models.point_encoders.registry import encoder_name

        return {"point_encoder": {"name": encoder_name(type(self))} | asdict(self.config)}

    @classmethod
    def from_hub_config(cls, config: Mapping[str, Any], folder: Path) -> Self:
        """Build the encoder that a shared folder describes.

        Raises:
            CheckpointError: it is no encoder of this class.
        """
        from lavis.models.point_encoders.registry import build_point_encoder

        encoder = build_point_encoder(config["point_encoder"])
        if not isinstance(encoder, cls):
            what, got = "a shared folder holds another encoder", type(encoder).__name__
            raise CheckpointError(what, where=folder, got=got, expected=cls.__name__)
        return encoder

    def forward(self, point_cloud: Tensor, *, lengths: Tensor | None = None) -> PointEncoderOutput:
        """Encode clouds.

        Args:
            point_cloud: [B,N,3|6], xyz in the unit sphere and rgb in [0,1].
            lengths: Long [B]; only the first lengths[b] points of a cloud count, and its output is
                that of the cloud alone.

        Raises:
            ShapeError: see `check_point_cloud`.
        """
        raise TypeError(f"{type(self).__name__} does not define forward")

    @property
    def frozen(self) -> bool:
        """Whether `freeze` was called."""
        return self._frozen

    def train(self, mode: bool = True) -> Self:
        """Switch to training unless frozen: a frozen encoder keeps its BatchNorm statistics."""
        return super().train(mode and not self._frozen)

    def freeze(self) -> Self:
        """Stop gradients and stay in eval mode, whatever the surrounding model does."""
        self._frozen = True
        self.requires_grad_(False)
        return self.eval()

    def prepare(self, point_cloud: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Make a cloud ready for the network.

        Args:
            point_cloud: [B,N,3|6], any float dtype and layout.
            lengths: Long [B], points of each cloud when they are padded.

        Returns:
            float32 [B,N',C]: resampled when N does not suit (with one warning), turned to
            the weights' gravity axis, with the channels that the network reads.

        Raises:
            ShapeError: see `check_point_cloud`; lengths that do not fit.
        """
        if lengths is not None:
            point_cloud = blank_padding(point_cloud, lengths)
        check_point_cloud(point_cloud)
        if self.in_channels == 3 and point_cloud.shape[-1] > 3:
            self.tell_once("point_dims is 3: the colour of the clouds is not used.")
        points = self._resampled(point_cloud, lengths).float()
        if self.config.up_axis != "as_is":
            turned = turn_up(points[..., :3], self.config.up_axis)
            points = torch.cat([turned, points[..., 3:]], dim=-1)
        return self.channels(points)

    def prepared_lengths(self, lengths: Tensor | None) -> Tensor | None:
        """Return the points of each cloud after `prepare`: Long [B], or None without padding."""
        return None if lengths is None or self.config.num_points else self._wanted(lengths)

    def _wanted(self, lengths: Tensor) -> Tensor:
        """Return how many points clouds of `lengths` points are resampled to."""
        if self.config.num_points:
            lengths = torch.full_like(lengths, self.config.num_points)
        return lengths.clamp(min=self._min_points)

    def _resampled(self, point_cloud: Tensor, lengths: Tensor | None) -> Tensor:
        """Give every cloud as many points as the network needs."""
        given = point_cloud.shape[1]
        size = max(self.config.num_points or given, self._min_points)
        if given != size:
            reason = "num_points" if self.config.num_points else "more are needed to form groups"
            self.tell_once(f"Clouds of {given} points are resampled to {size} ({reason}).")
        if lengths is None:
            return resample(point_cloud, size)
        return resample_padded(point_cloud, lengths, self._wanted(lengths), size)

    def token_mask(self, lengths: Tensor | None, num_tokens: int) -> Tensor | None:
        """Return which tokens are real: bool [B,num_tokens], or None when all are.

        Only encoders with a token for every point pad tokens.
        """
        if lengths is None or self.num_tokens is not None:
            return None
        return valid_rows(lengths, num_tokens)

    def rename_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the tensors of a published file this encoder's names, where they differ."""
        return dict(tensors)

    def channels(self, points: Tensor) -> Tensor:
        """Give points [B,N,3|6] the channels that the network reads: [B,N,C]."""
        return with_channels(points, self.in_channels, self.config.missing_color)

    def first_center(self, xyz: Tensor, lengths: Tensor | None = None) -> int | Tensor:
        """Return where farthest-point sampling of xyz [B,N,3] begins: 0, or Long [B] at random.

        Published code begins at random even in eval, so its features change from call to call;
        here only training may, with `random_start`.
        """
        if self.training and self.config.random_start:
            if lengths is not None:
                return (torch.rand(len(xyz), dtype=torch.float64) * lengths.cpu()).long()
            return torch.randint(xyz.shape[1], (xyz.shape[0],)).to(xyz.device)
        return 0

    def cloud_axes(self, centers: Tensor) -> Tensor:
        """Turn centers [B,G,3] back to the axes of the cloud."""
        return turn_back(centers, self.config.up_axis)

    def tell_once(self, message: str) -> None:
        """Warn, but not for every batch."""
        if message not in self._told:
            self._told.add(message)
            _logger.warning("%s", message)


def encode_batch(
    encoder: Any,
    samples: Mapping[str, Any],
    device: torch.device | str | None = None,
    fixed_tokens: bool = False,
) -> PointEncoderOutput:
    """Encode the clouds of a batch.

    Args:
        encoder: a `PointEncoder`.
        samples: `point_cloud` [B,N,3|6] and, when padded, `lengths` Long [B].
        device: where to encode; None is where the clouds are.
        fixed_tokens: refuse clouds with different numbers of tokens, which a caller cannot mask.

    Raises:
        ConfigError: the clouds are padded, and the encoder or the caller cannot use that.
    """
    point_cloud, lengths = samples["point_cloud"].to(device), samples.get("lengths")
    if lengths is None:
        return encoder(point_cloud)
    if not getattr(encoder, "reads_lengths", False) or (fixed_tokens and not encoder.num_tokens):
        raise ConfigError(
            f"{type(encoder).__name__} cannot encode clouds of different size here.",
            where="model.point_encoder.name",
            got=f"lengths from {int(lengths.min())} to {int(lengths.max())}",
            expected="an encoder that reads lengths, or clouds of one size",
            fix="resample the clouds: point_processor.*.num_points",
        )
    return encoder(point_cloud, lengths=lengths.to(point_cloud.device))


EncoderT = TypeVar("EncoderT", bound=PointEncoder)


def freeze(encoder: EncoderT) -> EncoderT:
    """Freeze an encoder permanently: no gradients, and eval mode even after `model.train()`."""
    return encoder.freeze()
