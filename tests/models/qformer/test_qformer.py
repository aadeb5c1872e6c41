"""The Q-Former's four passes: who sees whom, what may be skipped, and equality with BERT."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.models.qformer.init import init_from_bert, qformer_config_from_bert
from lavis.models.qformer.layers import Layout, QFormerConfig
from lavis.models.qformer.qformer import QFormer, select_cloud

VOCABULARY = 50


@pytest.fixture
def qformer() -> QFormer:
    torch.manual_seed(0)
    config = QFormerConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=VOCABULARY,
        max_position_embeddings=32,
        num_query_token=5,
        encoder_width=24,
    )
    return QFormer(config).eval()


@pytest.fixture
def cloud_tokens() -> torch.Tensor:
    return torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def text() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[1, 5, 6, 7], [1, 8, 9, 0]])
    return ids, torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def test_text_pass_equals_transformers_bert(tiny_bert):
    from transformers import BertModel

    config = qformer_config_from_bert(tiny_bert, 30523, num_query_token=4, encoder_width=8)
    qformer = QFormer(config).eval()
    init_from_bert(qformer, tiny_bert)
    bert = BertModel.from_pretrained(tiny_bert, add_pooling_layer=False).eval()
    ids = torch.tensor([[101, 2417, 5318, 102, 0], [101, 2630, 5127, 1015, 102]])
    mask = (ids != 0).long()
    # BLIP-2's Q-Former has no token-type embedding; BERT adds row 0 of it everywhere.
    bert.embeddings.token_type_embeddings.weight.data.zero_()
    expected = bert(ids, attention_mask=mask).last_hidden_state[:, 0]
    torch.testing.assert_close(qformer.text_pass(ids, mask), expected, atol=1e-5, rtol=1e-5)


def test_dropout_is_the_checkpoint_s_unless_one_is_given(tiny_bert):
    own = qformer_config_from_bert(tiny_bert, 30523)
    assert own.hidden_dropout_prob == own.attention_probs_dropout_prob == 0.1
    none = qformer_config_from_bert(tiny_bert, 30523, dropout=0.0)
    assert none.hidden_dropout_prob == none.attention_probs_dropout_prob == 0.0


def test_query_feed_forward_starts_as_copy_of_text(tiny_bert):
    config = qformer_config_from_bert(tiny_bert, 30523, num_query_token=4, encoder_width=8)
    qformer = QFormer(config)
    fresh = init_from_bert(qformer, tiny_bert)
    layer = qformer.bert.encoder.layer[0]
    assert torch.equal(layer.intermediate.dense.weight, layer.intermediate_query.dense.weight)
    assert all("crossattention" in n or "cls." in n or n == "query_tokens" for n in fresh)


def test_names_are_those_of_blip2(qformer):
    names = set(qformer.state_dict())
    for name in (
        "query_tokens",
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.0.attention.self.query.weight",
        "bert.encoder.layer.0.crossattention.self.key.weight",
        "bert.encoder.layer.1.intermediate_query.dense.weight",
        "bert.encoder.layer.1.output_query.LayerNorm.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.bias",
    ):
        assert name in names
    assert "bert.encoder.layer.1.crossattention.self.key.weight" not in names


def test_causal_pass_does_not_see_the_future(qformer, cloud_tokens, text):
    ids, mask = text
    _, cache = qformer.query_pass(qformer.project_cloud(cloud_tokens))
    states, _ = qformer.causal_pass(ids, mask, cache)
    changed = ids.clone()
    changed[:, 3] = 20
    other, _ = qformer.causal_pass(changed, torch.ones_like(mask), cache)
    torch.testing.assert_close(states[:, :3], other[:, :3])
    assert not torch.allclose(states[0, 3], other[0, 3])


def test_query_states_of_captioning_never_see_the_text(qformer, cloud_tokens, text):
    """The queries are a prefix: the cache that captioning reads is made before any text."""
    _, cache = qformer.query_pass(qformer.project_cloud(cloud_tokens))
    before = [key.clone() for key, _ in cache]
    _, grown = qformer.causal_pass(*text, cache)
    for old, new in zip(before, grown):
        assert torch.equal(old, new[0][:, :, :5])


def test_causal_pass_reads_the_cloud(qformer, cloud_tokens, text):
    states = [
        qformer.causal_pass(*text, qformer.query_pass(qformer.project_cloud(tokens))[1])[0]
        for tokens in (cloud_tokens, cloud_tokens + 1)
    ]
    assert not torch.allclose(*states)


def test_stepwise_decoding_equals_one_pass(qformer, cloud_tokens, text):
    ids, mask = text[0], torch.ones_like(text[1])
    _, cache = qformer.query_pass(qformer.project_cloud(cloud_tokens))
    whole, _ = qformer.causal_pass(ids, mask, cache)
    steps = []
    for step in range(ids.shape[1]):
        column = ids[:, step : step + 1]
        state, cache = qformer.causal_pass(column, mask[:, : step + 1], cache, start=step)
        steps.append(state)
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extra", [1, 6])
def test_padding_never_changes_results(qformer, cloud_tokens, text, extra):
    ids, mask = text
    longer = torch.nn.functional.pad(ids, (0, extra), value=3)
    longer_mask = torch.nn.functional.pad(mask, (0, extra))
    cloud = qformer.project_cloud(cloud_tokens)
    for ours, padded in (
        (qformer.text_pass(ids, mask), qformer.text_pass(longer, longer_mask)),
        (qformer.text_pass(ids, mask, "mean"), qformer.text_pass(longer, longer_mask, "mean")),
        (qformer.joint_pass(cloud, ids, mask), qformer.joint_pass(cloud, longer, longer_mask)),
    ):
        torch.testing.assert_close(ours, padded, atol=1e-5, rtol=1e-5)


def test_batch_of_one_equals_row_of_batch(qformer, cloud_tokens, text):
    ids, mask = text
    batch = qformer.joint_pass(qformer.project_cloud(cloud_tokens), ids, mask)
    single = qformer.joint_pass(qformer.project_cloud(cloud_tokens[:1]), ids[:1], mask[:1])
    torch.testing.assert_close(batch[:1], single, atol=1e-5, rtol=1e-5)


def test_skipping_unread_last_rows_changes_nothing(qformer, cloud_tokens, text):
    ids, mask = text[0], text[1].bool()
    cloud = qformer.project_cloud(cloud_tokens)
    queries = qformer.bert.embeddings.queries(qformer.query_tokens, 2)
    hidden = torch.cat([queries, qformer.bert.embeddings.words(ids, mask)])
    full_mask = torch.nn.functional.pad(mask, (5, 0), value=True)[:, None, None, :]
    layout = Layout.of_text(mask, 5)
    full, _ = qformer._run(hidden, layout, full_mask, cloud)
    expected = layout.pad(full)[:, :5]
    torch.testing.assert_close(qformer.joint_pass(cloud, ids, mask), expected)


def test_texts_beside_the_same_cloud_equal_copies_of_the_cloud(qformer, cloud_tokens, text):
    ids, mask = text
    twice, twice_mask = torch.cat([ids, ids.flip(0)]), torch.cat([mask, mask.flip(0)])
    shared = qformer.joint_pass(qformer.project_cloud(cloud_tokens), twice, twice_mask)
    copied = qformer.project_cloud(torch.cat([cloud_tokens, cloud_tokens]))
    expected = qformer.joint_pass(copied, twice, twice_mask)
    torch.testing.assert_close(shared, expected, atol=1e-6, rtol=1e-5)


def test_a_projection_on_the_way_equals_projected_tokens(qformer):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(2, 7, 6, generator=generator)
    projection = torch.randn(6, 24, generator=generator)
    for ours, plain in zip(
        qformer.project_cloud(tokens, projection), qformer.project_cloud(tokens @ projection)
    ):
        if ours is not None:
            torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


def test_selected_clouds_keep_their_rows(qformer, cloud_tokens):
    cloud = qformer.project_cloud(cloud_tokens)
    picked = select_cloud(cloud, torch.tensor([1, 1, 0]))
    assert picked[1] is None
    torch.testing.assert_close(picked[0][0][1], cloud[0][0][1])


def test_recomputed_layers_have_the_same_gradients(qformer, cloud_tokens, text):
    qformer.config.hidden_dropout_prob = 0.0
    gradients = []
    for recompute in (False, True):
        qformer.train()
        torch.manual_seed(0)
        qformer.config.checkpoint_layers = recompute
        qformer.zero_grad()
        qformer.joint_pass(qformer.project_cloud(cloud_tokens), *text).square().sum().backward()
        gradients.append([p.grad.clone() for p in qformer.parameters() if p.grad is not None])
    for plain, again in zip(*gradients):
        torch.testing.assert_close(plain, again)


def test_the_layers_compile_without_a_graph_break(qformer, cloud_tokens, text):
    ids, mask = text[0], text[1].bool()
    cloud = qformer.project_cloud(cloud_tokens)
    hidden = torch.cat(
        [
            qformer.bert.embeddings.queries(qformer.query_tokens, 2),
            qformer.bert.embeddings.words(ids, mask),
        ]
    )
    full_mask = torch.nn.functional.pad(mask, (5, 0), value=True)[:, None, None, :]
    inputs = (hidden, Layout.of_text(mask, 5), full_mask, cloud)
    compiled = torch.compile(qformer._run, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs)[0], qformer._run(*inputs)[0])


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), extra=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_packing_and_padding_undo_each_other(lengths, extra):
    mask = torch.arange(max(lengths) + extra)[None] < torch.tensor(lengths)[:, None]
    layout = Layout.of_text(mask, num_queries=2)
    packed = torch.randn(len(lengths) * 2 + sum(lengths), 3)
    assert torch.equal(layout.pack(layout.pad(packed)), packed)
    assert torch.equal(layout.leading(packed, 2), packed[: 2 * len(lengths)])


def test_stage_two_has_no_text_half():
    config = QFormerConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, with_text=False, encoder_width=8
    )
    names = QFormer(config).state_dict()
    assert not any("word_embeddings" in n or ".intermediate." in n or "cls." in n for n in names)


def test_masked_cloud_tokens_are_not_read(qformer, cloud_tokens, text):
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    noise = cloud_tokens.masked_fill(~mask[..., None], 9.0)
    cloud = qformer.project_cloud(noise, token_mask=mask)
    ids, text_mask = text
    for row, count in enumerate((7, 4)):
        alone = qformer.project_cloud(cloud_tokens[row : row + 1, :count])
        one = slice(row, row + 1)
        # The softmax sums fewer terms alone: equal but for rounding.
        close = {"atol": 1e-6, "rtol": 1e-5}
        ours, expected = qformer.query_pass(cloud)[0][one], qformer.query_pass(alone)[0]
        torch.testing.assert_close(ours, expected, **close)
        joint = qformer.joint_pass(cloud, ids, text_mask)[one]
        expected = qformer.joint_pass(alone, ids[one], text_mask[one])
        torch.testing.assert_close(joint, expected, **close)


def test_masks_follow_roles_and_selection(qformer, cloud_tokens, text):
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    cloud = qformer.project_cloud(cloud_tokens, token_mask=mask)
    twice, twice_mask = (torch.cat([part, part]) for part in text)
    shared = qformer.joint_pass(cloud, twice, twice_mask)
    copied = select_cloud(cloud, torch.tensor([0, 1, 0, 1]))
    expected = qformer.joint_pass(copied, twice, twice_mask)
    torch.testing.assert_close(shared, expected, atol=1e-6, rtol=1e-5)


def test_a_full_mask_changes_nothing_but_rounding(qformer, cloud_tokens):
    full = torch.ones(2, 7, dtype=torch.bool)
    masked = qformer.query_pass(qformer.project_cloud(cloud_tokens, token_mask=full))[0]
    plain = qformer.query_pass(qformer.project_cloud(cloud_tokens))[0]
    torch.testing.assert_close(masked, plain, atol=1e-6, rtol=1e-5)
