"""The alignment study: five ways to train a projector, which differ in the loss alone.

    python -m lavis.tasks.alignment_experiment --out output/point_llm_contrastive/study
    CPU-sized: python -m lavis.tasks.alignment_experiment --out output/quick --quick

Losses (generative, contrastive) x centre term (0, 1), and the centre term alone, which uses
no pairs: equal batch size, steps, objects and their order, and equal start for each seed. The
learning rate of each condition is chosen on the validation split by the margin, with the first
seed. Finished runs are found and not repeated. Writes alignment_study.{json,html} and
tsne_comparison_all.png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.errors import EvaluationError, PointLanguageError
from lavis.common.registry import registry
from lavis.evaluation.alignment import PairedSets
from lavis.evaluation.intervals import paired_bootstrap
from lavis.evaluation.read_records import read_json
from lavis.evaluation.records import build_metrics_record, git_commit, write_json_atomic
from lavis.models.point_llm_contrastive_models.checkpoints import INITIAL_FILE, load_projector
from lavis.models.point_llm_contrastive_models.point_llm_contrastive import PointLLMContrastive
from lavis.tasks.alignment_compare import Member
from lavis.tasks.alignment_pictures import draw_page, draw_png, tsne_panels
from lavis.tasks.alignment_results import (
    HEADLINE,
    compare_members,
    describe_member,
    draw_figures,
)
from lavis.tasks.alignment_runs import (
    CONDITIONS,
    INITIAL,
    Condition,
    StudyPlan,
    answer_runs,
    caption_run,
    complete,
    training_run,
)
from lavis.tasks.alignment_study import GROUP_KEYS
from lavis.tasks.alignment_tokens import Objects, prepare_tokens
from lavis.tasks.alignment_words import verdict

QUICK = StudyPlan(
    Path(),
    seeds=(42,),
    rates=(1e-3,),
    steps=2,
    batch_size=8,
    qa_steps=2,
    qa_limit=8,
    resamples=200,
)
TEXT_METRICS = {"captions": "cider", "answers": "exact_match"}
EMBED_BATCH = 256
Members = dict[str, dict[int, PairedSets]]


@dataclass
class Study:
    """The model of a study and its objects.

    Attributes:
        plan: the runs.
        model: reads the cached tokens; its projector is replaced for every evaluation.
        objects: {split: {"object_id", "text", "color", "category"}}.
        tokens: identity of the token cache.
        data: version of the data, None where it has none.
        trained: folders of the runs that were completed or found, by name.
    """

    plan: StudyPlan
    model: PointLLMContrastive
    objects: dict[str, Objects]
    tokens: str
    data: dict[str, Any] | None = None
    trained: dict[str, Path] = field(default_factory=dict)

    def train(self, condition: Condition, rate: float, seed: int) -> Path:
        """Train unless finished; returns the run's folder."""
        run = training_run(self.plan, condition, rate, seed)
        if run.name not in self.trained:
            self.trained[run.name] = complete(self.plan, run, self.tokens)
        return self.trained[run.name]

    @torch.no_grad()
    def embed(self, projector: Path, split: str, steps: int | None = None) -> PairedSets:
        """Embed a split with a trained projector.

        Args:
            projector: its file.
            split: of the token cache.
            steps: that the file must have been trained for; None does not check.

        Raises:
            EvaluationError: another number of steps, so updates would not be equal.
        """
        load_projector(self.model, projector, "alignment_experiment")
        if steps is not None and self.model.trained_steps != steps:
            raise EvaluationError(
                "conditions must be trained for equally many steps",
                where=str(projector),
                got=self.model.trained_steps,
                expected=steps,
                fix="delete the run's folder and start the study again",
            )
        objects = self.objects[split]
        ids, texts = objects["object_id"], objects["text"]
        starts = range(0, len(ids), EMBED_BATCH)
        points = [self.model.mean_tokens({"object_id": ids[s : s + EMBED_BATCH]}) for s in starts]
        words = [self.model.mean_words(texts[s : s + EMBED_BATCH]) for s in starts]
        groups = {key: objects[key] for key in GROUP_KEYS if key in objects}
        return PairedSets(torch.cat(points).numpy(), torch.cat(words).numpy(), texts, groups)


def choose_rate(study: Study, condition: Condition) -> tuple[float, list[dict[str, float]]]:
    """Train at every rate with the first seed; the largest validation margin decides.

    Returns:
        The rate (of equal ones the lowest), and the headline figures at every rate.
    """
    plan, curve = study.plan, []
    for rate in plan.rates:
        folder = study.train(condition, rate, plan.seeds[0])
        pairs = study.embed(folder / "checkpoint_last.pth", plan.val_split, plan.steps)
        found = pairs.plain()
        curve.append({"rate": rate, **{name: found[name] for name in HEADLINE if name in found}})
    best = max(curve, key=lambda point: (point["margin"], -point["rate"]))
    return best["rate"], curve


