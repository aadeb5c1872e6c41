"""The runs of a table: metrics records with names, their seeds, and what must be marked.

docs/results/<run>.json                 one metrics record or a list of them
docs/results/<run>_<control>.json       the same run under a control (or in the run's list)
docs/results/seeds/<run>/<seed>.json    the same recipe with other training seeds
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.evaluation.formatting import words
from lavis.evaluation.read_records import read_records
from lavis.evaluation.seeds import matching, read_seeds

_TASKS = {"point_qa": "question answering"}


@dataclass(frozen=True)
class RunRecord:
    """One metrics record of a table.

    Attributes:
        name: of the run; a control has the name of the run it belongs to.
        record: the metrics record.
        where: its file, for messages.
        seeds: records of the same evaluation with other training seeds.
    """

    name: str
    record: Mapping[str, Any]
    where: str
    seeds: tuple[Mapping[str, Any], ...] = ()

    @property
    def alteration(self) -> str | None:
        """Control or corruption of the clouds; None for the split as it is."""
        return self.record["alteration"]

    @property
    def split(self) -> str:
        """The split, without the name of the alteration."""
        return self.record["split"].removesuffix(f"_{self.alteration}")

    @property
    def condition(self) -> str:
        """The alteration in words, e.g. "control: box shell"; "" for the split as it is."""
        if self.alteration is None:
            return ""
        kind = "corruption" if re.search(r"_\d$", self.alteration) else "control"
        return f"{kind}: {words(self.alteration)}"

    @property
    def marks(self) -> str:
        """Return remarks on the record, e.g. " (uncommitted changes)"."""
        commit, marks = self.record.get("git_commit"), ""
        if commit is None:
            marks += " (commit unknown)"
        elif commit.endswith("-dirty"):
            marks += " (uncommitted changes)"
        return marks if self.record["data"] else marks + " (data version unknown)"

    @property
    def task(self) -> str:
        """The task in words; zero-shot only where no class was named in training."""
        task = self.record["task"]
        if task == "point_classification":
            zero_shot = self.record["extra"].get("protocol") == "zero_shot"
            return "zero-shot (held-out classes)" if zero_shot else "prompted classification"
        return _TASKS.get(task, words(task.removeprefix("point_")))

    @property
    def protocol(self) -> str:
        """Which texts were scored and how, as the task recorded it; "" when it did not."""
        extra = self.record["extra"]
        parts = [extra.get(key) for key in ("text", "protocol")]
        return ", ".join(words(str(part)) for part in parts if part and part != "zero_shot")

    @property
    def pool_mark(self) -> str:
        """ " (1000 of 4700)" where the baselines used part of the training objects, else ""."""
        pool = self.record["baseline_pool"]
        if pool is None or pool["used"] == pool["whole"]:
            return ""
        return f" ({pool['used']} of {pool['whole']})"

    def baseline_mark(self, baseline: str) -> str:
        """Return `pool_mark`, but "" for chance, which reads no training object."""
        return "" if baseline.startswith("chance") else self.pool_mark

    def n_items(self, metric: str) -> str:
        """Return the number of items behind a metric, e.g. "56" or "740 of 741"."""
        families = self.record["extra"].get("per_family") or {}
        family = families.get(metric.partition("/")[2], {})
        if metric in self.record["claims"] or "n" in family:
            return str(self.record["claims"].get(metric) or family["n"])
        scored, expected = self.record["n_scored"], self.record["n_expected"]
        return str(scored) if scored == expected else f"{scored} of {expected}"


def named(name: str, record: Mapping[str, Any], where: str) -> RunRecord:
    """Name a record; a control's own ending is taken off, so that it joins its run."""
    alteration = record["alteration"]
    return RunRecord(name.removesuffix(f"_{alteration}") if alteration else name, record, where)


def load_records(results_dir: str | Path) -> list[RunRecord]:
    """Read the runs of docs/results in the order of their file names, with their seeds.

    Raises:
        EvaluationError: a file that is not a metrics record of this schema version, seeds of an
            unknown run, or several versions of the data.
    """
    folder = Path(results_dir)
    runs = [
        named(record["extra"].get("name", path.stem), record, str(path))
        for path in sorted(folder.glob("*.json"))
        for record in read_records(path)
    ]
    runs = with_seeds(runs, read_seeds(folder / "seeds"), str(folder / "seeds"))
    check_data_versions(runs)
    return runs


def with_seeds(
    runs: Sequence[RunRecord], seeds: Mapping[str, Sequence[Mapping[str, Any]]], where: str
) -> list[RunRecord]:
    """Add each recipe's seeds to its run.

    Raises:
        EvaluationError: seeds of a run that is not there, or evaluated differently.
    """
    unknown = sorted(set(seeds) - {run.name for run in runs})
    if unknown:
        raise EvaluationError(
            "there are seeds of a run that has no result",
            where=where,
            got=unknown,
            expected=sorted({run.name for run in runs}),
            fix="add <run>.json, or rename the folder",
        )
    return [
        RunRecord(
            run.name,
            run.record,
            run.where,
            matching(run.record, seeds.get(run.name, ()), f"{where}/{run.name}"),
        )
        for run in runs
    ]


def check_data_versions(runs: Sequence[RunRecord]) -> None:
    """Refuse a table of several versions of one data set; scores do not compare across them.

    Raises:
        EvaluationError: names each file with its version.
    """
    versions: dict[str, dict[tuple[Any, Any], list[str]]] = {}
    for run in runs:
        data = run.record["data"]
        if data is not None:
            version = (data["version"], data["split_file_sha256"])
            versions.setdefault(data["name"], {}).setdefault(version, []).append(run.where)
    for name, found in versions.items():
        if len(found) > 1:
            listed = [
                f"version {version} (split file {str(digest)[:12]}): {', '.join(files)}"
                for (version, digest), files in found.items()
            ]
            raise EvaluationError(
                f"a table mixes versions of the data set {name!r}",
                got="; ".join(listed),
                expected="one version",
                fix="evaluate again on the newest version, or move the old files away",
            )
