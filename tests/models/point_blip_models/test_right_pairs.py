"""Which texts are right for which objects, and what PTC and PTM make of it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lavis.common.errors import ConfigError
from lavis.models import contrastive
from lavis.models.point_blip_models import matching_losses as losses
from lavis.models.point_blip_models.right_pairs import PairKeys, described, plain_words

SAMPLES = {
    "text_input": ["a red brick 2 x 4", "brick", "plate", "Brick 1 x 1"],
    "caption": ["a red brick 2 x 4", "a blue brick 2 x 2", "a plate 1 x 2", "a red brick 1 x 1"],
    "description": ["Brick 2 x 4", "Brick 2 x 2", "Plate 1 x 2", "Brick 1 x 1"],
    "category": ["Brick", "Brick", "Plate", "Brick"],
}


def keys(rule: str, texts=None) -> PairKeys:
    return PairKeys.of(SAMPLES, texts or SAMPLES["text_input"], rule)


def test_a_class_name_is_right_for_every_object_of_the_class():
    annotated = contrastive.share_key(*keys("annotated").object_to_text)  # objects by texts
    assert annotated.int().tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1]]
    assert torch.equal(contrastive.share_key(*keys("annotated").text_to_object), annotated.T)
    assert torch.equal(contrastive.share_key(*keys("drawn").object_to_text), torch.eye(4).bool())


def test_a_right_pair_is_never_a_hard_negative():
    similarity = torch.zeros(4, 4)
    similarity[:, 1] = 9.0  # "brick" is the most similar text of all objects
    torch.manual_seed(0)
    for _ in range(20):
        index, valid = losses.sample_hard_negatives(similarity, *keys("annotated").object_to_text)
        assert valid.all()
        assert (index[[0, 3]] != 1).all()
        clouds, _ = losses.sample_hard_negatives(similarity.T, *keys("annotated").text_to_object)
        assert clouds[1] == 2  # the only object that is no brick


def test_targets_share_the_mass_between_texts_and_not_between_copies():
    brick, caption = 7, 8
    own = torch.tensor([[brick, caption], [brick, brick], [brick, brick], [brick, brick]])
    all_texts = torch.tensor([brick, caption, brick, brick])
    counts = contrastive.log_text_counts(all_texts)
    targets = contrastive.contrast_targets(own, all_texts, 0.0, counts)
    third = 1 / 3
    expected = torch.tensor([[0.5 * third, 0.5, 0.5 * third, 0.5 * third]])
    torch.testing.assert_close(targets[:1], expected)


def test_several_keys_equal_one_key_where_they_repeat_it():
    one = torch.tensor([3, 4, 3, 5])
    several = one[:, None].repeat(1, 3)
    similarity = torch.randn(4, 4)
    plain = contrastive.contrast_targets(one, one)
    for pair in ((several, one), (one, several)):
        torch.testing.assert_close(contrastive.contrast_targets(*pair), plain)
    counts = contrastive.log_text_counts(one)
    torch.testing.assert_close(contrastive.contrast_targets(one, one, 0.1, counts), plain)
    both = contrastive.symmetric_cross_entropy(similarity, similarity.T, plain, counts, plain)
    torch.testing.assert_close(
        both, contrastive.symmetric_cross_entropy(similarity, similarity.T, plain, counts)
    )
    expected = F.cross_entropy(similarity.T, torch.eye(4)) - F.cross_entropy(similarity.T, plain)
    found = (
        contrastive.symmetric_cross_entropy(similarity, similarity.T, plain, counts, torch.eye(4))
        - both
    )
    torch.testing.assert_close(2 * found, expected)


def test_matching_reads_a_caption_where_a_class_name_was_drawn():
    assert described(SAMPLES) == [
        "a red brick 2 x 4",
        "a blue brick 2 x 2",
        "a plate 1 x 2",
        "Brick 1 x 1",
    ]
    assert described({"text_input": ["x"]}) == ["x"]


def test_processed_and_stored_texts_are_equal_words():
    assert plain_words(["A  brick, 2 x 4. "]) == plain_words(["a brick 2 x 4"])


@pytest.mark.parametrize("ids", [torch.tensor([7, 7, 0, 1]), [7, 7, 0, 1], ["a", "a", "A", "b"]])
def test_image_ids_of_the_batch_say_what_is_right(ids):
    given = PairKeys.of({**SAMPLES, "image_id": ids}, SAMPLES["text_input"], "image_id")
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert contrastive.share_key(*given.object_to_text).int().tolist() == expected
    assert contrastive.share_key(*given.text_to_object).int().tolist() == expected


def test_image_ids_that_are_not_there_are_asked_for():
    with pytest.raises(ConfigError, match=r"model\.positives"):
        keys("image_id")


def test_with_rule_row_equal_texts_are_wrong_for_each_other():
    row = keys("row", ["brick"] * 4)
    assert torch.equal(contrastive.share_key(*row.object_to_text), torch.eye(4).bool())


def lavis_weights(similarity: torch.Tensor) -> torch.Tensor:
    """LAVIS 1.0.2's weights over loops: softmax of all columns, a floor, own column out."""
    rows = []
    for row, scores in enumerate(similarity.tolist()):
        exponents = torch.tensor(scores, dtype=torch.float64).exp()
        weights = [float(e / exponents.sum()) + 1e-4 for e in exponents]
        weights[row] = 0.0
        rows.append(weights)
    return torch.tensor(rows)


@pytest.mark.parametrize("scale", [0.0, 1.0, 14.0])
def test_floored_weights_equal_lavis_1_0_2(scale):
    similarity = scale * torch.randn(5, 5, generator=torch.Generator().manual_seed(3))
    forbidden = torch.eye(5).bool()
    weights = losses.negative_weights(similarity, forbidden, "floored")
    torch.testing.assert_close(weights, lavis_weights(similarity), atol=1e-6, rtol=1e-5)


def test_floored_negatives_are_uniform_once_pairs_are_learned_and_masked_ones_are_hard():
    similarity = torch.full((1, 4), -30.0)
    similarity[0, 0], similarity[0, 1] = 30.0, 0.0  # the pair, and a hard negative
    forbidden = torch.tensor([[True, False, False, False]])
    floored = losses.negative_weights(similarity, forbidden, "floored")[0]
    masked = losses.negative_weights(similarity, forbidden, "masked")[0]
    torch.testing.assert_close(floored / floored.sum(), torch.tensor([0, 1, 1, 1]) / 3)
    assert masked[1] / masked.sum() > 0.999


def test_floored_rule_draws_no_positive_and_marks_rows_without_negatives():
    own = torch.tensor([0, 0, 1])
    for rule in losses.NEGATIVE_RULES:
        index, valid = losses.sample_hard_negatives(torch.zeros(3, 3), own, own, rule)
        assert valid.all()
        assert index[:2].tolist() == [2, 2]
        _, none = losses.sample_hard_negatives(torch.zeros(2, 2), own[:2], own[:2], rule)
        assert not none.any()
