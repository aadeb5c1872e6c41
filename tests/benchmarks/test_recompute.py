"""Recomputation by other code: the committed subset agrees, and a changed digit is noticed."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recompute import resampling, words
from benchmarks.recompute.__main__ import check_results, main
from benchmarks.recompute.ledger import compare, flatten, is_equal, missing
from benchmarks.recompute.published import NO_RUN
from benchmarks.recompute.recompute import check_run
from benchmarks.recompute.retrieval import chance
from benchmarks.recompute.runs import Data, metrics_files, read_run
from benchmarks.recompute.tables import fits
from lavis.evaluation.baselines.chance import chance_retrieval
from lavis.evaluation.intervals import bootstrap_ci, mean_ci, median_statistic, paired_bootstrap
from lavis.evaluation.multiple_tests import holm
from lavis.evaluation.qa import normalize_answer
from lavis.evaluation.tables import update_tables
from lavis.evaluation.tokenization import tokenize_caption
from lavis.processors.blip_processors import clean_text

SUBSET = Path(__file__).parent / "recompute_subset"
DATA = SUBSET / "data"
PACKAGE = Path(resampling.__file__).parent
JOBS = (
    "captioning/dev_test",
    "captioning_color/dev_test",
    "classification/dev_test",
    "classification/held_out",
    "qa/dev_test",
    "retrieval/dev_test",
    "retrieval_color/dev_test",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, scored_subset):
    """Folder of the subset's runs, scored by the package."""
    return scored_subset.write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def data():
    """The subset's data; keeps features, neighbours and votes."""
    return Data(DATA)


@pytest.fixture(scope="module")
def checked(runs, data):
    """{job/split: (rows, what is not recomputed)}."""
    found = [read_run(path) for path in metrics_files([runs])]
    return {"/".join(Path(run.name).parts[-2:]): check_run(run, data) for run in found}


def imports_of(path):
    """Names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_recomputation_shares_no_code_with_the_package():
    files = sorted(PACKAGE.glob("*.py"))
    assert len(files) > 10
    names = {name.split(".")[0] for path in files for name in imports_of(path)}
    assert "lavis" not in names
    own = {name for path in files for name in imports_of(path) if name.startswith("benchmarks")}
    assert all(name.startswith("benchmarks.recompute") for name in own)
    assert not any("importlib.import_module" in path.read_text() for path in files)


def test_subset_is_small():
    sizes = [path.stat().st_size for path in SUBSET.rglob("*") if path.is_file()]
    assert sum(sizes) < 300_000


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_figure_of_the_subset_agrees(checked, job):
    rows, _ = checked[job]
    assert [row for row in rows if not row.equal] == []
    assert {"predictions", "items", "rules", "data"} <= {row.means for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_measurement_has_a_rule_or_a_reason(checked, job):
    _, absent = checked[job]
    assert [entry.figures for entry in absent if entry.reason == "no rule"] == []


@pytest.mark.slow
def test_baselines_and_comparisons_are_among_the_figures(checked):
    rows, _ = checked["captioning/dev_test"]
    figures = {(row.figure, row.means) for row in rows}
    assert ("comparisons cider nearest_chamfer p_value", "items") in figures
    assert ("baselines nearest_box bleu_4", "rules") in figures
    assert ("baselines neighbour_and_forest_own_size cider", "rules") in figures
    assert ("metrics cider ci95 0", "predictions") in figures


def change(path, *keys):
    """Change the fourth significant digit of a number in a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    value = place[keys[-1]]
    place[keys[-1]] = value + 10.0 ** (np.floor(np.log10(abs(value))) - 3) if value else 0.001
    path.write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "keys"),
    [
        ("metrics", ("metrics", "cider", "value")),
        ("metrics", ("metrics", "bleu_4", "ci95", 1)),
        ("metrics", ("baselines", "nearest_chamfer", "rouge_l")),
        ("metrics", ("comparisons", "cider", "nearest_box", "ci95", 0)),
        ("metrics", ("comparisons", "rouge_l", "consensus", "p_value")),
        ("items", ("cider", "FIRST")),
        ("baseline_items", ("template", "rouge_l", "FIRST")),
    ],
)
def test_changed_digit_in_a_published_file_is_noticed(runs, data, tmp_path, ending, keys):
    job = tmp_path / "captioning"
    shutil.copytree(runs / "captioning", job)
    path = job / "result" / f"dev_test_{ending}.json"
    first = json.loads((job / "result" / "dev_test.json").read_text())[0]["image_id"]
    change(path, *(first if key == "FIRST" else key for key in keys))
    rows, _ = check_run(read_run(job / "result" / "dev_test_metrics.json"), data)
    wrong = [row.figure for row in rows if not row.equal]
    named = " ".join(key for key in keys if isinstance(key, str) and key != "FIRST")
    assert any(named in figure for figure in wrong)


