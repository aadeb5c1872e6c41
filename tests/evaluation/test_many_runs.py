"""A folder of runs in one table; two runs compared item by item."""

import re
from html.parser import HTMLParser

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.records import build_metrics_record, write_json_atomic
from lavis.evaluation.report.__main__ import main
from lavis.evaluation.report.many_runs import chosen, compare_runs, find_runs, markdown, side
from lavis.evaluation.report.markdown_page import html_page


def save(root, name, values, ids=None, **parts):
    """A run whose items are right (1) or wrong (0)."""
    metrics = {"top_1": {"value": sum(values) / len(values), "ci95": [0.1, 0.9]}}
    n = len(values)
    record = build_metrics_record(
        "t", "test", metrics, {"chance": {"top_1": 0.25}}, n, n, "c", "g", 1, None, **parts
    )
    folder = root / name / "result"
    write_json_atomic(folder / "test_metrics.json", record)
    ids = ids or [f"i{k}" for k in range(n)]
    write_json_atomic(folder / "test_items.json", {"top_1": dict(zip(ids, values))})


@pytest.fixture
def runs(tmp_path):
    save(tmp_path, "good", [1.0] * 18 + [0.0] * 2)
    save(tmp_path, "poor<b>", [0.0] * 15 + [1.0] * 5)
    (tmp_path / "latest").symlink_to(tmp_path / "good")
    return tmp_path


def test_every_run_is_found_once_by_its_path(runs):
    assert [run.name for run in find_runs(runs)] == ["good/test", "poor<b>/test"]
    with pytest.raises(EvaluationError, match="no runs"):
        find_runs(runs / "absent")


def test_two_runs_are_compared_over_the_same_items(runs):
    good, poor = find_runs(runs)
    (row,) = compare_runs(good, poor)
    assert (row.first, row.second, row.paired.n) == (0.9, 0.25, 20)
    assert row.paired.ci95[0] > 0
    assert row.paired.p_value < 0.01
    (same,) = compare_runs(good, good)
    assert same.paired.difference == 0.0
    assert (row.verdict, row.adjusted_p) == ("above", row.paired.p_value)
    text = markdown([good, poor], (poor, good))
    assert "second is higher" in text
    assert "no difference" in markdown([good], (good, good))


def test_training_seeds_are_one_side_by_the_means_of_items(runs):
    save(runs, "good_43", [1.0] * 12 + [0.0] * 8)
    found = find_runs(runs)
    group = side(found, "good, good_43")
    (row,) = compare_runs(group, side(found, "poor<b>"))
    assert row.first == pytest.approx((0.9 + 0.6) / 2)
    assert group.per_item()["top_1"]["i15"] == 0.5
    assert "good/test, good_43/test against poor<b>/test" in markdown(
        found, (group, side(found, "poor<b>"))
    )
    save(runs, "good_44", [1.0] * 20, ids=[f"x{k}" for k in range(20)])
    with pytest.raises(EvaluationError, match="'i0'"):
        side(find_runs(runs), "good,good_44").per_item()


def test_runs_on_other_items_are_refused_by_name(runs):
    save(runs, "other", [1.0] * 20, ids=[f"x{k}" for k in range(20)])
    first, second, _ = find_runs(runs)
    with pytest.raises(EvaluationError, match="'i0'"):
        compare_runs(first, second)
    (runs / "other" / "result" / "test_items.json").unlink()
    with pytest.raises(EvaluationError, match="evaluate again"):
        compare_runs(find_runs(runs)[1], first)


def test_a_run_is_chosen_by_its_name_or_its_beginning(runs):
    found = find_runs(runs)
    assert chosen(found, "good") is found[0]
    assert chosen(found, "good/test") is found[0]
    with pytest.raises(EvaluationError, match=r"fits 0 runs.*good/test"):
        chosen(found, "god/test")


class Balanced(HTMLParser):
    """Every element is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_command_writes_a_table_and_a_page_that_loads_nothing(runs, capsys):
    assert main(["--runs", str(runs), "--compare", "good", "poor<b>"]) == 0
    assert "good/test" in capsys.readouterr().out
    table, page = (runs / "results.md").read_text(), (runs / "results.html").read_text()
    assert "| good/test (data version unknown) | – | test | 20 | top 1 | **90.0** " in table
    assert "## good/test against poor<b>/test" in table
    assert "first is higher" in table
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "poor<b>/test" in parser.text
    assert not re.search(r"(src|href)=\"http", page)
    assert "default-src 'none'" in page
    assert main(["--runs", str(runs), "--compare", "good", "none"]) == 1


def test_the_metrics_of_a_comparison_are_corrected_together(runs):
    good, poor = find_runs(runs)
    (alone,) = compare_runs(good, poor)
    for run in (good, poor):
        path = run.path.with_name("test_items.json")
        items = run.per_item()["top_1"]
        write_json_atomic(path, {"top_1": items, "top_5": dict.fromkeys(items, 1.0)})
    first, second = compare_runs(good, poor)
    assert first.adjusted_p == pytest.approx(2 * alone.paired.p_value)
    assert (second.adjusted_p, second.verdict) == (1.0, "level")


def test_the_page_shows_claims_controls_and_seeds(table_records, tmp_path):
    folder = tmp_path / "runs" / "demo" / "captioning" / "result"
    control = table_records.captioning(0.4, split="dev_test_box_shell", alteration="box_shell")
    write_json_atomic(folder / "dev_test_metrics.json", table_records.captioning())
    write_json_atomic(folder / "dev_test_box_shell_metrics.json", control)
    seeds = tmp_path / "seeds"
    for seed in (1, 2):
        write_json_atomic(
            seeds / "demo_captioning" / f"{seed}.json", table_records.captioning(seed / 2)
        )
    text = markdown(find_runs(tmp_path / "runs"), seeds=seeds)
    assert "75.0 ± 35.4 (2 seeds) | nearest box: 133.4 | -38.1 [-76.7, -1.2] | below |" in text
    assert "| control: box shell |" in text
    assert text.count("## Claims") == 1
    assert "<td>below</td>" in html_page("t", text)


def test_runs_on_several_data_versions_are_refused(table_records, runs):
    save(runs, "old", [1.0] * 20, data=table_records.BRICKS)
    save(runs, "new", [1.0] * 20, data={**table_records.BRICKS, "version": 3})
    with pytest.raises(EvaluationError, match="mixes versions"):
        markdown(find_runs(runs))


def test_html_escapes_and_marks_bold():
    table = "| x | y |\n| --- | ---: |\n| <i> | **1** |"
    page = html_page("t", f"# A\n\n{table}\n\nnote & more\n\n- one\n- <two>")
    assert "<ul><li>one</li><li>&lt;two&gt;</li></ul>" in page
    assert "<td>&lt;i&gt;</td>" in page
    assert '<td class="number"><b>1</b></td>' in page
    assert "<p>note &amp; more</p>" in page
