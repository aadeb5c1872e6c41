"""Recomputation of the alignment study: record, paired texts, and the generated tables."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.recompute.__main__ import check_results
from benchmarks.recompute.runs import Run
from lavis.evaluation.alignment import PairedSets
from lavis.tasks.alignment_experiment import compare_texts, compose
from lavis.tasks.alignment_runs import CONDITIONS, StudyPlan
from lavis.tasks.alignment_words import documentation, update

SEEDS, SIZE, WIDTH = (42, 43, 44), 30, 6
CLOSENESS = {"contrastive": 0.5, "contrastive_center": 0.45, "generative": 0.2, "center": 0.0}


def pairs(closeness, seed):
    """Objects whose share `closeness` is their own text, the rest noise of the seed."""
    texts = np.random.default_rng(0).normal(size=(SIZE, WIDTH))
    noise = np.random.default_rng(seed).normal(size=(SIZE, WIDTH))
    groups = {"color": ["red", "blue"] * (SIZE // 2), "category": ["a", "b", "c"] * (SIZE // 3)}
    return PairedSets(closeness * texts + (1 - closeness) * noise, texts, None, groups)


def scored_run(folder, name, seed):
    """Files of a run on the study's captions."""
    values = np.random.default_rng(seed).random(SIZE)
    items = {"cider": {str(k): float(value) for k, value in enumerate(values)}}
    entry = {"value": float(values.mean()), "ci95": [0.1, 0.9]}
    record = {"task": "point_captioning", "metrics": {"cider": entry}, "baselines": {}}
    result = folder / name / "result"
    result.mkdir(parents=True)
    (result / "test_metrics.json").write_text(json.dumps(record))
    (result / "test_items.json").write_text(json.dumps(items))
    fields = {"split": "test", "alteration": None, "config_hash": name}
    return Run(name, record | fields, [], items)


@pytest.fixture
def study(tmp_path):
    """Published study as the package writes it, and the runs behind its captions."""
    names = ["initial", *(condition.name for condition in CONDITIONS)]
    members = {n: {seed: pairs(CLOSENESS.get(n, 0.0), seed) for seed in SEEDS} for n in names}
    curve = [{"rate": rate, "margin": margin} for rate, margin in ((3e-4, 0.2), (1e-3, 0.1))]
    facts = {c.name: {"rate": 3e-4, "val_curve": curve, "val_margin": 0.1} for c in CONDITIONS}
    runs = [scored_run(tmp_path, name, k) for k, name in enumerate(("contrastive", "generative"))]
    folders = {run.name: tmp_path / run.name for run in runs}
    texts = {kind: compare_texts(folders, "cider", "test") for kind in ("captions", "answers")}
    plan = StudyPlan(tmp_path, rates=(3e-4, 1e-3), split="test", resamples=500)
    record = compose(plan, members, facts, texts, "tokens")
    results = tmp_path / "docs" / "results"
    results.mkdir(parents=True)
    (results / "alignment_study.json").write_text(json.dumps(record))
    document = tmp_path / "docs" / "alignment_study.md"
    document.write_text("<!-- study:begin -->\n<!-- study:end -->\n")
    update(document, documentation(record), check=False)
    return SimpleNamespace(results=results, document=document, runs=runs)


def test_study_agrees_with_its_parts(study):
    rows, absent = check_results(study.results, study.runs)
    assert [row for row in rows if not row.equal] == []
    figures = {row.figure for row in rows}
    # Members, comparisons and texts are groups; table cells are rows of their own.
    assert {"extra members", "extra comparisons", "extra texts"} <= figures
    assert "margin, contrastive loss" in figures
    assert any(figure.endswith("p (Holm)") for figure in figures)
    reasons = {entry.reason for entry in absent}
    assert "needs the embeddings of the study, which no file holds" in reasons


@pytest.mark.parametrize(
    "keys",
    [
        ("extra", "comparisons", 0, "p_holm"),
        ("extra", "comparisons", 1, "holds"),
        ("extra", "members", "center", "seed_sd", "margin"),
        ("extra", "texts", "captions", "difference"),
        ("extra", "members", "generative", "rate"),
        ("metrics", "contrastive/margin", "value"),
    ],
)
def test_changed_figure_of_the_study_is_noticed(study, keys):
    path = study.results / "alignment_study.json"
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    value = place[keys[-1]]
    place[keys[-1]] = not value if isinstance(value, bool) else value + 1e-4
    path.write_text(json.dumps(content))
    rows, _ = check_results(study.results, study.runs)
    assert any(not row.equal and row.file.endswith("test") for row in rows)


def test_changed_digit_in_the_table_of_the_study_is_noticed(study):
    text = study.document.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| centroid distance"))
    digit = row.index(".") + 3
    other = "1" if row[digit] != "1" else "2"
    changed = row[:digit] + other + row[digit + 1 :]
    study.document.write_text(text.replace(row, changed))
    rows, _ = check_results(study.results, study.runs)
    wrong = [row.figure for row in rows if not row.equal]
    assert wrong == ["centroid distance, initial projector"]
