"""What a table marks and what it refuses: data versions, dirty trees, small pools, seeds."""

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.run_records import load_records, named
from lavis.evaluation.seeds import spread


def run(table_records, **parts):
    return named("demo", table_records.record(**parts), "demo.json")


def test_marks_of_a_run(table_records):
    assert run(table_records).marks == ""
    assert (
        run(table_records, commit=f"{table_records.COMMIT}-dirty").marks == " (uncommitted changes)"
    )
    assert run(table_records, commit=None).marks == " (commit unknown)"
    assert run(table_records, data=None).marks == " (data version unknown)"


def test_a_baseline_on_part_of_the_pool_is_marked_and_chance_is_not(table_records):
    part = run(table_records, baseline_pool={"used": 1000, "whole": 4700})
    assert part.baseline_mark("nearest_box") == " (1000 of 4700)"
    assert part.baseline_mark("chance") == ""
    assert (
        run(table_records, baseline_pool={"used": 4700, "whole": 4700}).baseline_mark("nearest_box")
        == ""
    )


def test_classification_is_zero_shot_only_with_held_out_classes(table_records):
    task = "point_classification"
    assert run(table_records, task=task).task == "prompted classification"
    held_out = run(table_records, task=task, extra={"protocol": "zero_shot"})
    assert (held_out.task, held_out.protocol) == ("zero-shot (held-out classes)", "")
    assert run(table_records, extra={"text": "description", "protocol": "no_size"}).protocol == (
        "description, no size"
    )


def test_a_control_belongs_to_its_run(table_records):
    control = table_records.record(split="dev_test_box_shell", alteration="box_shell")
    found = named("demo_captioning_box_shell", control, "x.json")
    assert (found.name, found.split) == ("demo_captioning", "dev_test")
    assert found.condition == "control: box shell"
    corrupted = table_records.record(split="dev_test_jitter_3", alteration="jitter_3")
    assert named("demo", corrupted, "x.json").condition == "corruption: jitter 3"


def test_versions_of_one_data_set_do_not_mix(table_records, tmp_path):
    newer = {**table_records.BRICKS, "version": 3}
    other = {**table_records.BRICKS, "name": "objaverse", "version": 1}
    table_records.write(
        tmp_path,
        a=table_records.record(),
        b=table_records.record(data=other),
        c=table_records.record(data=None),
    )
    assert len(load_records(tmp_path)) == 3
    table_records.write(tmp_path, d=table_records.record(data=newer))
    with pytest.raises(EvaluationError, match=r"'bricks'") as error:
        load_records(tmp_path)
    for part in ("version 2", "a.json", "version 3", "d.json"):
        assert part in str(error.value)
    table_records.write(
        tmp_path,
        d=table_records.record(data={**table_records.BRICKS, "split_file_sha256": "cd" * 32}),
    )
    with pytest.raises(EvaluationError, match="split file cdcdcdcdcdcd"):
        load_records(tmp_path)


def test_seeds_stand_beside_their_run(table_records, tmp_path):
    table_records.write(tmp_path, demo_captioning=table_records.captioning(0.95))
    seeds = {
        "42": table_records.captioning(0.9),
        "43": table_records.captioning(1.1),
        "44": table_records.captioning(1.0),
    }
    table_records.write(tmp_path / "seeds" / "demo_captioning", **seeds)
    (found,) = load_records(tmp_path)
    over = spread("cider", found.seeds)
    assert (over.mean, over.deviation, over.n) == (pytest.approx(1.0), pytest.approx(0.1), 3)
    assert spread("cider", found.seeds[:1]) is None
    assert spread("spice", found.seeds) is None


@pytest.mark.parametrize(
    ("folder", "seed", "version", "message"),
    [
        ("demo", "best", 2, "named by its seed"),
        ("unknown", "43", 2, "no result"),
        ("demo", "43", 3, "not evaluated like"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(table_records, tmp_path, folder, seed, version, message):
    table_records.write(tmp_path, demo=table_records.captioning())
    content = table_records.captioning(data={**table_records.BRICKS, "version": version})
    table_records.write(tmp_path / "seeds" / folder, **{seed: content})
    with pytest.raises(EvaluationError, match=message):
        load_records(tmp_path)
