"""Which texts are right for which objects, and what PTC and PTM make of it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

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
