"""The configuration of a run: recipe + component defaults + `--options`, checked before building.

`RunConfig` keeps the accessors of the stock `lavis.common.config.Config` and replaces how it is
put together: stock code ignores a misspelt key, drops options of odd form and does not see
`--options model.model_type=...` when it picks the default yaml.

    precedence: --options > recipe > component default (configs/models, configs/datasets)
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lavis.common.config import Config
from lavis.common.errors import ConfigError, nearest
from lavis.common.files import replace_file
from lavis.common.registry import registry
from lavis.config.component import ModelConfig
from lavis.config.evaluation_check import check_evaluations
from lavis.config.families import spread_families
from lavis.config.key_check import check_keys, without_replaced
from lavis.config.recipe_check import refuse_unwritable_text, resolve_references
from lavis.config.run_schema import LAUNCH_KEYS, validate_run
from lavis.config.sources import (
    SECTIONS,
    as_plain,
    load_defaults,
    load_yaml,
    merge,
    parse_options,
)

# Keys that stock BaseModel and BaseDatasetBuilder read whether or not a default yaml lists them.
MODEL_KEYS = (*ModelConfig.IGNORED, "pretrained", "finetuned")
DATASET_KEYS = ("type", "data_type", "build_info", "point_processor", "text_processor")


class RunConfig(Config):
    """A checked configuration with `run_cfg`, `model_cfg`, `datasets_cfg`.

    Raises:
        ConfigError: anything that would fail or be ignored later: a missing or malformed file, an
            unknown section, key or registered name, a wrong type, a value out of range.
    """

    def __init__(self, args: Namespace) -> None:
        # Not calling Config.__init__ on purpose: merging is what this class replaces.
        self.args = args
        self.cfg_path = str(args.cfg_path)
        recipe = self._merge_recipe(getattr(args, "options", None))
        registry.register("configuration", self)
        run = self._build_run(recipe)
        model = self._build_model(recipe["model"])
        datasets = self._build_datasets(recipe["datasets"])
        self.config = merge(run, model, datasets)

    @classmethod
    def from_file(cls, path: str | Path, options: Sequence[str] | None = None) -> RunConfig:
        """Read the recipe at `path` as `train.py --cfg-path path --options ...` does."""
        return cls(Namespace(cfg_path=str(path), options=list(options or [])))

    def save(self, path: str | Path) -> None:
        """Write the resolved configuration; reading that file gives the same configuration.

        Raises:
            StorageError: the file cannot be written.
        """
        container = as_plain(self.config)
        container["run"] = {k: v for k, v in container["run"].items() if k not in LAUNCH_KEYS}
        replace_file(Path(path), OmegaConf.to_yaml(OmegaConf.create(container)).encode("utf-8"))

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved configuration as plain Python (what a checkpoint may hold)."""
        return as_plain(self.config)

    def _merge_recipe(self, options: Sequence[str] | None) -> dict[str, Any]:
        """Return recipe and options merged, as plain mappings with the three sections present."""
        recipe = load_yaml(self.cfg_path, "--cfg-path")
        try:
            merged = merge(*self._spread(recipe, parse_options(options)))
            plain = resolve_references(as_plain(merged, resolve=False), self.cfg_path)
        except OmegaConfBaseException as error:
            problem = str(error).splitlines()[0]
            raise ConfigError("cannot merge", where=self.cfg_path, got=problem) from error
        refuse_unwritable_text(plain, self.cfg_path)
        for section in plain:
            # A saved config also holds `preprocess`, which default model yamls carry.
            if section not in (*SECTIONS, "preprocess"):
                what = f"unknown section {section!r}.{nearest(section, SECTIONS)}"
                expected = ", ".join(SECTIONS)
                raise ConfigError(what, where=self.cfg_path, expected=expected)
        for section in SECTIONS:
            if not isinstance(plain.get(section), Mapping) or not plain[section]:
                what = f"the section {section!r} is missing or empty"
                raise ConfigError(what, where=self.cfg_path, got=plain.get(section))
        return plain

    @staticmethod
    def _spread(*parts: DictConfig) -> list[DictConfig]:
        """Return recipe and options with the keys of families in the sections of data sets."""
        registered = registry.list_datasets()
        sections = [
            section for part in parts if isinstance(section := part.get("datasets"), Mapping)
        ]
        members = {name for section in sections for name in section if name in registered}
        return [spread_families(part, members, registered) for part in parts]

    def _build_run(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Return {"run": ...}, completed with defaults."""
        # Imported here: the schedules are the runner's, and configs are read without a runner too.
        from lavis.runners.lr_schedules import SCHEDULES
        from lavis.runners.trackers import TRACKERS

        run = validate_run(recipe["run"], self.cfg_path)
        if run["task"] is not None:
            self._known("run.task", run["task"], registry.list_tasks())
        run["evaluations"] = check_evaluations(run, list(recipe["datasets"]), self.cfg_path)
        self._known("run.runner", run["runner"], registry.list_runners())
        self._known("run.lr_sched", run["lr_sched"], SCHEDULES)
        for name in run["trackers"]:
            self._known("run.trackers", name, TRACKERS)
        return {"run": run}

    def _build_model(self, section: Mapping[str, Any]) -> DictConfig:
        """Return the model's default yaml with the recipe's keys merged in."""
        # Imported here: configs are read without models, too.
        from lavis.models.weights.foreign_code import allow_code

        arch, model_type = section.get("arch"), section.get("model_type")
        self._known("model.arch", arch, registry.list_models())
        model_cls = registry.get_model_class(arch)
        types = model_cls.PRETRAINED_MODEL_CONFIG_DICT
        self._known("model.model_type", model_type, types)
        path = model_cls.default_config_path(model_type)
        default = load_yaml(path, f"default of model.arch={arch} model.model_type={model_type}")
        keys = as_plain(default, resolve=False).get("model") or {}
        config_class = getattr(model_cls, "config_class", None)
        if config_class is not None:  # the yaml states differences from its defaults
            keys = config_class.complete(keys)
            config_class.refuse_replaced(section, f"{self.cfg_path}: model")
        checked = check_keys(
            section,
            keys,
            name="model",
            where=self.cfg_path,
            default_path=self._relative(path),
            extra=MODEL_KEYS,
        )
        self._check_encoder(checked)
        allow_code(checked.get("allowed_code"), self.cfg_path)
        default.model = without_replaced(keys, checked)
        merged = merge(default, {"model": checked})
        if config_class is not None:
            config_class.read(as_plain(merged)["model"], f"{self.cfg_path}: model")
        return merged

    def _check_encoder(self, section: Mapping[str, Any]) -> None:
        """Check that the point encoder which a recipe names is registered."""
        # Imported here: configs are read without models, too.
        from lavis.models.point_encoders import registry as encoders

        encoder = section.get("point_encoder")
        if isinstance(encoder, Mapping) and "name" in encoder:
            self._known("model.point_encoder.name", encoder["name"], encoders.point_encoder_names())

    def _build_datasets(self, section: Mapping[str, Any]) -> DictConfig:
        """Return every named builder's default yaml with the recipe's keys merged in."""
        merged = merge()
        for name, given in section.items():
            self._known(f"datasets.{name}", name, registry.list_datasets())
            given = {} if given is None else given
            if not isinstance(given, Mapping):
                where = f"{self.cfg_path}: datasets.{name}"
                raise ConfigError("a data set is a mapping", where=where, got=given)
            builder_cls = registry.get_builder_class(name)
            config_type = given.get("type") or "default"
            self._known(f"datasets.{name}.type", config_type, builder_cls.DATASET_CONFIG_DICT)
            path = builder_cls.default_config_path(type=config_type)
            default = load_defaults(path, f"default of datasets.{name} type={config_type}")
            keys = as_plain(self._dataset_part(default, name), resolve=False)
            checked = check_keys(
                given,
                keys,
                name=f"datasets.{name}",
                where=self.cfg_path,
                default_path=self._relative(path),
                extra=DATASET_KEYS,
            )
            part = merge(without_replaced(keys, checked), checked)
            self._check_processors(name, part)
            merged = merge(merged, {"datasets": {name: part}})
        return merged

    def _dataset_part(self, default: DictConfig, name: str) -> DictConfig:
        """Return the section of builder `name`; several builders may share one default yaml."""
        sections = default.get("datasets") or {}
        if name in sections:
            return sections[name]
        if len(sections) == 1:
            return next(iter(sections.values()))
        where = f"configs default of {name}"
        raise ConfigError(f"no section datasets.{name}", where=where, got=list(sections))

    def _check_processors(self, dataset: str, section: Mapping[str, Any]) -> None:
        """Check that every processor a data set names is registered."""
        for key in section:
            if not key.endswith("_processor") or not isinstance(section[key], Mapping):
                continue
            for split, processor in section[key].items():
                dotted = f"datasets.{dataset}.{key}.{split}"
                self._known(f"{dataset}.{key} split", split, ("train", "eval"))
                if processor is not None:
                    given = processor.get("name") if isinstance(processor, Mapping) else processor
                    self._known(f"{dotted}.name", given, registry.list_processors())

    def _known(self, key: str, name: Any, known: Iterable[str]) -> None:
        """Refuse a name that is not registered."""
        known = sorted(known)
        if name not in known:
            what = f"{key} is missing" if name is None else f"unknown name {name!r}."
            raise ConfigError(
                what + nearest(str(name), known),
                where=f"{self.cfg_path}: {key}",
                got=name,
                expected=f"one of {', '.join(known) or '(none registered)'}",
            )

    @staticmethod
    def _relative(path: str | Path) -> str:
        """Return `path` from the repository root when it lies below it."""
        return os.path.relpath(path, registry.get_path("library_root") or ".")
