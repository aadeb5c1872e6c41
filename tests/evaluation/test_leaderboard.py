"""The leaderboard: one row per system and baseline, budgets from logs, and what is not done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.inference_cost import load_inference
from lavis.evaluation.leaderboard import leaderboard, main
from lavis.evaluation.run_records import load_records
from lavis.evaluation.training_cost import load_costs, read_cost, write_cost


@pytest.fixture
def results(tmp_path, table_records):
    """Results of a demo and of the views alone."""
    pairs = {f"{a}/recall_at_1": {"value": v, "ci95": None} for a, v in (("text_to_image", 0.2),)}
    top = {"top_1": {"value": 0.3, "ci95": [0.2, 0.4]}}
    baselines = {"chance": {"top_1": 0.02}, "nearest_box": {"top_1": 0.31}}
    prompted = {"extra": {"protocol": "prompted"}}
    folder = tmp_path / "results"
    folder.mkdir()
    classified = table_records.record("point_classification", top, baselines, **prompted)
    table_records.write(
        folder,
        **{
            "demo_captioning": table_records.captioning(),
            "demo_classification": classified,
            "views-conse_pairs": table_records.record("modality_retrieval", pairs),
        },
    )
    return folder


@pytest.fixture
def job(tmp_path):
    """Return a function that writes the folder of a job of so many launches."""

    def make(name, *ends, finished=True):
        rows = [{"kind": "start", "global_batch": 8, "device": "cpu"}]
        rows += [{"kind": "train", "memory_gb": 1.25}, {"kind": "train", "memory_gb": 2.5}]
        for step, seconds in ends:
            rows.append(
                {"kind": "end", "global_step": step, "seconds": seconds, "finished": finished}
            )
        (tmp_path / name).mkdir()
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / name / "log.jsonl").write_text(lines + "\n")
        return tmp_path / name

    return make


@pytest.fixture
def measured(tmp_path):
    """The file of a measurement of two abilities."""
    common = {"source": "recipe", "device": "cpu", "parameters": 2_600_000}
    rows = [
        common | {"system": "demo", "ability": "embed", "per_second": 12.345, "peak_gb": 0.84},
        common | {"system": "demo", "ability": "caption", "per_second": 0.5, "peak_gb": 1.26},
    ]
    rows[1]["source"] = "trained"
    content = {"rows": rows, "date": "2026-11-27", "machine": {"cpu": "Some CPU"}}
    content["options"] = {"objects": 64, "tokens": 16}
    path = tmp_path / "system_inference.json"
    path.write_text(json.dumps(content))
    return path


def row(page: str, label: str) -> list[str]:
    """The cells of the first row that begins so."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {label}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_scores_of_averaged_weights_count(results, table_records):
    top = {"top_1": {"value": 0.4, "ci95": [0.3, 0.5]}}
    record = table_records.record(
        "point_classification", top, {}, extra={"protocol": "prompted"}, split="dev_test_ema"
    )
    table_records.write(results, **{"voxel-encoder_classification": record})
    assert "**40.0**" in " ".join(row(leaderboard(load_records(results), {}), "Voxel network"))


def test_systems_baselines_and_views_are_rows_of_one_table(results):
    page = leaderboard(load_records(results), {})
    assert row(page, "PointBLIP, `make demo`")[1] == "**30.0** [20.0, 40.0]"
    assert row(page, "PointBLIP, `make demo`")[4].startswith("**95.3**")
    assert row(page, "Rendered views only, image teacher untrained")[2] == "20.0"
    assert row(page, "Chance")[1] == "2.0"
    assert row(page, "Nearest box")[1] == "31.0"
    assert row(page, "Nearest box")[4] == "133.4"
    assert set(row(page, "Point-Bind")) == {"–"}


def test_what_a_system_did_not_do_is_listed(results):
    page = leaderboard(load_records(results), {}).split("## Not done")[1]
    line = next(line for line in page.splitlines() if "make demo" in line)
    assert "Zero-shot, top-1" in line
    assert "budget of training" in line
    assert "Prompted" not in line
    assert "- Text4Point: not evaluated on this split. It labels rooms" in page


def test_a_systems_own_retrieval_precedes_that_of_its_views(results, table_records):
    own = {"text_to_object/recall_at_1": {"value": 0.5, "ci95": None}}
    both = {"text_to_image/recall_at_1": {"value": 0.9, "ci95": None}}
    table_records.write(
        results,
        mixcon3d_pairs=table_records.record("modality_retrieval", both),
        mixcon3d_retrieval=table_records.record("point_retrieval", own),
    )
    page = leaderboard(load_records(results), {})
    assert row(page, "MixCon3D, cloud alone")[2] == "50.0"


@pytest.mark.parametrize("change", [{"alteration": "no_color"}, {"split": "val"}, {"data": None}])
def test_controls_and_other_splits_are_left_out(results, table_records, change):
    table_records.write(results, full_captioning=table_records.captioning(0.5, **change))
    page = leaderboard(load_records(results), {})
    assert set(row(page, "PointBLIP, `make full`")) == {"–"}


