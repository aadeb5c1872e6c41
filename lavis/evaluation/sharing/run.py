"""What an export reads of a run: configuration, checkpoint, and the scores of that checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lavis.common.errors import CheckpointError, EvaluationError
from lavis.common.files import file_sha256
from lavis.evaluation.read_records import read_records
from lavis.evaluation.run_records import RunRecord, named
from lavis.models.hub.trained_run import build_trained, trained_section

CHECKPOINTS = ("checkpoint_best.pth", "checkpoint_last.pth")  # the first that is there


@dataclass(frozen=True)
class TrainedRun:
    """One job's folder.

    Attributes:
        folder: with config.yaml and a checkpoint.
        config: config.yaml as plain mappings.
        checkpoint: the file whose weights are shared.
    """

    folder: Path
    config: Mapping[str, Any]
    checkpoint: Path

    @cached_property
    def checkpoint_hash(self) -> str:
        """SHA-256 of the checkpoint, as metrics records note it."""
        return file_sha256(self.checkpoint)

    @property
    def section(self) -> dict[str, Any]:
        """The `model` section that loads the checkpoint, and what it started from where needed."""
        return trained_section(self.config["model"], self.checkpoint)[0]

    @property
    def preprocess(self) -> dict[str, Any]:
        """Processors of evaluation of the first data set: what `load_preprocess` takes."""
        data = next(iter(self.config["datasets"].values()))
        kinds = ("point_processor", "text_processor")
        return {k: {"eval": data[k]["eval"]} for k in kinds if "eval" in (data.get(k) or {})}

    def build(self) -> Any:
        """Build the model with the checkpoint's weights, in evaluation mode.

        Raises:
            CheckpointError: see `build_trained`.
        """
        return build_trained(self.config["model"], self.checkpoint)


def read_run(folder: str | Path) -> TrainedRun:
    """Read a job's folder.

    Raises:
        CheckpointError: no configuration or no checkpoint in it; the message lists its jobs.
    """
    from omegaconf import OmegaConf

    folder = Path(folder).resolve()
    found = next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)
    if found is None or not (folder / "config.yaml").is_file():
        jobs = sorted(str(path.parent) for path in folder.glob(f"*/{CHECKPOINTS[1]}"))
        raise CheckpointError(
            "there is no trained run to export",
            where=folder,
            expected=f"config.yaml and one of {list(CHECKPOINTS)}",
            fix=f"name one of its jobs: {jobs}" if jobs else "train first, e.g. make demo",
        )
    config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=True)
    return TrainedRun(folder, config, found.resolve())


def own_scores(run: TrainedRun, places: Iterable[Path] | None = None) -> list[RunRecord]:
    """Return the metrics records of a run's checkpoint.

    Args:
        run: the run.
        places: result files, or folders that hold `*_metrics.json`; None: the jobs beside the run.

    Raises:
        EvaluationError: a named place holds no record of this checkpoint.
    """
    searched = [run.folder.parent] if places is None else list(places)
    records = [_records(place, run.checkpoint_hash) for place in searched]
    for place, found in zip(searched, records):
        if places is not None and not found:
            raise EvaluationError(
                "these are no scores of the exported checkpoint",
                where=place,
                got="no metrics record with its hash",
                expected=f"checkpoint_hash {run.checkpoint_hash[:12]} ({run.checkpoint})",
                fix="evaluate this checkpoint, or export the one that was evaluated",
            )
    return [record for found in records for record in found]


def _records(place: Path, wanted: str) -> list[RunRecord]:
    files = [place] if place.is_file() else sorted(place.rglob("*_metrics.json"))
    return [
        named(path.stem.removesuffix("_metrics"), record, str(path))
        for path in files
        for record in read_records(path)
        if record.get("checkpoint_hash") == wanted
    ]
