"""A vision transformer of timm as a trunk for tokens of groups.

timm is optional: it imports torchvision, which has to match the build of torch. The parameter names
are timm's own, in which Uni3D's weights were saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError, DependencyError
from lavis.models.point_encoders.transformer import run_block

PREFIX = "timm:"
_WHERE = "point_encoder.backbone"


def timm_options(backbone: str | Mapping[str, Any]) -> dict[str, Any] | None:
    """Return {"timm": name, **arguments of create_model}, or None for another kind of backbone."""
    if isinstance(backbone, str):
        return {"timm": backbone.removeprefix(PREFIX)} if backbone.startswith(PREFIX) else None
    return dict(backbone) if "timm" in backbone else None


def timm_model(name: str, **options: Any) -> nn.Module:
    """Build a timm model without its classifier; weights are fresh unless `pretrained` is given.

    Raises:
        DependencyError: timm or its torchvision cannot be imported.
        ConfigError: timm does not know the model or an argument.
    """
    try:
        import timm
    # A torchvision of another build fails with RuntimeError: its operators are not registered.
    except (ImportError, RuntimeError) as error:
        raise _cannot_import(name, error) from error
    try:
        return timm.create_model(name, num_classes=0, **options)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise _unfit(name, f"{type(error).__name__}: {error}") from error


class TimmTrunk(nn.Module):
    """Blocks and final norms of a timm vision transformer: tokens [B,T,D] -> [B,T,D].

    Patch embedding, positions, rotary embedding and pooling are left out.

    Args:
        options: `timm`, the model's name, and further arguments of `timm.create_model`.
        drop_path_rate: stochastic depth of the last block.
        use_grad_checkpoint: recompute blocks in the backward pass.

    Raises:
        DependencyError, ConfigError: see `timm_model`; also a model without equal blocks.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        drop_path_rate: float = 0.0,
        use_grad_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        name = str(options["timm"])
        arguments = {key: value for key, value in options.items() if key != "timm"}
        model: Any = timm_model(name, drop_path_rate=drop_path_rate, **arguments)
        blocks = getattr(model, "blocks", None)
        if not isinstance(blocks, nn.ModuleList | nn.Sequential):
            raise _unfit(name, f"{type(model).__name__} without a list of blocks")
        self.width: int = model.num_features
        self.blocks = nn.ModuleList(blocks)
        # A model that pools tokens has its norm after the pooling.
        self.norm: nn.Module = getattr(model, "norm", nn.Identity())
        self.fc_norm: nn.Module = getattr(model, "fc_norm", nn.Identity())
        self.use_grad_checkpoint = use_grad_checkpoint
        self._probe(name)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        recompute = self.use_grad_checkpoint and self.training
        for block in self.blocks:
            tokens = run_block(block, tokens, recompute=recompute)
        return self.fc_norm(self.norm(tokens))

    @torch.no_grad()
    def _probe(self, name: str) -> None:
        """Run three tokens, so that an unfit model is refused before training."""
        self.eval()
        try:
            self(torch.zeros(1, 3, self.width))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise _unfit(name, f"{type(error).__name__}: {error}") from error
        self.train()


def _cannot_import(name: str, error: Exception) -> DependencyError:
    return DependencyError(
        f"The backbone timm:{name} needs the package timm, which cannot be imported.",
        where=_WHERE,
        got=f"{type(error).__name__}: {error}".splitlines()[0],
        expected="timm and a torchvision of the same build (CPU or CUDA) as torch",
        fix="pip install -r requirements-timm.txt beside a CUDA torch; beside a CPU torch add "
        "--extra-index-url https://download.pytorch.org/whl/cpu. eva02_tiny, eva02_small, "
        "eva02_base, eva02_large and eva_giant need neither package",
    )


def _unfit(name: str, got: str) -> ConfigError:
    return ConfigError(
        f"The timm model {name!r} cannot run on groups of points.",
        where=_WHERE,
        got=got.splitlines()[0],
        expected="a plain vision transformer of timm (vit, deit, beit, eva, eva02)",
    )
