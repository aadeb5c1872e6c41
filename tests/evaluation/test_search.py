"""Search of large galleries: equality with a full sort, int8 codes, memory maps, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import EvaluationError
from lavis.evaluation.search import (
    QuantizedGallery,
    int8_codes,
    max_similarity,
    quantize,
    search,
    two_stage_search,
)


def unit(generator, *shape):
    rows = generator.standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_gallery=st.integers(1, 40),
    blocks=st.tuples(st.integers(1, 9), st.integers(1, 50)),
    levels=st.sampled_from([2, 1000]),
)
def test_any_blocks_equal_a_stable_sort_of_the_full_matrix(seed, n_gallery, blocks, levels):
    generator = np.random.default_rng(seed)
    # Small whole numbers multiply without rounding, so that equal scores are really equal.
    queries = generator.integers(-levels, levels, (7, 4)).astype(np.float32)
    gallery = generator.integers(-levels, levels, (n_gallery, 3, 4)).astype(np.float32)
    k = min(5, n_gallery)
    found = search(queries, gallery, k, query_block=blocks[0], gallery_block=blocks[1])
    full = np.einsum("ne,mqe->nmq", queries, gallery).max(axis=2)
    expected = np.argsort(-full, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_array_equal(found.scores, np.take_along_axis(full, expected, 1))


def test_token_maximum_of_every_pairing():
    generator = np.random.default_rng(0)
    texts, objects = unit(generator, 5, 8), unit(generator, 700, 3, 8)  # more than one block
    full = np.einsum("ne,mqe->nmq", texts, objects).max(axis=2)
    np.testing.assert_allclose(max_similarity(texts, objects), full, atol=1e-6)
    np.testing.assert_allclose(max_similarity(objects, texts), full.T, atol=1e-6)


def test_codes_are_within_half_a_step():
    embeds = unit(np.random.default_rng(1), 10, 4, 32)
    codes, scales = int8_codes(embeds)
    assert codes.dtype == np.int8
    assert np.abs(codes).max() == 127
    assert np.abs(codes * scales[..., None] - embeds).max() <= scales.max() * 0.5001
    assert int8_codes(np.zeros((1, 1, 4), np.float32))[0].max() == 0


@pytest.mark.parametrize("on_disk", [True, False])
def test_int8_with_rescoring_finds_all_of_the_exact_best(tmp_path, on_disk):
    generator = np.random.default_rng(2)
    gallery, queries = unit(generator, 600, 8, 64), unit(generator, 20, 64)
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    folder = tmp_path / "codes" if on_disk else None
    codes = quantize(mapped, folder, block=100)
    exact = search(queries, mapped, 10)
    found = two_stage_search(queries, mapped, codes, 10, query_block=7, gallery_block=90)
    np.testing.assert_array_equal(found.indices, exact.indices)
    np.testing.assert_allclose(found.scores, exact.scores, atol=1e-6)
    if on_disk:
        assert QuantizedGallery.open(folder).codes.nbytes * 4 == gallery.nbytes


def test_an_unfinished_quantized_gallery_is_refused(tmp_path):
    quantize(np.ones((3, 2, 4), np.float32), tmp_path)
    (tmp_path / "complete.json").unlink()
    with pytest.raises(EvaluationError, match=r"complete\.json"):
        QuantizedGallery.open(tmp_path)


def test_bad_input_is_refused():
    gallery, queries = np.ones((3, 2, 4), np.float32), np.ones((2, 4), np.float32)
    for bad, k in ((np.ones((2, 5)), 1), (queries, 0), (queries, 4), (np.ones(4), 1)):
        with pytest.raises(EvaluationError, match="cannot be searched"):
            search(bad, gallery, k)
    with pytest.raises(EvaluationError, match=r"queries \[1\]"):
        search(np.array([[1, 1, 1, 1], [1, np.nan, 1, 1]], np.float32), gallery, 1)
    with pytest.raises(EvaluationError, match="disagree"):
        two_stage_search(queries, gallery[:2], quantize(gallery), 1)
    with pytest.raises(EvaluationError, match="no codes"):
        quantize(np.full((1, 2, 3), np.inf, np.float32))
