"""Captioners that copy or fill in a template."""

from __future__ import annotations

import pytest

from lavis.evaluation.baselines.captions import caption_baselines
from lavis.evaluation.baselines.pool import pool_of

COPIES = ("nearest_box", "nearest_histogram", "nearest_chamfer", "neighbour_and_forest")


def test_copies_are_those_of_the_nearest_object(toys):
    found = caption_baselines(pool_of(toys.dataset(), toys.ASKED))
    for name in COPIES:
        assert found[name]["asked_brick"] in ("brick 2 x 4", "brick 2 x 8"), name
    for name in COPIES[1:]:
        assert found[name]["asked_ball"] == "ball", name
    for name in ("nearest_chamfer", "consensus", "neighbour_and_forest"):
        assert found[f"{name}_own_size"]["asked_brick"] == "brick 2 x 6"
    assert found["template"] == {"asked_brick": "brick 2 x 6", "asked_ball": "ball 5 x 5"}
    assert set(found["random_training_caption"].values()) <= {row[1] for row in toys.TRAIN}


def test_texts_with_colours_get_the_own_colour(toys):
    found = caption_baselines(pool_of(toys.dataset(), toys.ASKED), "colored_caption")
    for name in COPIES:
        assert found[name]["asked_brick"].startswith("an orange brick"), name
        assert found[name]["asked_ball"].startswith("a red "), name
    assert found["template"]["asked_brick"] == "an orange brick 2 x 6"


def test_what_the_data_lack_is_absent(toys):
    assert caption_baselines(pool_of(toys.dataset([]), toys.ASKED)) == {}
    grey = {name: cloud[:, :3] for name, cloud in toys.CLOUDS.items()}
    found = caption_baselines(
        pool_of(toys.dataset(store=toys.ToyStore(grey)), toys.ASKED), "colored_caption"
    )
    assert {entry["colored_caption"] for entry in toys.records()} >= set(
        found["nearest_box"].values()
    )
    texts_only = toys.dataset()
    del texts_only.point_store
    assert set(caption_baselines(pool_of(texts_only, toys.ASKED))) == {"random_training_caption"}
    without_class = [{"object_id": e["object_id"], "caption": e["caption"]} for e in toys.records()]
    found = caption_baselines(pool_of(toys.dataset(without_class), toys.ASKED))
    assert "template" not in found
    assert "nearest_chamfer" in found


@pytest.mark.parametrize("unit", [None, "m"])
def test_sizes_in_texts_are_left_alone_where_the_unit_is_no_stud(toys, unit):
    found = caption_baselines(pool_of(toys.dataset(unit=unit), toys.ASKED))
    assert not [name for name in found if name.endswith("_own_size")]
    assert found["template"] == {"asked_brick": "brick", "asked_ball": "ball"}
    assert found["nearest_chamfer"]["asked_brick"] in ("brick 2 x 4", "brick 2 x 8")


def test_an_object_is_not_its_own_neighbour(toys):
    found = caption_baselines(pool_of(toys.dataset(), ["brick24"]))
    assert found["nearest_chamfer"]["brick24"] != "brick 2 x 4"


def test_repeated_runs_agree(toys):
    first, second = (
        caption_baselines(pool_of(toys.dataset(), toys.ASKED), seed=3) for _ in range(2)
    )
    assert first == second
