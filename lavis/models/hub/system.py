"""Systems as shared folders: the `model` section is the description, weight files are not named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from lavis.common.errors import CheckpointError, ConfigError, PointLanguageError
from lavis.common.registry import registry
from lavis.config.component import ModelConfig
from lavis.models.hub.folder import CONFIG, base_fingerprint, load_weights, read_config
from lavis.models.hub.part import HubPart
from lavis.models.weights.own import load_own_checkpoints

# Files that a run starts from; a folder or checkpoint that holds their weights does not need them.
START_KEYS = ("pretrained", "finetuned", "point_encoder_weights", "released")
# What names a base model: a built-in name, a folder, or a hub name.
BASE_KEYS = ("llm", "qformer_bert", "text_tower", "text_teacher", "image_teacher", "audio_teacher")


class HubSystem(HubPart):
    """Mixin of a registered model: `from_pretrained` takes a folder, or LAVIS' name of a type.

    Attributes:
        config_class: of the `model` section.
        loaded_checkpoint: the file of the last checkpoint.
        hub_section: the `model` section that the model was built from, with `arch`.
        hub_extra: further keys of config.json (processors, decoding).
    """

    hub_kind = "model"
    PRETRAINED_MODEL_CONFIG_DICT: ClassVar[dict[str, str]]
    hub_section: Mapping[str, Any] | None = None
    hub_extra: Mapping[str, Any] = {}
    config_class: type[ModelConfig]
    loaded_checkpoint: str | None = None

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> Self:
        """Build from the `model` section (`config_class`), with the weights that it names."""
        model = cls(cls.config_class.read(cfg))
        model.load_weights(cfg)
        return model

    def load_weights(self, section: Mapping[str, Any]) -> None:
        """Load the checkpoints that the `model` section names."""
        load_own_checkpoints(self, section)

    def hub_config(self) -> dict[str, Any]:
        """Return arch, section, base models and their fingerprint.

        Raises:
            ConfigError: `hub_section` is not set.
        """
        if self.hub_section is None:
            what = "a model is saved with the section that it was built from"
            fix = "set model.hub_section = <the model section, with arch>, or export its run"
            raise ConfigError(what, where="hub_section", got=None, fix=fix)
        module: Any = self
        section = self.shared_section()
        return {
            "arch": section["arch"],
            "model": section,
            "base_models": dict(base_models(section)),
            "base_fingerprint": base_fingerprint(module),
        } | dict(self.hub_extra)

    def shared_section(self) -> dict[str, Any]:
        """Return `hub_section` without files of this machine, whose weights the folder holds."""
        return without_own_files(self.hub_section or {})

    @classmethod
    def from_hub_config(cls, config: Mapping[str, Any], folder: Path) -> Self:
        """Build the model with its base models.

        Raises:
            CheckpointError: another arch, or a base model that is not there.
        """
        model_class = registry.get_model_class(config["arch"])
        if model_class is None or not issubclass(model_class, cls):
            got, expected = config["arch"], f"an arch of {cls.__name__}"
            what, where = "a shared folder holds another model", folder / CONFIG
            raise CheckpointError(what, where=where, got=got, expected=expected)
        model = build_from_section(model_class, config, folder)
        known = {"format", "kind", "arch", "model", "base_models", "base_fingerprint"}
        model.hub_section = config["model"]
        model.hub_extra = {key: value for key, value in config.items() if key not in known}
        return model

    @classmethod
    def from_pretrained(  # type: ignore[override]  # LAVIS' signature
        cls, name: Any = None, *, model_type: Any = None, **kwargs: Any
    ) -> Self:
        """Load a folder, a hub name, or the default yaml of one of LAVIS' types.

        Args:
            name: folder, hub name, or a type of `PRETRAINED_MODEL_CONFIG_DICT`.
            model_type: LAVIS' name of `name`.
            kwargs: see `HubPart.from_pretrained`.
        """
        from lavis.models.base_model import BaseModel

        name = model_type if name is None else name
        if str(name) in cls.PRETRAINED_MODEL_CONFIG_DICT:
            return BaseModel.from_pretrained.__func__(cls, name)  # type: ignore[attr-defined]
        return super().from_pretrained(name, **kwargs)


def without_own_files(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section whose weight files are null, also those of nested models."""
    return {
        key: None
        if key in START_KEYS
        else without_own_files(value)
        if isinstance(value, Mapping)
        else value
        for key, value in section.items()
    }


def base_models(section: Mapping[str, Any], prefix: str = "model") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, name) of the base models of a section and its nested ones."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from base_models(value, f"{prefix}.{key}")
        elif key in BASE_KEYS and value:
            yield f"{prefix}.{key}", str(value)


def build_from_section(model_class: Any, config: Mapping[str, Any], folder: Path) -> Any:
    """Build a model; what its base models lack is said with the folder's name.

    Raises:
        CheckpointError: a base model or another file that the section names is not there.
    """
    from omegaconf import OmegaConf

    try:
        return model_class.from_config(OmegaConf.create(dict(config["model"])))
    except (PointLanguageError, OSError) as error:
        named = ", ".join(f"{key}={name}" for key, name in config.get("base_models", {}).items())
        raise CheckpointError(
            f"a shared model cannot be built: {error}",
            where=folder / CONFIG,
            expected=f"its base models: {named or 'none'}",
            fix="get the base model that the card names and write its path into config.json",
        ) from error


def load_folder(folder: str | Path) -> tuple[Any, dict[str, Any]]:
    """Load a shared system of any arch, offline.

    Returns:
        The model in evaluation mode on the CPU, and config.json.

    Raises:
        CheckpointError: of another project or kind, damaged, or without its base model.
    """
    config = read_config(folder, HubSystem.hub_kind)
    model: Any = HubSystem.from_hub_config(config, Path(folder))
    load_weights(model, folder, config)
    return model.eval(), config
