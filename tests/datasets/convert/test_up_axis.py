"""The axis that is up: by format or as declared, turned to +y without mirroring."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.datasets.convert.up_axis import count_up, mixed_note, turned, up_of


@pytest.mark.parametrize(
    ("suffix", "choice", "up"),
    [(".glb", "auto", "y"), (".stl", "auto", "z"), (".las", "y", "y"), (".glb", "z", "z")],
)
def test_the_choice_comes_before_the_format(suffix, choice, up) -> None:
    assert up_of(suffix, choice) == up


def test_z_becomes_y_in_a_right_handed_frame() -> None:
    axes = turned(np.eye(3), "z")
    np.testing.assert_array_equal(axes[2], [0, 1, 0])
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_array_equal(turned(np.eye(3), "y"), np.eye(3))


def test_mixed_folders_are_named() -> None:
    facts = [{"up": "z", "source": "a/b.STL"}, {"up": "y", "source": "c.glb"}]
    counts = count_up([*facts, facts[0]])
    assert counts == {"y": {".glb": 1}, "z": {".stl": 2}}
    assert "z is up in 2 .stl" in mixed_note(counts, "auto")
    assert mixed_note(counts, "y") == ""
    assert mixed_note(count_up(facts[:1]), "auto") == ""