def run_conditions(study: Study) -> tuple[Members, dict[str, dict[str, Any]]]:
    """Choose all rates, train all seeds, embed the reported split.

    Returns:
        {member: {seed: embeddings}} with the initial projector first; {condition: facts} with
        `rate`, `val_curve`, `val_margin` and the `folders` of the runs.
    """
    plan = study.plan
    members: Members = {INITIAL: {}}
    facts: dict[str, dict[str, Any]] = {}
    for condition in CONDITIONS:
        rate, curve = choose_rate(study, condition)
        folders = {seed: study.train(condition, rate, seed) for seed in plan.seeds}
        last = {seed: folder / "checkpoint_last.pth" for seed, folder in folders.items()}
        members[condition.name] = {
            seed: study.embed(path, plan.split, plan.steps) for seed, path in last.items()
        }
        val = [study.embed(path, plan.val_split).plain()["margin"] for path in last.values()]
        facts[condition.name] = {
            "rate": rate,
            "val_curve": curve,
            "val_margin": float(np.mean(val)),
            "folders": folders,
        }
    starts = {name: fact["folders"] for name, fact in facts.items()}
    for seed in plan.seeds:
        files = {name: folders[seed] / INITIAL_FILE for name, folders in starts.items()}
        check_equal_start(files)
        members[INITIAL][seed] = study.embed(next(iter(files.values())), plan.split)
    return members, facts


def check_equal_start(files: Mapping[str, Path]) -> None:
    """Make sure that every condition started from the same projector.

    Raises:
        EvaluationError: names the first that did not.
    """
    states = {name: torch.load(path, weights_only=True) for name, path in files.items()}
    first = next(iter(states.values()))["projector_state_dict"]
    for name, state in states.items():
        own = state["projector_state_dict"]
        if own.keys() != first.keys() or any(not torch.equal(own[k], first[k]) for k in first):
            raise EvaluationError(
                "conditions must start from the same projector",
                where=f"{name}: {files[name]}",
                expected=f"the weights of {next(iter(states))}",
                fix="delete the runs and start the study again",
            )


