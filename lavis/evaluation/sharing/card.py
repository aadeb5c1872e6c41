"""The model card: scores with intervals and baselines, the file of each score, data, licence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lavis.evaluation.claims import strongest_baseline
from lavis.evaluation.formatting import (
    ABSENT,
    SCALE_NOTE,
    format_interval,
    format_value,
    markdown_table,
    words,
)
from lavis.evaluation.run_records import RunRecord

_HEADER = ("Task", "Split", "Metric", "n", "Score", "95% interval")
_BASELINES = ("Strongest baseline", "All baselines", "Source")
_NUMBERS = ("n", "Score", "95% interval")

_PAGE = """---
{front}---
# {title}

{summary}

## Use

```python
{use}
```

{base}

## Scores

{scores}

## Training

- Run: `{run}`, seed {seed}. The resolved configuration is `training_config.yaml`.
- Command: `python train.py --cfg-path training_config.yaml`, from a checkout of the code.
- Commit of the evaluation: {commits}.
- Checkpoint: SHA-256 `{checkpoint}`.

## Data and licence

{data}
"""


def model_card(
    config: Mapping[str, Any],
    records: Sequence[tuple[RunRecord, str]],
    facts: Mapping[str, str],
) -> str:
    """Compose README.md of a shared folder.

    Args:
        config: its config.json.
        records: metrics records of the checkpoint, each with its file in the folder.
        facts: title, summary, run, seed, checkpoint, licence, data_licence.
    """
    front = {
        "license": facts["licence"],
        "library_name": "pytorch",
        "tags": ["point-cloud", "3d", "vision-language", config["arch"]],
    }
    lines = (f"{key}: {json.dumps(value)}\n" for key, value in front.items())
    return _PAGE.format(
        front="".join(lines),
        use=_use(config),
        base=_base(config),
        scores=_scores(records),
        commits=_listed(record.record.get("git_commit") for record, _ in records),
        data=_data(records, facts),
        **{key: facts[key] for key in ("title", "summary", "run", "seed", "checkpoint")},
    )


def _use(config: Mapping[str, Any]) -> str:
    lines = [
        "from lavis.models.hub import load_folder",
        "",
        'model, config = load_folder("<folder>")',
    ]
    if "auto_map" in config:
        lines += ["", "# or, where a checkout of the code can be imported:"]
        lines += ["from transformers import AutoModel", ""]
        lines += ['AutoModel.from_pretrained("<folder>", trust_remote_code=True)']
    return "\n".join(lines)


def _base(config: Mapping[str, Any]) -> str:
    """Name the base models, which are not in the folder."""
    named = [f"- `{key}`: `{name}`" for key, name in config["base_models"].items()]
    if not named:
        return "The folder holds all weights."
    return "\n".join(["Base models, loaded by name beside the folder's weights:", "", *named])


def _scores(records: Sequence[tuple[RunRecord, str]]) -> str:
    rows = [_row(run, metric, file) for run, file in records for metric in run.record["claims"]]
    if not rows:
        return "None: no evaluation of this checkpoint was exported."
    note = f"Intervals: 95%, bootstrap over items. {SCALE_NOTE}"
    return markdown_table([*_HEADER, *_BASELINES], _NUMBERS, rows) + f"\n\n{note}"


def _row(run: RunRecord, metric: str, file: str) -> list[str]:
    entry, (name, value) = run.record["metrics"][metric], strongest_baseline(run.record, metric)
    others = {n: scores.get(metric) for n, scores in run.record["baselines"].items()}
    return [
        f"{run.task}, {run.condition}" if run.condition else run.task,
        words(run.split),
        words(metric),
        run.n_items(metric),
        format_value(metric, entry["value"]),
        ABSENT if entry["ci95"] is None else format_interval(metric, entry["ci95"]),
        ABSENT if name is None else f"{words(name)}: {format_value(metric, value)}",
        ", ".join(
            f"{words(n)} {format_value(metric, v)}" for n, v in others.items() if v is not None
        )
        or ABSENT,
        f"[{file}]({file})",
    ]


def _data(records: Sequence[tuple[RunRecord, str]], facts: Mapping[str, str]) -> str:
    versions = {
        (data["name"], data["version"], str(data["split_file_sha256"]))
        for data in (record.record["data"] for record, _ in records)
        if data is not None
    }
    lines = [
        f"- Scores: `{name}` version {version}, split file SHA-256 `{digest}`."
        for name, version, digest in sorted(versions, key=str)
    ]
    lines += [f"- Licence of the data: {facts['data_licence']}"]
    return "\n".join([*lines, f"- Licence of these weights: {facts['licence']}."])


def _listed(values: Any) -> str:
    known = list(dict.fromkeys(str(value) for value in values if value))
    return ", ".join(f"`{value}`" for value in known) or "not recorded"