def test_a_budget_sums_jobs_and_launches(job, tmp_path):
    cost = read_cost([job("stage1", (5, 60), (10, 120)), job("stage2", (4, 30))])
    assert cost.object_views == 8 * 14
    assert cost.minutes == 3.5
    assert (cost.gigabytes, cost.device, cost.jobs) == (2.5, "cpu", ("stage1", "stage2"))
    write_cost(cost, tmp_path / "costs" / "demo.json")
    assert load_costs(tmp_path / "costs") == {"demo": cost}


def test_inference_is_a_table_of_abilities(results, measured):
    page = leaderboard(load_records(results), {}, load_inference(measured))
    part = page.split("## Inference")[1].split("## Not done")[0]
    label = "| PointBLIP, `make demo` |"
    assert f"{label} embedding of an object | 12.3 | 0.8 | 3 | initial |" in part
    assert f"{label} caption | 0.5 | 1.3 | 3 | trained |" in part
    assert "Some CPU, 2026-11-27" in part
    assert "of CPU time of one thread" in part
    assert "64 of `dev_test`; captions of 16 tokens" in part


def test_time_on_a_gpu_is_wall_time(results, measured):
    measured.write_text(measured.read_text().replace('"device": "cpu"', '"device": "Some GPU"'))
    page = leaderboard(load_records(results), {}, load_inference(measured))
    assert "of wall time" in page
    assert "Some GPU, 2026-11-27" in page


def test_inference_that_was_not_measured_or_not_by_us_is_said(results, measured, tmp_path):
    assert load_inference(tmp_path / "none.json") is None
    assert "Not measured" in leaderboard(load_records(results), {})
    measured.write_text(measured.read_text().replace('"caption"', '"dance"'))
    with pytest.raises(EvaluationError, match=r"system_inference\.json"):
        load_inference(measured)


def test_the_study_is_the_row_of_its_projector(results, table_records):
    names = ("text_to_object/recall_at_1", "object_to_text/recall_at_1")
    figures = {name: {"value": 0.03, "ci95": [0.02, 0.05]} for name in names}
    other = {name: {"value": 0.9, "ci95": None} for name in names}
    seeds = {str(seed): dict.fromkeys(names, seed / 100) for seed in (2, 3, 4)}
    members = {"centred": {"figures": figures, "seeds": seeds}}
    members["plain"] = {"figures": other, "seeds": seeds}
    captions = {"metric": "cider", "contrastive": {"value": 0.25, "ci95": [0.1, 0.3]}}
    captions["generative"] = {"value": 0.9, "ci95": None}
    extra = {"members": members, "protocol": {"steps": 80, "batch_size": 32}}
    extra["texts"] = {"members": {"contrastive": "centred"}, "captions": captions}
    study = table_records.record(
        "alignment_study", {"centred/margin": {"value": 1, "ci95": None}}, extra=extra
    )
    table_records.write(results, alignment_study=study)
    page = leaderboard(load_records(results), {})
    cells = row(page, "PointLLM-Contrastive")
    assert cells[2:4] == ["**3.0** [2.0, 5.0]; 3.0 ± 1.0 (3 seeds)"] * 2
    assert cells[4] == "**25.0** [10.0, 30.0]"
    assert "| PointLLM-Contrastive | 2,560 | – | – | – | projector | 3 |" in page
    line = next(line for line in page.splitlines() if line.startswith("- PointLLM-Contrastive"))
    assert "Answers without colour, exact match; time and memory of training." in line
    assert "alignment study" in line


def test_an_unfinished_or_absent_job_has_no_budget(job, tmp_path):
    with pytest.raises(EvaluationError, match="did not finish"):
        read_cost([job("a", (5, 60), finished=False)])
    with pytest.raises(EvaluationError, match="did not finish"):
        read_cost([job("b")])
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_cost([tmp_path / "none"])


def test_a_foreign_cost_file_is_named(tmp_path):
    (tmp_path / "demo.json").write_text('{"minutes": 3}')
    with pytest.raises(EvaluationError, match=r"demo\.json"):
        load_costs(tmp_path)


def test_the_command_writes_checks_and_reads_a_budget(results, job, tmp_path, capsys):
    page = tmp_path / "page.md"
    options = ["--results", str(results), "--page", str(page)]
    options += ["--inference", str(tmp_path / "none.json")]
    assert main([*options, "--check"]) == 1
    assert main(options) == 0
    assert main([*options, "--check"]) == 0
    assert main([*options, "--cost", "demo", str(job("stage1", (5, 60)))]) == 0
    assert "| 40 | 1.0 | 2.5 | cpu | stage1 | 1 |" in page.read_text()
    assert main([*options, "--cost", "demo", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_published_page_is_up_to_date(repo_root: Path):
    assert main(["--check"]) == 0
