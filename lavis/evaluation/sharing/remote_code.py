"""Loads the folder that this file lies in through transformers, by `trust_remote_code=True`.

    AutoModel.from_pretrained("<folder>", trust_remote_code=True).generate(samples)

The code of the system is that of the checkout: `import lavis` has to work (README, Install).
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from lavis.models.hub import load_folder


class PointLanguageConfig(PretrainedConfig):
    """config.json of the folder; its keys are attributes."""

    model_type = "point_language"


class PointLanguageModel(PreTrainedModel):
    """A system, as `load_folder` returns it, in `system`."""

    config_class = PointLanguageConfig

    def __init__(self, config: PointLanguageConfig, system: nn.Module) -> None:
        super().__init__(config)
        self.system: Any = system

    @classmethod
    def from_pretrained(  # type: ignore[override]  # other arguments are not used
        cls, folder: Any, *args: Any, **kwargs: Any
    ) -> PointLanguageModel:
        """Load the folder, in evaluation mode on the CPU; other arguments are not used."""
        system, keys = load_folder(folder)
        config = kwargs.get("config") or PointLanguageConfig(**keys)
        return cls(config, system).eval()

    def forward(self, samples: dict[str, Any]) -> Any:
        """Return the losses of a batch, as the system does."""
        return self.system(samples)

    def generate(self, samples: dict[str, Any], **options: Any) -> list[str]:
        """Caption the clouds of a batch (`point_cloud` [B,N,3|6], `box_size` [B,3])."""
        return self.system.generate(samples, **options)
