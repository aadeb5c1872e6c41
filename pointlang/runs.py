"""Find trained systems: a name, a run folder, a folder of runs, or an exported hub folder.

A folder of runs (`output/demo`) is one system: each ability is that of the newest run that has
it. A run that is the start of another run of the same model is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lavis.common.registry import registry

from lavis.common.errors import ConfigError, nearest
from lavis.config.run_config import RunConfig
from lavis.config.sources import as_plain, load_yaml, merge
from lavis.models import load_preprocess
from lavis.models.hub import is_hub_folder, load_folder, read_config
from lavis.models.hub.trained_run import build_trained, find_file
from lavis.tasks.options import WritingOptions
from pointlang.system import Member, Parts, System

CHECKPOINTS = ("checkpoint_best.pth", "checkpoint_last.pth")
CONFIG = "config.yaml"
NO_MODEL = "`make demo` trains one in minutes (output/demo); or give --model a run or hub folder"


@dataclass(frozen=True)
class Run:
    """A trained run on the disk.

    Attributes:
        folder: with `config.yaml`.
        checkpoint: of that run.
    """

    folder: Path
    checkpoint: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, not checked."""
        return as_plain(load_yaml(self.folder / CONFIG, "run"), resolve=False)

    @property
    def model_class(self) -> Any:
        """The registered class of its model.

        Raises:
            ConfigError: a model that this codebase does not have.
        """
        arch = self.config.get("model", {}).get("arch")
        found = registry.get_model_class(arch) if arch else None
        if found is None:
            raise ConfigError(
                "The run is of a model that is not registered here.",
                where=f"{self.folder / CONFIG}: model.arch",
                got=arch,
                expected=", ".join(sorted(registry.list_models())),
            )
        return found

    def start(self) -> Path | None:
        """Return the checkpoint that the run started from, where it is still there."""
        named = self.config["model"].get("pretrained")
        return find_file(named, self.folder) if named else None


def load(source: str | Path = "demo", device: str = "auto") -> System:
    """Load a trained system; its models are built at their first use.

    Args:
        source: a name (`demo` for output/demo), a run folder, a folder of runs, or a hub folder.
        device: auto, cpu, cuda, cuda:1 …

    Raises:
        ConfigError: no such system, or a folder of another project.
        CheckpointError: on first use, a checkpoint that is damaged or lacks its base model.
    """
    place = _device(device)
    folder = _folder(source)
    if is_hub_folder(folder):
        return System(str(source), [_hub_member(folder, place)], place)
    runs = list(find_runs(folder))
    if not runs:
        what, got = "The folder holds no trained run.", _content(folder)
        expected = f"{CONFIG} and {CHECKPOINTS[-1]}, in it or in its folders; or an exported folder"
        raise ConfigError(what, where=str(folder), got=got, expected=expected, fix=NO_MODEL)
    return System(str(source), [_member(run, place) for run in runs], place)


def systems(root: str | Path | None = None) -> dict[str, tuple[str, ...]]:
    """Return {name: abilities} of the trained systems below a folder (output/); builds nothing."""
    root = _root() / "output" if root is None else Path(root)
    found = {}
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        runs = [
            run
            for run in find_runs(folder)
            if run.config["model"].get("arch") in registry.list_models()
        ]
        if runs:
            members = [_member(run, torch.device("cpu")) for run in runs]
            found[folder.name] = System(folder.name, members, torch.device("cpu")).abilities
    return found


def find_runs(folder: Path) -> Iterator[Run]:
    """Yield the trained runs of a folder, the newest first; starts of others are left out."""
    own = run_of(folder)
    if own is not None:
        yield own
        return
    runs = [run for path in folder.glob("*") if (run := run_of(path)) is not None]
    starts = {(run.start(), run.config["model"].get("arch")) for run in runs}
    runs.sort(key=lambda run: (run.checkpoint.stat().st_mtime_ns, run.folder.name), reverse=True)
    for run in runs:
        if (run.checkpoint.resolve(), run.config["model"].get("arch")) not in starts:
            yield run


def run_of(folder: Path) -> Run | None:
    """Return the trained run of a folder, None where it has none."""
    if folder.is_symlink() or not (folder / CONFIG).is_file():
        return None
    found = [folder / name for name in CHECKPOINTS if (folder / name).exists()]
    return Run(folder, found[0]) if found else None


def _member(run: Run, device: torch.device) -> Member:
    def build() -> Parts:
        config = RunConfig.from_file(run.folder / CONFIG)
        model = build_trained(as_plain(config.model_cfg), run.checkpoint)
        sections = as_plain(config.datasets_cfg)
        return model, eval_processor(sections), WritingOptions.read(config.run_cfg).decoding()

    return Member(run.folder.name, run.model_class, _on_device(build, device))


def _hub_member(folder: Path, device: torch.device) -> Member:
    def build() -> Parts:
        model, config = load_folder(folder)
        run = config.get("run") or {}
        processor = load_preprocess(config["preprocess"])[0]["eval"]
        return model, processor, WritingOptions.read(run).decoding()

    kind = registry.get_model_class(read_config(folder, "model")["arch"])
    return Member(folder.name, kind, _on_device(build, device))


def _on_device(build: Callable[[], Parts], device: torch.device) -> Callable[[], Parts]:
    def placed() -> Parts:
        model, processor, decoding = build()
        model.eval()
        if device.type == "cpu":
            model.float()
        return model.to(device), processor, decoding

    return placed


def eval_processor(sections: dict[str, Any]) -> Any:
    """Return the processor of clouds in evaluation of the first data set that has one."""
    for section in sections.values():
        if (section.get("point_processor") or {}).get("eval"):
            return load_preprocess(merge(section))[0]["eval"]
    raise ConfigError(
        "The run has no processor of clouds.", where=f"{CONFIG}: datasets.*.point_processor"
    )


def _folder(source: str | Path) -> Path:
    """Return the folder that a name or path means.

    Raises:
        ConfigError: there is none.
    """
    named = _root() / "output" / str(source)
    for place in (Path(source).expanduser(), named):
        if place.is_dir():
            return place
    known = [path.name for path in (_root() / "output").glob("*") if path.is_dir()]
    what = f"No trained system {str(source)!r}.{nearest(str(source), known)}"
    got = f"neither the folder {source} nor {named}"
    raise ConfigError(what, where="--model", got=got, fix=NO_MODEL)


def _content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8] + ["…"] * (len(names) > 8)) or "an empty folder"


def _device(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        ConfigError: unknown, or not on this machine.
    """
    if name == "auto":
        cards = torch.cuda.device_count()
        rank = int(os.environ.get("LOCAL_RANK", "0"))  # of torch.distributed.run
        return torch.device(f"cuda:{rank % cards}" if cards else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        got = f"{name}: {str(error).splitlines()[0]}"
        what, expected = "The device cannot be used.", "auto, cpu, cuda, cuda:1 …"
        raise ConfigError(what, where="--device", got=got, expected=expected) from error
    return device


def _root() -> Path:
    return Path(registry.get_path("library_root"))
