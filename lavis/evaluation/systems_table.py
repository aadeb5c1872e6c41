"""The README's results: for each system the main metric of each task and the strongest baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lavis.evaluation.claims import Claim, table_claims
from lavis.evaluation.formatting import ABSENT, format_value, markdown_table
from lavis.evaluation.run_records import RunRecord
from lavis.evaluation.summary_table import count_text

# Published files are named <system>_<evaluation>.json.
SYSTEMS = {
    "demo": "PointBLIP, `make demo`",
    "full": "PointBLIP, `make full`",
    "encoder": "Point-BERT encoder alone, `make full`",
    "mixcon3d": "MixCon3D, cloud alone",
    "mixcon3d-joint": "MixCon3D, cloud and views",
    "mixcon3d-image": "MixCon3D, views alone",
    "point-bind": "Point-Bind, cloud alone",
    "point-llm": "Point-LLM, trained without clouds",
}
NOTE = (
    "Cells: score, strongest baseline, verdict. A verdict is above or below only where the paired "
    "95% interval of the difference excludes zero and the test is significant after Holm's "
    "correction over all claims, else level. `make demo` scores parts of the splits, so its "
    "baselines differ."
)


@dataclass(frozen=True)
class Column:
    """The main metric of a task.

    Attributes:
        label: head of the column.
        task: in words, as `RunRecord.task`.
        metric: its name in a record.
    """

    label: str
    task: str
    metric: str


COLUMNS = (
    Column("Captioning, CIDEr", "captioning", "cider"),
    Column(
        "Answers without colour, exact match", "question answering", "exact_match/without_color"
    ),
    Column("Prompted classification, top-1", "prompted classification", "top_1"),
    Column("Held-out classes, top-1", "zero-shot (held-out classes)", "top_1"),
    Column("Object to text, R@1", "retrieval", "object_to_text/recall_at_1"),
    Column("Text to object, R@1", "retrieval", "text_to_object/recall_at_1"),
)


def systems_table(runs: Sequence[RunRecord]) -> str:
    """Compose the table of systems, its note and the counts over all claims, as Markdown."""
    claims = table_claims(runs)
    if not claims:
        return "No headline claims yet."
    headline = [claim for claim in claims if claim.run.protocol != "with colour"]
    names = list(dict.fromkeys(claim.run.name.partition("_")[0] for claim in headline))
    rows = [[SYSTEMS.get(name, name), *_cells(name, headline)] for name in names]
    header = ("System", *(column.label for column in COLUMNS))
    return "\n\n".join([markdown_table(header, header[1:], rows), NOTE, count_text(claims)])


def _cells(system: str, claims: Sequence[Claim]) -> list[str]:
    """Return the cells of a system's row, one for each of `COLUMNS`."""
    own = [claim for claim in claims if claim.run.name.partition("_")[0] == system]
    found = {(claim.run.task, claim.metric): claim for claim in own}
    return [_cell(found.get((column.task, column.metric))) for column in COLUMNS]


def _cell(claim: Claim | None) -> str:
    if claim is None:
        return ABSENT
    score = f"**{format_value(claim.metric, claim.value)}**"
    if claim.baseline is None:
        return score
    return f"{score}, {format_value(claim.metric, claim.baseline_value)}, {claim.verdict}"
