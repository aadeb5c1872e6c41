"""The alignment study: equal conditions, rates, seeds, statistics, and what its sentences claim."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, EvaluationError
from lavis.evaluation.alignment import PairedSets
from lavis.tasks import alignment_experiment, alignment_runs, alignment_words
from lavis.tasks.alignment_experiment import (
    Study,
    check_equal_start,
    choose_rate,
    compare_texts,
    compose,
    parse_plan,
)
from lavis.tasks.alignment_results import compare_members, draw_figures
from lavis.tasks.alignment_runs import (
    CONDITIONS,
    PROJECT,
    Run,
    StudyPlan,
    answer_runs,
    complete,
    training_run,
)
from lavis.tasks.alignment_words import NOT_RUN, documentation, verdict

SEEDS = (42, 43, 44)
SIZE = 40


def pairs(closeness: float, seed: int, width: int = 8) -> PairedSets:
    """Objects whose share `closeness` is their own text, the rest noise of the seed."""
    texts = np.random.default_rng(0).normal(size=(SIZE, width))
    noise = np.random.default_rng(seed).normal(size=(SIZE, width))
    groups = {"color": ["red", "blue"] * (SIZE // 2), "category": ["brick", "plate"] * (SIZE // 2)}
    return PairedSets(closeness * texts + (1 - closeness) * noise, texts, None, groups)


def study_members(**closeness: float) -> dict[str, dict[int, PairedSets]]:
    """All members of a study with the given closeness; 0 for those not given."""
    names = ["initial", *(condition.name for condition in CONDITIONS)]
    return {n: {seed: pairs(closeness.get(n, 0.0), seed) for seed in SEEDS} for n in names}


def study_record(plan: StudyPlan, **closeness: float) -> dict:
    curve = [{"rate": 1e-3, "margin": 0.1, "within_color/recall_at_1": 0.2}]
    facts = {c.name: {"rate": 1e-3, "val_curve": curve, "val_margin": 0.1} for c in CONDITIONS}
    return compose(plan, study_members(**closeness), facts, None, "tokens")


@pytest.fixture
def plan(tmp_path: Path) -> StudyPlan:
    return StudyPlan(tmp_path, rates=(1e-3,), split="test", resamples=1000)


def test_recipes_of_the_conditions_differ_in_the_loss_alone(repo_root):
    found = []
    for loss in ("generative", "contrastive", "center"):
        path = repo_root / PROJECT / f"train/stage1_{loss}.yaml"
        recipe = OmegaConf.to_container(OmegaConf.load(path))
        assert recipe["model"].pop("loss_type") == loss
        assert recipe["run"].pop("job_id").endswith(loss)
        # A factor on two tokens that the other losses do not train.
        assert recipe["run"].pop("lr_multipliers", {}).keys() <= {"boundary_tokens"}
        found.append(recipe)
    assert found[0] == found[1] == found[2]


def test_runs_of_a_seed_differ_in_loss_centre_and_rate_alone(plan):
    options = [set(training_run(plan, c, 1e-3, 43).options) for c in CONDITIONS]
    for own in options:
        assert {o.split("=")[0] for o in own ^ options[0]} <= {"model.center_weight"}
    assert {"run.seed=43", "model.projector_seed=43", "run.max_steps=80"} <= options[0]


def test_a_finished_run_is_not_repeated_and_other_settings_are_refused(plan, monkeypatch):
    started = []
    monkeypatch.setattr(alignment_runs, "_start", lambda plan, run: started.append(run.name))
    run = training_run(plan, CONDITIONS[0], 1e-3, 42)
    assert complete(plan, run, "tokens") == complete(plan, run, "tokens")
    assert started == [run.name]
    for other, tokens in ((run, "other tokens"), (Run(run.name, "train.py", run.recipe, ()), "t")):
        with pytest.raises(ConfigError, match="other settings"):
            complete(plan, other, tokens)


def test_a_failed_run_is_named_and_starts_again(plan, monkeypatch):
    monkeypatch.setattr(alignment_runs.sys, "executable", "false")
    run = training_run(plan, CONDITIONS[0], 1e-3, 42)
    with pytest.raises(EvaluationError, match=run.name):
        complete(plan, run, "tokens")
    monkeypatch.setattr(alignment_runs, "_start", lambda plan, run: None)
    assert json.loads((complete(plan, run, "tokens") / "study_run.json").read_text())["finished"]


def test_both_losses_get_the_same_training_on_questions(plan, tmp_path):
    first, second = (answer_runs(plan, loss, tmp_path / "c.pth") for loss in ("a", "b"))
    assert first[0].options == second[0].options
    assert f"model.token_cache={plan.tokens}" in first[0].options


def test_the_rate_with_the_largest_validation_margin_is_chosen(tmp_path, monkeypatch):
    plan = StudyPlan(tmp_path, rates=(1e-4, 1e-3, 1e-2))
    closeness = {1e-4: 0.1, 1e-3: 0.6, 1e-2: 0.3}
    seen = []

    def embed(self, projector, split, steps=None):
        seen.append((split, steps))
        return pairs(closeness[float(projector.parent.name)], 1)

    monkeypatch.setattr(Study, "train", lambda self, c, rate, seed: tmp_path / f"{rate}")
    monkeypatch.setattr(Study, "embed", embed)
    rate, curve = choose_rate(Study(plan, None, {}, ""), CONDITIONS[0])
    assert rate == 1e-3
    assert [point["rate"] for point in curve] == [1e-4, 1e-3, 1e-2]
    assert set(seen) == {("val", plan.steps)}  # never the reported split


def test_conditions_with_another_start_are_refused(tmp_path):
    files = {}
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        files[name] = tmp_path / name
        torch.save({"projector_state_dict": {"w": torch.tensor([value])}}, files[name])
    check_equal_start({name: files[name] for name in ("a", "b")})
    with pytest.raises(EvaluationError, match="same projector"):
        check_equal_start(files)


def test_differences_are_paired_over_objects_and_averaged_over_seeds():
    members = study_members(contrastive=0.6, generative=0.2)
    draws = draw_figures(members, 400)
    found = compare_members(members, draws)
    entry = next(e for e in found if e["figure"] == "margin" and e["first"] == "contrastive")
    gaps = []
    for seed in SEEDS:
        own, other = (members[n][seed].per_object["margin"] for n in ("contrastive", "generative"))
        gaps.append((own - other).mean())
    assert entry["second"] == "generative"
    assert entry["difference"] == pytest.approx(np.mean(gaps))
    assert list(entry["per_seed"].values()) == pytest.approx(gaps)
    assert entry["holds"]
    assert entry["ci95"][0] > 0
    assert all(e["p_holm"] >= e["p"] for e in found)


def test_equal_members_hold_no_difference():
    members = study_members()
    found = compare_members(members, draw_figures(members, 200))
    assert {e["family"] for e in found} == {"headline", "set_level"}
    assert not any(e["holds"] for e in found)
    assert all(e["difference"] == 0.0 for e in found)


def test_seeds_that_disagree_hold_no_difference():
    members = study_members(contrastive=0.9)
    members["contrastive"][44], members["generative"][44] = pairs(0.0, 7), pairs(0.2, 7)
    found = compare_members(members, draw_figures(members, 200))
    entry = next(e for e in found if e["figure"] == "margin" and e["first"] == "contrastive")
    assert entry["ci95"][0] > 0
    assert not entry["holds"]


def test_the_record_reports_seeds_intervals_and_chance(plan):
    record = study_record(plan, contrastive=0.6)
    member = record["extra"]["members"]["contrastive"]
    per_seed = [member["seeds"][str(seed)]["margin"] for seed in SEEDS]
    assert member["figures"]["margin"]["value"] == pytest.approx(np.mean(per_seed))
    assert member["seed_sd"]["margin"] == pytest.approx(np.std(per_seed, ddof=1))
    assert record["metrics"]["contrastive/margin"]["ci95"][0] > 0
    chance = record["baselines"]["chance"]["initial/within_color/recall_at_1"]
    assert chance == pytest.approx(1 / 20)
    assert record["extra"]["protocol"]["steps"] == plan.steps
    assert json.loads(json.dumps(record)) == record


def test_sentences_name_a_winner_only_where_the_difference_holds(plan):
    said = verdict(study_record(plan, contrastive=0.7, generative=0.1))
    assert "the contrastive loss has the larger one" in said
    assert said.count("has the larger one") == 2  # margin and recall; with the centre term neither
    assert said.count("no difference is established") == 2
    assert "has the larger" not in verdict(study_record(plan))


def test_sentences_say_what_the_control_improves(plan):
    record = study_record(plan)
    assert "improves no set-level figure" in verdict(record)
    entries = record["extra"]["comparisons"]
    entry = next(e for e in entries if e["first"] == "center" and "centroid" in e["figure"])
    entry |= {"difference": -1.0, "holds": True}
    said = verdict(record)
    assert "improves centroid distance from" in said
    assert "no evidence of alignment" in said


def test_captions_and_answers_are_compared_item_by_item(tmp_path, write_json, plan):
    values = {"contrastive": [1.0, 0.0, 1.0, 1.0], "generative": [0.0, 0.0, 1.0, 0.0]}
    folders = {}
    for loss, items in values.items():
        folders[loss] = tmp_path / loss
        result = folders[loss] / "result"
        named = {str(k): value for k, value in enumerate(items)}
        write_json(result / "test_items.json", {"exact_match": named})
        score = {"value": float(np.mean(items)), "ci95": [0.0, 1.0]}
        content = {"metrics": {"exact_match": score}, "baselines": {"chance": {"exact_match": 0.1}}}
        write_json(result / "test_metrics.json", content)
    entry = compare_texts(folders, "exact_match", "test")
    assert entry["difference"] == pytest.approx(0.5)
    assert entry["baselines"] == {"chance": 0.1}
    record = study_record(plan)
    record["extra"]["texts"] = {"captions": entry, "answers": entry | {"ci95": [0.3, 0.7], "p": 0}}
    said = verdict(record)
    assert "difference 50.0 [" in said
    # An interval without zero and p = 0 make no claim: the test is in no corrected family.
    assert "difference 50.0% [30.0%, 70.0%], which is not among the declared" in said
    assert said.count("supports no claim") == 2
    assert "better" not in said


def test_documentation_comes_from_the_record(plan, tmp_path, write_json):
    record = study_record(plan, contrastive=0.7)
    write_json(tmp_path / "docs/results/alignment_study.json", record)
    page = tmp_path / "docs/alignment_study.md"
    page.write_text("# Page\n<!-- study:begin -->\nold\n<!-- study:end -->\n")
    command = ["--root", str(tmp_path)]
    assert alignment_words.main([*command, "--check"]) == 1
    assert alignment_words.main(command) == 0
    assert alignment_words.main([*command, "--check"]) == 0
    text = page.read_text()
    value = record["extra"]["members"]["contrastive"]["figures"]["margin"]["value"]
    assert f"{value:.3f}" in text
    assert documentation(record) in text


def test_an_earlier_study_is_not_quoted():
    assert documentation(None) == NOT_RUN
    assert verdict({"extra": {"verdict": "the contrastive loss wins"}}) == NOT_RUN


def test_the_documentation_is_up_to_date():
    assert alignment_words.main(["--check"]) == 0


def test_pictures_and_record_are_written(plan, monkeypatch):
    members = study_members(contrastive=0.5)
    record = study_record(plan, contrastive=0.5)
    objects = {"object_id": [str(k) for k in range(SIZE)], "text": ["t"] * SIZE}
    alignment_experiment.draw(plan, members, record, objects)
    assert (plan.out / "tsne_comparison_all.png").read_bytes()[:4] == b"\x89PNG"
    page = (plan.out / "alignment_study.html").read_text()
    assert "generative_center" in page
    assert "{{" not in page


def test_the_command_line_describes_the_plan(tmp_path):
    plan, with_texts = parse_plan(["--out", str(tmp_path), "--rates", "1e-2", "1e-4"])
    assert (plan.rates, plan.seeds, plan.limits, with_texts) == ((1e-4, 1e-2), SEEDS, {}, True)
    quick, with_texts = parse_plan(["--out", "x", "--quick", "--split", "test", "--no-texts"])
    assert quick.limits == {"train": 64, "val": 32, "test": 24}
    assert quick.steps < 10
    assert not with_texts


def test_a_missing_split_is_named(tmp_path, monkeypatch, capsys):
    def refuse(plan):
        raise ConfigError("no such split")

    monkeypatch.setattr(alignment_experiment, "prepare_tokens", refuse)
    assert alignment_experiment.main(["--out", str(tmp_path)]) == 2
    assert "no such split" in capsys.readouterr().err
