"""The README's results: for each system the main metric of each task and the strongest baseline.

Scenes have a table of their own: their systems share no task with those of objects.
"""

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
    "demo-votes": "PointBLIP, stage 1 of `make demo` in float32, answers of neighbours",
    "full": "PointBLIP, `make full`",
    "encoder": "Point-BERT encoder alone, `make full`",
    "voxel": "PointBLIP, voxel network and retrieved texts",
    "voxel-retriever": "Text of the nearest object in the voxel network, no language model",
    "voxel-encoder": "Voxel network alone",
    "voxel-words": "Voxel network with words, texts and answers of neighbours",
    "mixcon3d": "MixCon3D, cloud alone",
    "mixcon3d-joint": "MixCon3D, joint vector of cloud and views",
    "mixcon3d-image": "MixCon3D, views alone",
    "point-bind": "Point-Bind, cloud alone",
    "point-llm": "Point-LLM, trained without clouds",
    "point-llm-mixcon3d": "Point-LLM behind MixCon3D, trained without clouds",
    "views-conse": "Rendered views only, image teacher untrained on them (ConSE)",
    "views-head": "Rendered views only, image teacher with a head trained on the training views",
}
SCENE_SYSTEMS = {
    "text4point": "Text4Point, pre-trained on frames (encoder's loss)",
    "text4point-scratch": "Text4Point, from scratch",
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
        split: the one that counts; None: the data set has one of this task.
    """

    label: str
    task: str
    metric: str
    split: str | None = None


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


SCENE_COLUMNS = (
    Column("Classes, mIoU", "segmentation", "scene_miou", "test"),
    Column(
        "All words in rooms of held-out classes, mIoU", "segmentation", "scene_miou", "held_out"
    ),
    Column("Instances, AP50", "instance segmentation", "scene_ap_50", "test"),
    Column("Boxes, mAP@0.25", "detection", "scene_map_25", "test"),
    Column("Sentences, IoU", "referring", "iou", "test"),
)
SCENE_NOTE = (
    "Built-in rooms, layouts and objects of the test split; means over rooms (IoU of sentences: "
    "over sentences)."
)


def systems_table(runs: Sequence[RunRecord]) -> str:
    """Compose the tables of systems, their note and the counts over all claims, as Markdown."""
    claims = table_claims(runs)
    if not claims:
        return "No headline claims yet."
    headline = [claim for claim in claims if claim.run.protocol != "with colour"]
    tasks = {column.task for column in SCENE_COLUMNS}
    scenes = [claim for claim in headline if claim.run.task in tasks]
    objects = [claim for claim in headline if claim.run.task not in tasks]
    parts = [_table(objects, COLUMNS)] if objects else []
    parts += [SCENE_NOTE, _table(scenes, SCENE_COLUMNS)] if scenes else []
    return "\n\n".join([*parts, NOTE, count_text(claims)])


def _table(claims: Sequence[Claim], columns: Sequence[Column]) -> str:
    """Lay out a row for each system of the claims."""
    names = dict.fromkeys(claim.run.name.partition("_")[0] for claim in claims)
    labels = SYSTEMS | SCENE_SYSTEMS
    rows = [[labels.get(name, name), *_cells(name, claims, columns)] for name in names]
    header = ("System", *(column.label for column in columns))
    return markdown_table(header, header[1:], rows)


def _cells(system: str, claims: Sequence[Claim], columns: Sequence[Column]) -> list[str]:
    """Return the cells of a system's row, one for each column."""
    own = [claim for claim in claims if claim.run.name.partition("_")[0] == system]
    return [_cell(_found(own, column)) for column in columns]


def _found(claims: Sequence[Claim], column: Column) -> Claim | None:
    """Return the last claim of a column."""
    wanted = (column.task, column.metric)
    for claim in reversed(claims):
        if (claim.run.task, claim.metric) == wanted and column.split in (None, claim.run.split):
            return claim
    return None


def _cell(claim: Claim | None) -> str:
    if claim is None:
        return ABSENT
    score = f"**{format_value(claim.metric, claim.value)}**"
    if claim.baseline is None:
        return score
    return f"{score}, {format_value(claim.metric, claim.baseline_value)}, {claim.verdict}"
