"""Put the alignment studies of several models side by side: one JSON, one PNG, one HTML page.

    python -m lavis.tasks.alignment_compare --out output/point_llm_contrastive/study \
        initial=output/…/initial contrastive=output/…/contrastive point_blip=output/…/point_blip

Each member is NAME=FOLDER, the folder of an `alignment_study` evaluation. The first member is what
the others are compared with. Members whose texts lie in the same space as the first's share a
t-SNE; another model (PointBLIP's joint space, say) gets a panel of its own and the same figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError, PointLanguageError
from lavis.evaluation.alignment import PairedSets, changes
from lavis.evaluation.records import build_metrics_record, write_json_atomic
from lavis.tasks.alignment_pictures import draw_page, draw_png, tsne_panels
from lavis.tasks.alignment_study import GROUP_KEYS

HEADLINE = (
    "margin",
    "object_to_text/recall_at_1",
    "text_to_object/recall_at_1",
    "centroid_distance",
    "avg_cosine_similarity",
    "matched_cosine_similarity",
)
GROUPED = ("within_color/recall_at_1", "within_category/recall_at_1")  # where objects have groups


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
        """Return whether both have the same text embeddings, so that objects are comparable."""
        ours, theirs = self.pairs.texts, other.pairs.texts
        return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, atol=1e-4))


def read_member(name: str, folder: str | Path, split: str = "dev_test") -> Member:
    """Read what an `alignment_study` evaluation wrote.

    Raises:
        EvaluationError: the folder holds no such evaluation.
    """
    result = Path(folder) / "result"
    files = result / f"{split}_embeddings.npz", result / f"{split}_metrics.json"
    for path in files:
        if not path.is_file():
            raise EvaluationError(
                "a member of the study was not evaluated",
                where=name,
                got=f"no {path}",
                fix="evaluate it with run.task=alignment_study first",
            )
    with np.load(files[0], allow_pickle=False) as arrays:
        names, ids = arrays["names"].tolist(), arrays["ids"].tolist()
        groups = {key: arrays[key].tolist() for key in GROUP_KEYS if key in arrays}
        pairs = PairedSets(arrays["points"], arrays["texts"], names, groups)
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
                "the members of a study must be evaluated on the same objects",
                where=member.name,
                got=f"{len(member.ids)} objects",
                expected=f"the {len(first.ids)} of {first.name}",
            )
    metrics: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    baselines: dict[str, dict[str, Any]] = {"chance": {}, first.name: {}}
    for member in members:
        figures = member.pairs.metrics()
        metrics |= {f"{member.name}/{k}": figures[k] for k in headline(figures)}
        chance = member.pairs.chance()
        baselines["chance"] |= {f"{member.name}/{k}": chance[k] for k in headline(chance)}
        extra[member.name] = _details(member, first, figures)
        if member is not first and member.shares_space(first):
            start = first.pairs.plain()
            baselines[first.name] |= {f"{member.name}/{k}": start[k] for k in headline(start)}
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
        data=source.get("data"),
        checkpoint_hash=None,  # each member's own is in extra
        extra=details,
    )
    return {**record, "extra": {**record["extra"], "verdict": verdict(dict(record))}}


def headline(figures: Mapping[str, Any]) -> list[str]:
    """Names of the headline figures that there are."""
    return [name for name in (*HEADLINE, *GROUPED) if name in figures]


def _details(member: Member, first: Member, figures: dict[str, Any]) -> dict[str, Any]:
    """Return all figures of a member, their sources, and their change from the first member."""
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
                found[key] = {figure: difference[figure] for figure in headline(difference)}
    return found


def verdict(record: dict[str, Any]) -> str:
    """Say which of each two trained members of one space has the larger margin.

    A difference counts where its paired 95% interval excludes zero. Records without two such
    members give "".
    """
    sentences = []
    for pair, differences in record["extra"]["pairwise"].items():
        second, first = pair.split(" - ")
        low, high = differences["margin"]["ci95"]
        shown = f"{differences['margin']['value']:.3f} [{low:.3f}, {high:.3f}]"
        if low <= 0 <= high:
            sentences.append(f"No difference in margin between {first} and {second} ({shown}).")
        else:
            larger, other = (second, first) if low > 0 else (first, second)
            sentences.append(f"{larger} has a larger margin than {other} ({pair}: {shown}).")
    return " ".join(sentences)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: writes alignment_study.{json,html} and tsne_comparison_all.png."""
    parser = argparse.ArgumentParser(
        prog="python -m lavis.tasks.alignment_compare", description=__doc__.split("\n")[0]
    )
    parser.add_argument("members", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder of the three files")
    parser.add_argument("--split", default="dev_test")
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
