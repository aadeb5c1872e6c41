"""Put the alignment studies of several models side by side: one JSON, one PNG, one HTML page.

    python -m lavis.tasks.alignment_compare --out output/point_llm_contrastive/study \
        initial=output/…/initial generative=output/…/generative contrastive=output/…/contrastive

Each member is NAME=FOLDER, the folder of an `alignment_study` evaluation. The first member is what
the others are compared with. Members whose texts lie in the same space as the first's share a
t-SNE; another model (PointBLIP's joint space, say) gets a panel of its own and the same figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError, PointLanguageError, explain
from lavis.evaluation.alignment import LOWER_IS_BETTER, PairedSets, changes
from lavis.evaluation.records import build_metrics_record, write_json_atomic
from lavis.tasks.alignment_pictures import draw_page, draw_png, tsne_panels

HEADLINE = (
    "centroid_distance",
    "avg_cosine_similarity",
    "matched_cosine_similarity",
    "nearest_text_accuracy",
    "object_to_text/recall_at_1",
    "object_to_text/recall_at_10",
    "text_to_object/recall_at_10",
)
DIRECTED = ("centroid_distance", "avg_cosine_similarity")


@dataclass
class Member:
    """One model of the study.

    Attributes:
        name: as given on the command line.
        pairs: its embeddings of the split's objects and texts.
        names: the texts.
        ids: instance ids, sorted.
        record: the metrics record of its evaluation.
    """

    name: str
    pairs: PairedSets
    names: list[str]
    ids: list[str]
    record: dict[str, Any]

    def shares_space(self, other: Member) -> bool:
        """Tell whether both embed the texts alike, so that their objects can be compared."""
        ours, theirs = self.pairs.texts, other.pairs.texts
        return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=1e-4))


def read_member(name: str, folder: str | Path, split: str = "test") -> Member:
    """Read what an `alignment_study` evaluation wrote.

    Raises:
        EvaluationError: the folder holds no such evaluation.
    """
    result = Path(folder) / "result"
    files = result / f"{split}_embeddings.npz", result / f"{split}_metrics.json"
    for path in files:
        if not path.is_file():
            raise EvaluationError(
                explain(
                    "a member of the study was not evaluated",
                    where=name,
                    got=f"no {path}",
                    fix="evaluate it with run.task=alignment_study first",
                )
            )
    with np.load(files[0], allow_pickle=False) as arrays:
        names, ids = arrays["names"].tolist(), arrays["ids"].tolist()
        pairs = PairedSets(arrays["points"], arrays["texts"], names)
    return Member(name, pairs, names, ids, json.loads(files[1].read_text(encoding="utf-8")))


def compare(members: Sequence[Member]) -> dict[str, Any]:
    """Compose the study's record: headline figures of every member, all figures in `extra`.

    Args:
        members: the first one is what the others are compared with.

    Raises:
        EvaluationError: members of different objects.
    """
    first = members[0]
    for member in members[1:]:
        if member.ids != first.ids:
            raise EvaluationError(
                explain(
                    "the members of a study must be evaluated on the same objects",
                    where=member.name,
                    got=f"{len(member.ids)} objects",
                    expected=f"the {len(first.ids)} of {first.name}",
                )
            )
    metrics: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    baselines: dict[str, dict[str, Any]] = {"chance": {}, first.name: {}}
    for member in members:
        figures = member.pairs.metrics()
        metrics |= {f"{member.name}/{figure}": figures[figure] for figure in HEADLINE}
        chance = member.pairs.chance()
        baselines["chance"] |= {f"{member.name}/{k}": v for k, v in chance.items() if k in HEADLINE}
        extra[member.name] = _details(member, first, figures)
        if member is not first and member.shares_space(first):
            start = first.pairs.plain()
            baselines[first.name] |= {f"{member.name}/{k}": start[k] for k in HEADLINE}
    source = first.record
    details: dict[str, Any] = {"members": extra, "pairwise": _pairwise(members[1:])}
    record = build_metrics_record(
        task="alignment_study",
        split=source["split"],
        metrics=metrics,
        baselines=baselines,
        n_expected=len(first.ids),
        n_scored=len(first.ids),
        config_hash=source["config_hash"],
        git_commit=source["git_commit"],
        seed=source["seed"],
        checkpoint_hash=None,  # each member's own is in extra
        extra=details,
    )
    return {**record, "extra": {**record["extra"], "verdict": verdict(dict(record))}}


def _details(member: Member, first: Member, figures: dict[str, Any]) -> dict[str, Any]:
    """All figures of a member, where they come from, and their change from the first member."""
    details = {
        "figures": figures,
        "checkpoint_hash": member.record["checkpoint_hash"],
        "config_hash": member.record["config_hash"],
        "trained_steps": member.record["extra"].get("trained_steps"),
        "published_token_level": member.record["extra"].get("published_token_level"),
    }
    if member is not first and member.shares_space(first):
        details[f"change_from_{first.name}"] = changes(first.pairs, member.pairs)
    return details


def _pairwise(members: Sequence[Member]) -> dict[str, Any]:
    """Headline differences between trained members that share a space, second - first."""
    found = {}
    for index, member in enumerate(members):
        for other in members[index + 1 :]:
            if member.shares_space(other):
                difference = changes(member.pairs, other.pairs)
                key = f"{other.name} - {member.name}"
                found[key] = {figure: difference[figure] for figure in HEADLINE}
    return found


def verdict(record: dict[str, Any], first: str = "generative", second: str = "contrastive") -> str:
    """Say in two sentences which of two losses wins at what; the README quotes them.

    A win needs a paired 95% interval without zero. Records without both members give "".
    """
    differences = record["extra"]["pairwise"].get(f"{second} - {first}")
    if differences is None:
        return ""
    wins: dict[str, list[str]] = {first: [], second: []}
    for figure, entry in differences.items():
        low, high = entry["ci95"]
        if low <= 0 <= high:
            continue
        better = (high < 0) == (figure in LOWER_IS_BETTER)
        winner, loser = (second, first) if better else (first, second)
        wins[winner].append(_compared(record, figure, winner, loser))
    moved = {name: _moved(record, name) for name in (first, second)}
    return (
        f"On {record['n_scored']} held-out objects the {second} loss wins at "
        f"{_listed(wins[second])}, the {first} loss at {_listed(wins[first])}. "
        f"From the initial projector the {second} loss moves {moved[second]} the right way, "
        f"the {first} loss {moved[first]} (95% intervals without zero)."
    )


def _compared(record: dict[str, Any], figure: str, winner: str, loser: str) -> str:
    values = [record["metrics"][f"{name}/{figure}"]["value"] for name in (winner, loser)]
    chance = record["baselines"]["chance"].get(f"{winner}/{figure}")
    shown = [f"{100 * v:.1f}%" if chance is not None else f"{v:.3f}" for v in values]
    beside = f", chance {100 * chance:.1f}%" if chance is not None else ""
    title = figure.replace("avg", "average").replace("_", " ").replace("/", ", ")
    return f"{title} ({shown[0]} against {shown[1]}{beside})"


def _moved(record: dict[str, Any], name: str) -> str:
    """Which of centroid distance and average cosine improved from the initial projector."""
    details = record["extra"]["members"][name]
    changes = [v for k, v in details.items() if k.startswith("change_from_")]
    change: dict[str, Any] = changes[0] if changes else {}
    right = []
    for figure in DIRECTED if change else ():
        low, high = change[figure]["ci95"]
        if (high < 0) if figure in LOWER_IS_BETTER else (low > 0):
            right.append(figure.replace("avg", "average").replace("_", " "))
    return _listed(right) if right else "neither centroid distance nor average cosine similarity"


def _listed(parts: list[str]) -> str:
    if not parts:
        return "none of the figures"
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: writes alignment_study.{json,html} and tsne_comparison_all.png."""
    parser = argparse.ArgumentParser(
        prog="python -m lavis.tasks.alignment_compare", description=__doc__.split("\n")[0]
    )
    parser.add_argument("members", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder of the three files")
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, default=50, help="objects in the pictures")
    options = parser.parse_args(arguments)
    try:
        named = [entry.partition("=") for entry in options.members]
        members = [read_member(name, folder, options.split) for name, _, folder in named]
        record = compare(members)
        panels = tsne_panels(members, options.samples)
        options.out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(options.out / "alignment_study.json", record)
        draw_png(panels, options.out / "tsne_comparison_all.png")
        draw_page(panels, record, options.out / "alignment_study.html")
    except PointLanguageError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(record["extra"]["verdict"] or "written")
    print(f"study written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