@pytest.mark.slow
def test_command_reports_equal_runs_and_what_is_left(runs, capsys):
    assert main([str(runs / "retrieval"), "--data", str(DATA)]) == 0
    said = capsys.readouterr().out
    assert "0 rows differ" in said
    assert "needs the model's scores of all pairs" in said


@pytest.mark.slow
def test_command_fails_on_a_changed_digit(runs, tmp_path, capsys):
    job = tmp_path / "retrieval"
    shutil.copytree(runs / "retrieval", job)
    path = job / "result" / "dev_test_metrics.json"
    change(path, "metrics", "text_to_object/mean_rank", "value")
    assert main([str(job), "--data", str(DATA), "--differences"]) == 1
    said = capsys.readouterr().out
    assert "metrics text_to_object/mean_rank value" in said
    assert "1 rows differ" in said


def test_command_needs_a_run(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no runs to check" in capsys.readouterr().err


@pytest.mark.slow
def test_locked_split_is_left_out_without_the_flag(runs, tmp_path, capsys):
    shutil.copytree(runs / "captioning", tmp_path / "captioning")
    path = tmp_path / "captioning" / "result" / "dev_test_metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "test_final"}))
    assert main([str(tmp_path), "--data", str(DATA)]) == 2
    said = capsys.readouterr().err
    assert "left out, --test-final reads them" in said
    assert "captioning/dev_test" in said
    with pytest.raises(FileNotFoundError, match="caption_test_final"):
        main([str(tmp_path), "--data", str(DATA), "--test-final"])


@pytest.fixture(scope="module")
def results(runs, tmp_path_factory):
    """Folder with published records, seeds and the tables that the package generates."""
    root = tmp_path_factory.mktemp("published")
    folder = root / "docs" / "results"
    (folder / "seeds" / "demo_qa").mkdir(parents=True)
    for job, split in (name.split("/") for name in JOBS):
        source = runs / job / "result" / f"{split}_metrics.json"
        ending = "" if split == "dev_test" else f"_{split}"
        shutil.copy(source, folder / f"demo_{job}{ending}.json")
    record = json.loads((folder / "demo_qa.json").read_text())
    for seed, factor in ((42, 1.0), (43, 0.9), (44, 1.05)):
        other = json.loads(json.dumps(record)) | {"seed": seed}
        for entry in other["metrics"].values():
            entry["value"] = None if entry["value"] is None else factor * entry["value"]
        (folder / "seeds" / "demo_qa" / f"{seed}.json").write_text(json.dumps(other))
    control = record | {"alteration": "box_shell", "split": "dev_test_box_shell", "comparisons": {}}
    (folder / "demo_qa_box_shell.json").write_text(json.dumps(control))
    for path in (root / "README.md", root / "docs" / "results.md"):
        path.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    update_tables(root / "README.md", root / "docs" / "results.md", folder)
    return root


@pytest.mark.slow
def test_printed_tables_agree(results):
    rows, absent = check_results(results / "docs" / "results", [])
    assert [row for row in rows if not row.equal] == []
    assert {row.file for row in rows} == {"README.md", "results.md"}
    figures = "\n".join(row.figure for row in rows)
    for part in (
        "Seeds: mean ± sd",
        "verdict",
        "box shell",
        "Answers without colour",
        "strongest baseline",
        "count of",
    ):
        assert part in figures
    assert {entry.reason for entry in absent} == {NO_RUN}


@pytest.mark.slow
def test_published_records_are_those_of_their_runs(runs, results):
    found = [read_run(path) for path in metrics_files([runs / "retrieval"])]
    rows, _ = check_results(results / "docs" / "results", found)
    assert [row.equal for row in rows if row.figure == "record"] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["README.md", "docs/results.md"])
