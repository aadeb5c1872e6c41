"""The report page: one HTML file that loads nothing, to be mailed, archived and opened offline.

A content security policy with the hashes of the page's own style and script forbids everything
else, network included. The page depends on the result files, the clouds and the seed only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.common.files import replace_file
from lavis.datasets.viewer.page import as_script, content_policy, style_and_script
from lavis.evaluation.formatting import ABSENT
from lavis.evaluation.report.clouds import CloudCollection, LoadCloud
from lavis.evaluation.report.headlines import NOTE, Headline, headlines
from lavis.evaluation.report.run_folder import TaskResult
from lavis.evaluation.report.sections import example_sections

MAX_BYTES = 6_000_000
_COLUMNS = (
    *("Metric", "Score", "95% interval", "Seeds", "Strongest baseline", "Difference [95% CI]"),
    *("Verdict", "Under controls", "All baselines"),
)
_SIGNS = {"above": "▲", "level": "≈", "below": "▼"}


def write_report(
    path: str | Path,
    results: Sequence[TaskResult],
    load_cloud: LoadCloud,
    *,
    name: str,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        results: what `load_run` returned.
        load_cloud: cloud [P,3|6] of an object id, None when there is none.
        name: of the run, shown in the title.
        notes: sentences on omitted parts.
        seed: of the choice of examples.

    Raises:
        DataError: a cloud with NaN or of the wrong shape.
        EvaluationError: the page would be larger than 6 MB or cannot be written.
    """
    page = render(results, load_cloud, name=name, notes=notes, seed=seed).encode("utf-8")
    if len(page) > MAX_BYTES:
        raise EvaluationError(
            "the report is too large",
            where=str(path),
            got=f"{len(page)} bytes",
            expected=f"at most {MAX_BYTES}",
            fix="shorten the longest texts",
        )
    path = Path(path)
    try:
        replace_file(path, page)
    except OSError as error:
        raise EvaluationError(
            "the report cannot be written", where=str(path), got=str(error)
        ) from error
    return path


def render(
    results: Sequence[TaskResult],
    load_cloud: LoadCloud,
    *,
    name: str,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> str:
    """Compose the page as text; arguments as in `write_report`."""
    clouds = CloudCollection(load_cloud)
    sections = example_sections(results, clouds, seed)
    if clouds.absent:
        notes = [*notes, f"{len(clouds.absent)} of the objects shown have no point cloud here."]
    style, script = style_and_script()
    template = (Path(__file__).parent / "template.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        policy=content_policy(style, script),
        style=style,
        script=script,
        name=escape(name),
        splits=escape(_joined(result.record["split"] for result in results)),
        facts=facts(results, seed),
        notes=notes_list(notes),
        table=score_table(headlines(results)),
        table_note=escape(NOTE),
        origin=origin_table(results),
        sections=sections,
        clouds=as_script(clouds.encoded),
    )


def facts(results: Sequence[TaskResult], seed: int) -> str:
    """Return the introduction."""
    records = [result.record for result in results]
    items = {
        "Split": _joined(record["split"] for record in records),
        "Data": _joined(_data(record["data"]) for record in records),
        "Seed of the run": _joined(record.get("seed") for record in records),
        "Git commit": _joined(_short(record.get("git_commit")) for record in records),
        "Configuration": _joined(_short(record.get("config_hash")) for record in records),
        "Seed of the examples": str(seed),
    }
    return "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in items.items())


def notes_list(notes: Sequence[str]) -> str:
    """What is left out, or nothing."""
    if not notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def score_table(rows: Sequence[Headline]) -> str:
    """Return scores, intervals and baselines, one table body per task."""
    bodies = []
    for task, grouped in groupby(rows, key=lambda row: row.task):
        head = f'<tr><th scope="rowgroup" colspan="{len(_COLUMNS)}">{escape(task)}</th></tr>'
        bodies.append(f"<tbody>{head}{''.join(map(_cells, grouped))}</tbody>")
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    return f"<table><thead><tr>{head}</tr></thead>{''.join(bodies)}</table>"


def _cells(row: Headline) -> str:
    sign = _SIGNS.get(row.verdict)
    mark = f'<span aria-hidden="true">{sign}</span> ' if sign else ""
    shown = mark + escape(row.verdict)
    return (
        f'<tr><th scope="row">{escape(row.metric)}</th>'
        f'<td class="number score">{escape(row.score)}</td>'
        f'<td class="number">{escape(row.interval)}</td>'
        f'<td class="number">{escape(row.seeds)}</td>'
        f"<td>{escape(row.strongest)}</td>"
        f'<td class="number">{escape(row.difference)}</td>'
        f'<td class="verdict {row.verdict if sign else ""}">{shown}</td>'
        f'<td class="baselines">{_listed(row.controls)}</td>'
        f'<td class="baselines">{_listed(row.baselines)}</td></tr>'
    )


def _listed(scores: Sequence[tuple[str, str]]) -> str:
    """Return names with their scores, or a dash."""
    return " · ".join(f"{escape(n)} <b>{escape(score)}</b>" for n, score in scores) or ABSENT


def origin_table(results: Sequence[TaskResult]) -> str:
    """Return the provenance of each task's numbers: counts, hashes and files."""
    columns = (
        "Task",
        "Data",
        "Scored",
        "Seed",
        "Git commit",
        "Configuration",
        "Checkpoint",
        "Result file",
    )
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(map(_origin, results))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _origin(result: TaskResult) -> str:
    record = result.record
    cells: list[Any] = [
        _data(record["data"]),
        f"{record['n_scored']} of {record['n_expected']}",
        record.get("seed"),
        _short(record.get("git_commit")),
        _short(record.get("config_hash")),
        _short(record.get("checkpoint_hash")),
        result.paths[0].as_posix(),
    ]
    data = "".join(f"<td>{escape(_text(cell))}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(result.title)}</th>{data}</tr>'


def _data(data: Mapping[str, Any] | None) -> str:
    """Return name and version of the data."""
    return "version unknown" if data is None else f"{data['name']} version {data['version']}"


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(_text(value) for value in values))


def _text(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _short(value: str | None) -> str | None:
    """First twelve digits of a hash, with git's "-dirty" kept."""
    if value is None:
        return None
    return value[:12] + ("-dirty" if value.endswith("-dirty") else "")
