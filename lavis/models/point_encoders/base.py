"""The contract of every point encoder, its input check and the frozen mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeVar

from torch import Tensor, nn

from lavis.common.errors import ShapeError, explain
from lavis.models.point_ops.checks import check_finite


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


class GroupIndices(NamedTuple):
    """Which points form the groups; unchanged by rotation, shift and uniform scaling (up to
    rounding), so a cache of them survives such augmentation.

    Attributes:
        center_index: Long [B,G].
        neighbor_index: Long [B,G,S], nearest first.
    """

    center_index: Tensor
    neighbor_index: Tensor


class PointGroups(NamedTuple):
    """The groups themselves.

    Attributes:
        neighborhood: float32 [B,G,S,C], xyz relative to the centre, then colour.
        center: float32 [B,G,3].
    """

    neighborhood: Tensor
    center: Tensor


class PointEncoder(nn.Module):
    """Base class: point_cloud [B,N,C] -> PointEncoderOutput.

    A subclass sets the four sizes, implements `forward` and `from_config`, and registers itself.

    Attributes:
        embed_dim: D, width of a token.
        num_tokens: G, tokens per cloud.
        in_channels: C the network reads, 3 (xyz) or 6 (xyz + rgb in [0,1]).
        global_dim: F, width of the global feature.
    """

    embed_dim: int
    num_tokens: int
    in_channels: int
    global_dim: int

    def __init__(self) -> None:
        super().__init__()
        self._frozen = False

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> Self:
        """Build from yaml keys (without `name`); raise ConfigError for unknown ones."""
        raise TypeError(f"{cls.__name__} does not define from_config")

    def forward(self, point_cloud: Tensor) -> PointEncoderOutput:
        """Encode point_cloud [B,N,3|6], xyz in the unit sphere and rgb in [0,1]."""
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


EncoderT = TypeVar("EncoderT", bound=PointEncoder)


def freeze(encoder: EncoderT) -> EncoderT:
    """Freeze an encoder for good: no gradients, and eval mode even after `model.train()`."""
    return encoder.freeze()


def check_point_cloud(point_cloud: Tensor, min_points: int, why: str) -> None:
    """Check an encoder's input at the boundary.

    Args:
        point_cloud: expected float [B,N,3] or [B,N,6] with B >= 1.
        min_points: fewest points N that the encoder can group.
        why: the yaml keys behind `min_points`, for the message.

    Raises:
        ShapeError: wrong rank, channels or dtype, empty batch, too few points, NaN or infinity.
    """
    shape = list(point_cloud.shape)
    if point_cloud.dim() != 3 or shape[-1] not in (3, 6):
        raise ShapeError(
            explain(
                "point_cloud has the wrong shape.",
                got=shape,
                expected="[B,N,3] (xyz) or [B,N,6] (xyz + rgb)",
                fix="add a batch axis to a single cloud; select the channels in the processor",
            )
        )
    if not point_cloud.is_floating_point():
        raise ShapeError(
            explain("point_cloud is not float.", got=point_cloud.dtype, expected="a float dtype")
        )
    if shape[0] == 0:
        raise ShapeError(explain("point_cloud is an empty batch.", got=shape, expected="B >= 1"))
    if shape[1] < min_points:
        raise ShapeError(
            explain(
                "point_cloud has too few points.",
                got=f"N={shape[1]}",
                expected=f"N >= {min_points} ({why})",
                fix="sample more points in the processor or lower these keys",
            )
        )
    check_finite(point_cloud, "point_cloud")