def test_changed_digit_in_a_table_is_noticed(results, tmp_path, file):
    root = tmp_path / "copy"
    shutil.copytree(results, root)
    text = (root / file).read_text()
    row = next(line for line in text.splitlines() if "**" in line)
    score = row.split("**")[1]
    changed = f"{float(score) + 0.1:.1f}"
    (root / file).write_text(text.replace(row, row.replace(f"**{score}**", f"**{changed}**")))
    rows, _ = check_results(root / "docs" / "results", [])
    assert [row.equal for row in rows].count(False) == 1


TEXTS = (
    "A Brick 2x4, isn't it?  1,000 left-handed parts at 1.5% (10° up)",
    "the twenty-two by 4 × 6 plate's",
    "it’s n't 'tis ’ve 3.5x4.",
    "Slope_Curved 1/2 x 3 / 4; a, an",
    "the",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_those_of_the_package(text):
    assert words.caption_words(text) == tokenize_caption(text)
    assert words.canonical_answer(text) == normalize_answer(text)
    assert words.cleaned(text) == clean_text(text, 50, " ")
    assert words.cleaned(text, "") == clean_text(text, 50, "")


def test_words_agree_on_random_texts():
    rng = np.random.default_rng(0)
    parts = [
        "isn't",
        "n't",
        "'s",
        " by ",
        "2x4",
        "1,000",
        "1/2",
        ".",
        ",",
        "the",
        "_",
        "x",
        "3",
        " ",
    ]
    for _ in range(2000):
        text = "".join(rng.choice(parts, size=rng.integers(0, 9)))
        assert words.caption_words(text) == tokenize_caption(text)
        assert words.canonical_answer(text) == normalize_answer(text)


def test_resampling_agrees_with_the_package():
    rng = np.random.default_rng(1)
    first, second = rng.random(57), rng.integers(0, 2, 57).astype(float)
    found = resampling.intervals({"a": first, "b": second, "short": first[:9]})
    assert found["a"] == pytest.approx(mean_ci(first), abs=1e-12)
    assert found["b"] == pytest.approx(mean_ci(second), abs=1e-12)
    assert found["short"] == pytest.approx(mean_ci(first[:9]), abs=1e-12)
    ids = [str(i) for i in range(57)]
    pair = dict(zip(ids, first)), dict(zip(reversed(ids), second[::-1]))
    own = resampling.paired_differences({"x": pair})["x"]
    wanted = paired_bootstrap(first, second)
    assert own["difference"] == pytest.approx(wanted.difference, abs=1e-12)
    assert own["ci95"] == pytest.approx(wanted.ci95, abs=1e-12)
    assert (own["p_value"], own["n"]) == (wanted.p_value, wanted.n)


@pytest.mark.parametrize("n", [1, 8, 41])
def test_interval_of_the_median_agrees_with_the_package(n):
    ranks = np.random.default_rng(n).integers(1, 30, n).astype(float)
    wanted = bootstrap_ci(ranks, median_statistic)
    assert resampling.median_interval(ranks) == pytest.approx(wanted, abs=1e-12)


def test_holm_agrees_with_the_package():
    p_values = [0.04, 0.001, 0.03, 0.001, 0.9]
    assert resampling.holm(p_values) == pytest.approx(holm(p_values))
    assert resampling.holm([]) == []


def test_chance_agrees_with_the_package():
    counts = [1] * 30 + [2] * 4 + [6] * 6
    assert chance({1: 30, 2: 4, 6: 6}, 40) == pytest.approx(chance_retrieval(counts, 40))


def test_figures_that_only_one_side_has_are_noticed():
    published = flatten({"items": {"cider": {"a": 1.0, "b": 2.0}}, "metrics": {"x": {"value": 1}}})
    recomputed = {("items", "cider", "a"): 1.0, ("items", "cider", "c"): 2.0}
    (row,) = compare("run", published, recomputed, "rules")
    assert not row.equal
    assert "c: None" in row.detail
    (left,) = missing("run", published, [recomputed], lambda path: "why")
    assert left.figures == ("items cider", "metrics x value")


def test_equality_is_to_far_below_the_last_printed_digit():
    assert is_equal(0.5, 0.5 + 1e-11)
    assert not is_equal(0.5, 0.5001)
    assert not is_equal(None, 0.5)
    assert is_equal("2 x 4", "2 x 4")


def test_cells_are_read_to_their_own_last_digit():
    assert fits("**45.7** [40.1, 51.2]", [45.66, 40.12, 51.249])
    assert not fits("**45.8** [40.1, 51.2]", [45.66, 40.12, 51.249])
    assert not fits("45.7", [45.66, 1.0])
    assert fits("–", [])
