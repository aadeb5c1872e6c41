"""`save_pretrained`, `from_pretrained` and `push_to_hub` of encoders, the Q-Former and systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from huggingface_hub import ModelCard, PyTorchModelHubMixin, snapshot_download

from lavis.models.hub.folder import (
    CONFIG,
    WEIGHTS,
    load_weights,
    read_config,
    shared_state,
    write_folder,
)

_CARD = """---
library_name: pytorch
tags: [point-cloud, 3d]
---
# {name}

Written by `save_pretrained`, without scores. Load it with `{name}.from_pretrained(<this folder>)`.
"""


class HubPart(PyTorchModelHubMixin):
    """Mixin of a module that describes itself in plain JSON values.

        encoder.save_pretrained("hub/encoder")
        PointBert.from_pretrained("hub/encoder")

    Attributes:
        hub_kind: of the folder's `config.json`.
    """

    hub_kind: ClassVar[str]

    def hub_config(self) -> dict[str, Any]:
        """Return what `from_hub_config` rebuilds the module from: plain JSON values."""
        raise TypeError(f"{type(self).__name__} has to define hub_config()")

    @classmethod
    def from_hub_config(cls, config: Mapping[str, Any], folder: Path) -> Self:
        """Build the module, without the folder's weights, from its configuration."""
        raise TypeError(f"{cls.__name__} has to define from_hub_config()")

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write configuration and weights (huggingface_hub adds the card)."""
        module: Any = self
        config = {"kind": self.hub_kind} | self.hub_config()
        write_folder(save_directory, config, shared_state(module))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:
        """Load a folder on this machine, or huggingface_hub's name of one.

        Args:
            pretrained_model_name_or_path: folder with config.json and model.safetensors, or a name.
            kwargs: of huggingface_hub, for a name: revision, cache_dir, token, local_files_only …

        Raises:
            CheckpointError: of another project or kind, damaged, or without its base model.
        """
        if Path(pretrained_model_name_or_path).is_dir():
            return cls.from_folder(pretrained_model_name_or_path)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **kwargs: Any,
    ) -> Self:
        """Download configuration and weights, not the repository's code, and build from them."""
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=[CONFIG, WEIGHTS],
        )
        return cls.from_folder(folder)

    @classmethod
    def from_folder(cls, folder: str | Path) -> Self:
        """Build from a folder on this machine, in evaluation mode.

        Raises:
            CheckpointError: of another project or kind, damaged, or without its base model.
        """
        config = read_config(folder, cls.hub_kind)
        module: Any = cls.from_hub_config(config, Path(folder))
        load_weights(module, folder, config)
        return module.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the short card of `save_pretrained`; export writes one with scores."""
        return ModelCard(_CARD.format(name=type(self).__name__))