def run_texts(study: Study, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Captions and answers behind both losses' projectors, first seed, paired by item.

    Each loss takes part with the centre setting of the larger validation margin.

    Returns:
        {"captions": {…}, "answers": {…}}, and `members`, the chosen conditions.
    """
    plan, seed = study.plan, study.plan.seeds[0]
    chosen, folders = {}, {}
    for loss in ("contrastive", "generative"):
        own = [c.name for c in CONDITIONS if c.loss_type == loss]
        chosen[loss] = max(own, key=lambda name: facts[name]["val_margin"])
        checkpoint = facts[chosen[loss]]["folders"][seed] / "checkpoint_last.pth"
        captions = complete(plan, caption_run(plan, loss, checkpoint), study.tokens)
        answers = [complete(plan, r, study.tokens) for r in answer_runs(plan, loss, checkpoint)]
        folders[loss] = {"captions": captions, "answers": answers[-1]}
    found: dict[str, Any] = {"members": chosen, "seed": seed}
    for kind, metric in TEXT_METRICS.items():
        own_folders = {loss: folders[loss][kind] for loss in folders}
        found[kind] = compare_texts(own_folders, metric, plan.split)
    return found


def compare_texts(folders: Mapping[str, Path], metric: str, split: str) -> dict[str, Any]:
    """Scores of the contrastive and the generative projector and their paired difference.

    Args:
        folders: {"contrastive": …, "generative": …} of evaluations of the same items.
        metric: a metric with per-item values.
        split: that was evaluated.
    """
    results = {loss: folder / "result" for loss, folder in folders.items()}
    records = {loss: read_json(r / f"{split}_metrics.json") for loss, r in results.items()}
    items = {loss: read_json(r / f"{split}_items.json")[metric] for loss, r in results.items()}
    names = sorted(items["contrastive"])
    values = [[items[loss][name] for name in names] for loss in ("contrastive", "generative")]
    paired = paired_bootstrap(*values)
    scores = {loss: record["metrics"][metric] for loss, record in records.items()}
    baselines = {name: row.get(metric) for name, row in records["contrastive"]["baselines"].items()}
    return {
        "metric": metric,
        **scores,
        "baselines": baselines,
        "difference": paired.difference,
        "ci95": list(paired.ci95),
        "p": paired.p_value,
        "n": paired.n,
    }


def compose(
    plan: StudyPlan,
    members: Members,
    facts: Mapping[str, Mapping[str, Any]],
    texts: dict[str, Any] | None,
    tokens: str,
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Compose the study's record: headline figures as metrics, everything else in `extra`."""
    draws = draw_figures(members, plan.resamples)
    details = {name: describe_member(own, draws[name]) for name, own in members.items()}
    for name, fact in facts.items():
        details[name] |= {key: fact[key] for key in ("rate", "val_curve", "val_margin")}
    metrics = {
        f"{name}/{figure}": detail["figures"][figure]
        for name, detail in details.items()
        for figure in HEADLINE
        if figure in detail["figures"]
    }
    first = members[INITIAL][plan.seeds[0]]
    chance = first.chance()
    beside = {
        f"{name}/{figure}": chance[figure]
        for name in details
        for figure in HEADLINE
        if figure in chance
    }
    record = build_metrics_record(
        task="alignment_study",
        split=plan.split,
        metrics=metrics,
        baselines={"chance": beside},
        n_expected=len(first.points),
        n_scored=len(first.points),
        config_hash=tokens,
        git_commit=git_commit(registry.get_path("repo_root")),
        seed=plan.seeds[0],
        checkpoint_hash=None,
        data=data,
        extra={
            "protocol": protocol(plan),
            "members": details,
            "chance": chance,
            "comparisons": compare_members(members, draws),
            "texts": texts,
        },
    )
    return {**record, "extra": {**record["extra"], "verdict": verdict(dict(record))}}


def protocol(plan: StudyPlan) -> dict[str, Any]:
    """What a reader needs to repeat the study."""
    keys = ("seeds", "rates", "steps", "batch_size", "qa_steps", "val_split", "limits", "qa_limit")
    return {key: getattr(plan, key) for key in (*keys, "resamples")} | {
        "selected_by": "margin on the validation split, first seed"
    }


def draw(plan: StudyPlan, members: Members, record: dict[str, Any], objects: Objects) -> None:
    """Write the pictures of the first seed."""
    seed, ids, texts = plan.seeds[0], objects["object_id"], objects["text"]
    shown = [Member(name, own[seed], texts, ids, record) for name, own in members.items()]
    panels = tsne_panels(shown)
    draw_png(panels, plan.out / "tsne_comparison_all.png")
    draw_page(panels, record, plan.out / "alignment_study.html")


def run_study(plan: StudyPlan, with_texts: bool = True) -> dict[str, Any]:
    """Run or finish the study; writes its files and returns its record."""
    study = Study(plan, *prepare_tokens(plan))
    members, facts = run_conditions(study)
    texts = run_texts(study, facts) if with_texts else None
    record = compose(plan, members, facts, texts, study.tokens, study.data)
    write_json_atomic(plan.out / "alignment_study.json", record)
    draw(plan, members, record, study.objects[plan.split])
    return record


def parse_plan(arguments: Sequence[str] | None) -> tuple[StudyPlan, bool]:
    """Read the command line: the plan, and whether captions and answers are run."""
    parser = argparse.ArgumentParser(
        prog="python -m lavis.tasks.alignment_experiment", description=__doc__.split("\n")[0]
    )
    quick = "--quick" in (sys.argv[1:] if arguments is None else arguments)
    default = QUICK if quick else StudyPlan(Path())
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--quick", action="store_true", help="minutes; figures mean nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=default.seeds)
    parser.add_argument("--rates", type=float, nargs="+", default=default.rates)
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--qa-steps", type=int, default=default.qa_steps)
    parser.add_argument("--qa-limit", type=int, default=default.qa_limit)
    parser.add_argument("--val-split", default=default.val_split)
    parser.add_argument("--split", default=default.split, help="where figures are reported")
    parser.add_argument("--no-texts", action="store_true", help="without captions and answers")
    given = parser.parse_args(arguments)
    limits = {"train": 64, given.val_split: 32, given.split: 24} if quick else {}
    plan = StudyPlan(
        out=given.out.resolve(),
        seeds=tuple(given.seeds),
        rates=tuple(sorted(given.rates)),
        steps=given.steps,
        batch_size=given.batch_size,
        qa_steps=given.qa_steps,
        val_split=given.val_split,
        split=given.split,
        limits=limits,
        qa_limit=given.qa_limit,
        resamples=default.resamples,
    )
    return plan, not given.no_texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the study is complete, 2 when it could not be."""
    plan, with_texts = parse_plan(arguments)
    try:
        record = run_study(plan, with_texts)
    except PointLanguageError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(record["extra"]["verdict"])
    print(f"study written to {plan.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
