"""Any plain vision transformer of the transformers library as a trunk for tokens of groups.

The image half (patch embedding, positions, pooler) is left out; the layers and the final norm
stay. Tested: vit, deit, beit, dinov2, clip_vision_model, siglip_vision_model. Refused with a
reason: hierarchical models (swin, convnext), layers that need image positions (dinov3_vit).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError
from lavis.models.point_encoders.transformer import DropPath, rising_rates, run_block
from lavis.models.weights.pretrained import load_model

_WHERE = "point_encoder.backbone"
_FINAL_NORMS = ("layernorm", "post_layernorm", "norm", "final_layer_norm", "ln_post")


class VisionTrunk(nn.Module):
    """Layers and final norm of a vision transformer: tokens [B,T,D] -> [B,T,D].

    Args:
        backbone: folder or hub name to read weights from, or a mapping with `model_type` and
            configuration keys for fresh weights, e.g. ``{"model_type": "vit"}``.
        drop_path_rate: stochastic depth of the last layer.
        use_grad_checkpoint: recompute layers in the backward pass.

    Raises:
        ConfigError: unknown model, or one whose layers cannot run on tokens of groups.
    """

    def __init__(
        self,
        backbone: str | Mapping[str, Any],
        drop_path_rate: float = 0.0,
        use_grad_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        model = _vision_model(backbone)
        self.layers = _equal_layers(model, backbone)
        self.norm = next(
            (getattr(model, name) for name in _FINAL_NORMS if hasattr(model, name)), nn.Identity()
        )
        rates = rising_rates(drop_path_rate, len(self.layers))
        self.drop_paths = nn.ModuleList(DropPath(rate) for rate in rates)
        config: Any = model.config
        self.width: int = config.hidden_size
        self.use_grad_checkpoint = use_grad_checkpoint
        # CLIP's layers have an attention mask without a default.
        parameters = list(inspect.signature(self.layers[0].forward).parameters.values())[1:]
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._nothing = [None] * sum(
            p.default is inspect.Parameter.empty and p.kind in positional for p in parameters
        )
        self._probe(backbone)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens [B,T,D]."""
        recompute = self.use_grad_checkpoint and self.training
        for layer, drop_path in zip(self.layers, self.drop_paths):
            output = run_block(layer, tokens, *self._nothing, recompute=recompute)
            hidden = output[0] if isinstance(output, tuple) else output
            # A layer adds its branches itself: dropping what it added drops both.
            dropped = self.training and drop_path.rate
            tokens = tokens + drop_path(hidden - tokens) if dropped else hidden
        return self.norm(tokens)

    @torch.no_grad()
    def _probe(self, backbone: str | Mapping[str, Any]) -> None:
        """Run three tokens, so that an unfit model is refused before training.

        In eval, or the random numbers of drop path would change the weights drawn after it.
        """
        self.eval()
        weight = next(self.layers.parameters())
        tokens = torch.zeros(1, 3, self.width, dtype=weight.dtype, device=weight.device)
        try:
            fits = self(tokens).shape == tokens.shape
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise _unfit(backbone, f"{type(error).__name__}: {error}") from error
        if not fits:
            raise _unfit(backbone, "layers that change the shape of tokens")
        self.train()


def _vision_model(backbone: str | Mapping[str, Any]) -> nn.Module:
    """Build or read the model; of a two-tower model its vision tower."""
    from transformers import AutoConfig, AutoModel

    if isinstance(backbone, str):
        # Groups of points replace the patches, and the layers are all that is read.
        unused = ("pooler.", "vision_model.head.", "vision_model.pooler.")
        model = load_model(AutoModel, backbone, _WHERE, unused)
    else:
        options = dict(backbone)
        kind = options.pop("model_type", None)
        try:
            model = AutoModel.from_config(AutoConfig.for_model(kind, **options))
        except (ValueError, KeyError, TypeError) as error:
            raise _unfit(backbone, f"{type(error).__name__}: {error}") from error
    return getattr(model, "vision_model", model)


def _equal_layers(model: nn.Module, backbone: str | Mapping[str, Any]) -> nn.ModuleList:
    """Return the longest list of layers of one class."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    lists = [layers for layers in lists if len({type(layer) for layer in layers}) == 1]
    if not lists or not hasattr(model.config, "hidden_size"):
        raise _unfit(backbone, f"{type(model).__name__} without a stack of layers")
    return max(lists, key=len)


def _unfit(backbone: object, got: str) -> ConfigError:
    """Return the error of a model that cannot be used."""
    return ConfigError(
        f"The vision backbone {backbone!r} cannot run on groups of points.",
        where=_WHERE,
        got=got.splitlines()[0],
        expected="a plain vision transformer (vit, deit, beit, dinov2, clip or siglip tower) or "
        "one of Uni3D's eva02_tiny, eva02_small, eva02_base, eva02_large, eva_giant",
    )
