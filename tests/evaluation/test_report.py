"""The report of a tiny made-up run: what it shows, what it refuses, and that it loads nothing."""

import base64
import json
import re
from html import unescape

import numpy as np
import pytest

from lavis.common.errors import DataError, EvaluationError
from lavis.datasets.stores.packed_points import PackedPointWriter
from lavis.datasets.viewer.encode import encode_cloud, farthest_points, surface_normals
from lavis.evaluation.captioning import caption_scores
from lavis.evaluation.records import build_metrics_record, write_json_atomic
from lavis.evaluation.report.__main__ import main
from lavis.evaluation.report.examples import caption_examples, half_and_half
from lavis.evaluation.report.headlines import headlines, text_table
from lavis.evaluation.report.page import render
from lavis.evaluation.report.run_folder import load_run

IDS = [f"part{k}" for k in range(9)]
NASTY = "<script>alert('x')</script> & </script>"


def sphere(seed, count=60):
    """A coloured unit sphere [count,6]."""
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(count, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    return np.hstack([xyz, rng.uniform(size=(count, 3))]).astype(np.float32)


def clouds(object_id):
    return sphere(IDS.index(object_id))


def save(
    table_records,
    run,
    folder,
    task,
    predictions,
    metrics,
    baselines,
    claims=(),
    compared=None,
    **extra,
):
    count = len(predictions)
    record = build_metrics_record(
        task,
        "test",
        metrics,
        baselines,
        count,
        count,
        "c0ffee" * 10,
        "1234567890abcdef",
        42,
        None,
        extra,
        claims=dict.fromkeys(claims, count),
        comparisons=compared or {},
        data=table_records.BRICKS,
    )
    write_json_atomic(run / folder / "result" / "test.json", predictions)
    write_json_atomic(run / folder / "result" / "test_metrics.json", record)
    return record


def save_captioning(table_records, run):
    references = [f"a red brick number {k}" for k in range(9)]
    generated = [*references[:4], "a red", "a blue brick", NASTY, "", "nothing alike"]
    predictions = [
        {"image_id": i, "2d_caption": r, "caption": c}
        for i, r, c in zip(IDS, references, generated)
    ]
    scores = caption_scores(dict(zip(IDS, generated)), {i: [r] for i, r in zip(IDS, references)})
    baseline = {"nearest_neighbour": {"cider": 0.25, "distinct_captions": 7}}
    save(
        table_records,
        run,
        "captioning",
        "point_captioning",
        predictions,
        scores.metrics(),
        baseline,
    )


def save_retrieval(table_records, run):
    predictions = [
        {
            "instance_id": i,
            "caption": f"caption of {i}",
            "object_to_text_rank": 7 if k % 2 else 1,
            "text_to_object_rank": 7 if k % 2 else 1,
            "top_captions": [f"caption of {IDS[(k + k % 2 + j) % 9]}" for j in range(5)],
            "top_objects": [IDS[(k + k % 2 + j) % 9] for j in range(5)],
        }
        for k, i in enumerate(IDS)
    ]
    metrics = {
        "text_to_object/recall_at_5": {"value": 0.5, "ci95": [0.4, 0.6]},
        "object_to_text/recall_at_5": {"value": 0.04, "ci95": [0.03, 0.05]},
        "object_to_text/recall_at_1": {"value": 0.1, "ci95": [0.05, 0.2]},
    }
    chance = {"chance": dict.fromkeys(metrics, 0.1), "colour": dict.fromkeys(metrics, 0.2)}
    found = {
        "text_to_object/recall_at_5": table_records.paired(0.3, 0.2, 0.4, 0.001, n=9),
        "object_to_text/recall_at_5": table_records.paired(-0.16, -0.2, -0.1, 0.001, n=9),
        "object_to_text/recall_at_1": table_records.paired(-0.1, -0.19, -0.01, 0.06, n=9),
    }
    compared = {metric: {"colour": row} for metric, row in found.items()}
    save(
        table_records,
        run,
        "retrieval",
        "point_retrieval",
        predictions,
        metrics,
        chance,
        metrics,
        compared,
    )


def save_qa(table_records, run):
    predictions = [
        {
            "question_id": f"{i}:{family}",
            "object_id": i,
            "question": "what colour is it?",
            "answer": "red",
            "family": family,
            "prediction": "red" if right else "green",
            "correct": right,
        }
        for i in IDS[:4]
        for family, right in (("color", True), ("gear_teeth", i == IDS[0]))
    ]
    metrics = {
        "exact_match": {"value": 0.625, "ci95": [0.4, 0.8]},
        "exact_match/gear_teeth": {"value": 0.25, "ci95": [0.0, 0.5]},
    }
    families = {"gear_teeth": {"n": 4}}
    save(table_records, run, "qa", "point_qa", predictions, metrics, {}, per_family=families)


def save_control(table_records, run, metrics):
    record = build_metrics_record(
        *("point_classification", "test_box_shell", metrics, {}, 9, 9, None, None, 1, None),
        data=table_records.BRICKS,
        alteration="box_shell",
    )
    write_json_atomic(run / "classification/result/test_box_shell_metrics.json", record)


def save_classification(table_records, run):
    predictions = [
        {
            "instance_id": i,
            "label": "Brick",
            "prediction": "Brick" if k < 3 else "Plate",
            "top_5": ["Brick" if k < 3 else "Plate", "Tile", "Arch", "Gear", "Wheel"],
        }
        for k, i in enumerate(IDS)
    ]
    metrics = {"top_1": {"value": 1 / 3, "ci95": [0.1, 0.6]}}
    save_control(table_records, run, metrics)
    baselines = {"chance": {"top_1": 0.0125}, "most_frequent_class": {"top_1": 0.05}}
    save(
        table_records,
        run,
        "classification",
        "point_classification",
        predictions,
        metrics,
        baselines,
    )


@pytest.fixture
def run(tmp_path, table_records):
    """A run with all four tasks."""
    folder = tmp_path / "run"
    for write in (save_captioning, save_retrieval, save_qa, save_classification):
        write(table_records, folder)
    return folder


@pytest.fixture
def page(run):
    return render(load_run(run)[0], clouds, name="run")


def packed(folder, object_ids=IDS):
    with PackedPointWriter(folder, len(object_ids), 60) as writer:
        for row, object_id in enumerate(object_ids):
            cloud = clouds(object_id)
            writer.write(row, cloud[:, :3], np.rint(cloud[:, 3:] * 255).astype(np.uint8), 1.0)
    write_json_atomic(folder / "object_ids.json", object_ids)
    return folder


def test_rows_hold_score_interval_baselines_and_verdict(run):
    rows = {(row.task, row.metric.strip()): row for row in headlines(load_run(run)[0])}
    found = rows["Retrieval", "text → object R@5"]
    assert (found.score, found.interval, found.verdict) == ("50.0", "[40.0, 60.0]", "above")
    assert found.baselines == (("chance", "10.0"), ("colour", "20.0"))
    assert (found.strongest, found.difference) == ("colour: 20.0", "+30.0 [20.0, 40.0]")
    assert rows["Retrieval", "object → text R@5"].verdict == "below"
    # its interval excludes zero, its p-value is too large
    assert rows["Retrieval", "object → text R@1"].verdict == "level"
    # The empty caption counts as one of the distinct ones.
    distinct = rows["Captioning", "distinct captions"]
    assert (distinct.score, distinct.verdict) == ("9 of 9", "–")
    assert rows["Question answering", "gear teeth (n=4)"].score == "25.0"
    classes = rows["Prompted classification", "top-1"]
    assert classes.baselines == (("chance", "1.2"), ("most frequent class", "5.0"))
    assert (classes.strongest, classes.verdict) == ("most frequent class: 5.0", "–")
    assert classes.controls == (("box shell", "33.3"),)


def test_terminal_table_is_aligned(run):
    lines = text_table(headlines(load_run(run)[0])).splitlines()
    column = lines[0].index("Verdict")
    verdicts = [line[column:].split()[0] for line in lines[2:-2] if line]
    assert set(verdicts) == {"above", "below", "level", "–"}


def test_page_shows_every_headline(page, run):
    for row in headlines(load_run(run)[0]):
        assert f'<td class="number score">{row.score}</td>' in page
    assert 'class="verdict above"' in page
    assert "1234567890ab" in page  # the commit


def test_page_shows_data_version_strongest_baseline_and_controls(page):
    assert "<dt>Data</dt><dd>bricks version 2</dd>" in page
    assert '<td>colour: 20.0</td><td class="number">+30.0 [20.0, 40.0]</td>' in page
    assert '<td class="baselines">box shell <b>33.3</b></td>' in page


def test_seeds_of_the_run_are_shown(table_records, run, tmp_path):
    for seed, value in ((1, 0.3), (2, 0.5)):
        metrics = {"top_1": {"value": value, "ci95": None}}
        record = build_metrics_record(
            *("point_classification", "test", metrics, {}, 9, 9, None, None, 1, None),
            data=table_records.BRICKS,
        )
        write_json_atomic(tmp_path / "seeds" / "run_classification" / f"{seed}.json", record)
    rows = headlines(load_run(run, seeds=tmp_path / "seeds")[0])
    assert [row.seeds for row in rows if row.metric == "top-1"] == ["40.0 ± 14.1 (2)"]
    assert {row.seeds for row in rows if row.metric != "top-1"} == {"–"}


def test_dev_test_is_shown_before_test_and_data_versions_do_not_mix(run):
    folder = run / "classification" / "result"
    for name in ("test.json", "test_metrics.json"):
        text = (folder / name).read_text().replace('"split": "test"', '"split": "dev_test"')
        (folder / f"dev_{name}").write_text(text)
    (result,), notes = load_run(run)
    assert (result.record["split"], len(notes)) == ("dev_test", 3)
    path = folder / "test_metrics.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(EvaluationError, match="mixes versions"):
        load_run(run, "test")


def test_texts_are_escaped_in_html_and_in_the_embedded_json(run):
    predictions = json.loads((run / "captioning/result/test.json").read_text())
    assert any(entry["caption"] == NASTY for entry in predictions)
    page = render(load_run(run)[0], clouds, name=NASTY)
    assert "alert('x')" not in page
    assert page.count("<script") == page.count("</script>") == 2
    # 9 objects: 4 of each third are drawn, so the whole set is on the page.
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp;" in page


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(", page.replace("http-equiv", ""))
    assert not re.search(r"<(link|img|iframe|script)[^>]+(src|href)=(?!\"data:)", page)
    policy = unescape(re.search(r'Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_policy_allows_the_page_s_own_script_and_style(page):
    import hashlib

    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in page


def test_every_viewer_has_its_cloud_and_a_label(page):
    embedded = re.search(r'<script type="application/json" id="clouds">(.*?)</script>', page)[1]
    shown = re.findall(r'<canvas[^>]* data-cloud="([^"]*)"[^>]*aria-label="[^"]+"', page)
    assert len(shown) == page.count("<canvas")
    assert set(shown) == set(json.loads(embedded))


def test_same_seed_same_page_and_another_seed_other_examples(run):
    results = load_run(run)[0]
    first, second, other = (render(results, clouds, name="run", seed=s) for s in (0, 0, 1))
    assert first == second
    assert first != other


def test_right_object_is_marked_or_added_with_its_rank(page):
    found = page.count('<li class="right"><canvas')
    added = page.count('<li class="right apart"><canvas')
    assert (found, added) == (3, 3)
    assert "right object, rank 7" in page


def test_examples_are_good_and_bad(run):
    captions = load_run(run)[0][0].predictions
    chosen = caption_examples(captions, 6, seed=0)
    assert [third for _, _, third in chosen] == (
        ["best third"] * 2 + ["middle third"] * 2 + ["worst third"] * 2
    )
    assert chosen[0][1] > chosen[-1][1]
    entries = [{"id": k, "good": k < 1} for k in range(10)]
    drawn = half_and_half(entries, lambda entry: entry["good"], 4, seed=0)
    assert [entry["good"] for entry in drawn] == [True, False, False, False]


def test_encoded_cloud_comes_back():
    cloud = sphere(0, 50) * 1.0
    cloud[:, :3] = cloud[:, :3] * 3 + 5  # neither centred nor of unit size
    encoded = encode_cloud(cloud)
    content = base64.b64decode(encoded["points"])
    assert len(content) == 12 * 50
    xyz = np.frombuffer(content, "<i2", 150).reshape(50, 3) / 32767
    rgb = np.frombuffer(content, np.uint8, 150, offset=300).reshape(50, 3) / 255
    expected = cloud[:, :3] - (cloud[:, :3].min(0) + cloud[:, :3].max(0)) / 2
    expected /= np.linalg.norm(expected, axis=1).max()
    np.testing.assert_allclose(xyz, expected, atol=2e-5)
    np.testing.assert_allclose(rgb, cloud[:, 3:], atol=1 / 255)
    assert encode_cloud(cloud[:1, :3])["spacing"] == 0.05  # one grey point is a cloud too


def test_large_clouds_are_thinned_evenly():
    line = np.zeros((1000, 3))
    line[:, 0] = np.arange(1000)
    kept = np.sort(line[farthest_points(line, 5), 0])
    np.testing.assert_allclose(kept, [0, 250, 500, 750, 999], atol=2)
    assert len(base64.b64decode(encode_cloud(sphere(0, 5000))["points"])) == 12 * 1024


def test_normals_of_a_plane():
    rng = np.random.default_rng(0)
    plane = np.hstack([rng.uniform(size=(40, 2)), np.zeros((40, 1))])
    np.testing.assert_allclose(
        np.abs(surface_normals(plane, plane)), np.tile([0, 0, 1], (40, 1)), atol=1e-6
    )


def test_command_prints_the_table_and_all_paths(run, tmp_path, capsys):
    points = packed(tmp_path / "points")
    assert main(["--run", str(run), "--points", str(points)]) == 0
    printed = capsys.readouterr().out
    for folder in ("captioning", "retrieval", "qa", "classification"):
        assert str(run / folder / "result" / "test.json") in printed
        assert str(run / folder / "result" / "test_metrics.json") in printed
    assert printed.rstrip().endswith(f"Report: {run / 'report.html'}")
    page = (run / "report.html").read_text()
    assert "<canvas" in page
    assert 'class="notes"><li' not in page


def test_absent_task_clouds_and_objects_are_noted(run, tmp_path, capsys):
    (run / "qa" / "result" / "test.json").unlink()
    assert main(["--run", str(run), "--points", str(tmp_path / "nowhere")]) == 0
    page = (run / "report.html").read_text()
    assert "Question answering is left out" in page
    assert "Question answering is left out" in capsys.readouterr().out
    assert "Point clouds are left out" in page
    assert "<canvas" not in page
    points = packed(tmp_path / "points", IDS[:-1])
    assert main(["--run", str(run), "--points", str(points)]) == 0
    page = (run / "report.html").read_text()
    assert f"no point cloud for object {IDS[-1]}" in page
    assert "1 of the objects shown have no point cloud here" in page


def test_picture_shows_every_chosen_object(run, tmp_path, capsys):
    from matplotlib.image import imread

    picture, points = tmp_path / "report.png", packed(tmp_path / "points")
    options = ["--run", str(run), "--points", str(points), "--picture", str(picture)]
    assert main(options) == 0
    pixels = imread(picture)[:, :, :3]
    for column in np.array_split(pixels[:200], 6, axis=1):  # above the texts
        assert (column.max(2) - column.min(2)).max() > 0.2  # coloured points
    picture.unlink()
    points = packed(tmp_path / "few", IDS[:1])
    assert main(["--run", str(run), "--points", str(points), "--picture", str(picture)]) == 1
    assert "no point cloud" in capsys.readouterr().err
    assert not picture.exists()


def test_a_run_without_results_is_an_error(tmp_path, capsys):
    with pytest.raises(EvaluationError, match="no results to report"):
        load_run(tmp_path)
    assert main(["--run", str(tmp_path)]) == 1
    assert "evaluate.py" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("test_metrics.json", lambda text: text.replace("0.3333", "NaN, 0.3", 1), "cannot be read"),
        ("test_metrics.json", lambda text: "[]", "not a metrics record"),
        ("test.json", lambda text: text.replace('"label"', '"lable"'), "lacks 'label'"),
        ("test.json", lambda text: "[]", "0 entries, but 9 were scored"),
        ("test.json", lambda text: text.replace("part1", "part0"), "duplicate"),
        ("test.json", lambda text: text[: len(text) // 2], "cannot be read"),
    ],
)
def test_damaged_result_files_are_refused(run, name, change, message):
    path = run / "classification" / "result" / name
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(EvaluationError, match=message):
        load_run(run)


def test_nan_is_refused_in_scores_and_clouds(run):
    path = run / "retrieval" / "result" / "test_metrics.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": NaN'))
    with pytest.raises(EvaluationError, match="nan is not a finite number"):
        load_run(run)
    path.write_text(path.read_text().replace('"value": NaN', '"value": 0.5'))
    broken = sphere(0)
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="NaN"):
        render(load_run(run)[0], lambda object_id: broken, name="run")
