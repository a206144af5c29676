"""Texts and vectors become short vectors of length 1, by what training knew, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.features.own_vectors import embed_texts, reduce_vectors

TEXTS = pl.Series(
    [f"{colour} {thing} {n}x" for n, colour in enumerate(("red", "blue", "green")) for thing in ("shoe", "shirt", "hat")]
)
ALL = np.ones(len(TEXTS), dtype=bool)


def test_texts_of_like_words_are_near() -> None:
    vectors = embed_texts("here", TEXTS, ALL, 5, 1, "")
    assert vectors.dtype == np.float32
    assert vectors.shape == (9, 5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 4], "two things of one colour are nearer than two of no common word"
    assert np.array_equal(vectors, embed_texts("here", TEXTS, ALL, 5, 1, ""))


def test_fewer_words_than_numbers_are_filled_up() -> None:
    vectors = embed_texts("here", pl.Series(["red shoe", "red hat"]), np.array([True, True]), 8, 1, "")
    assert vectors.shape == (2, 8)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_text_of_words_that_training_does_not_know_is_zero() -> None:
    vectors = embed_texts("here", pl.Series(["red shoe", "blue hat", "gadget"]), np.array([True, True, False]), 2, 1, "")
    assert vectors[2].tolist() == [0.0, 0.0]


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), width=st.integers(1, 12), length=st.integers(1, 20))
def test_what_comes_later_changes_no_vector(seed: int, width: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(14, length))
    known = np.arange(14) < 10
    found = reduce_vectors(vectors, known, width, 1)
    assert found.shape == (14, min(width, length))
    assert (np.linalg.norm(found, axis=1) < 1 + 1e-5).all()
    other = np.concatenate([vectors[:10], rng.normal(size=(4, length)) * 9])
    assert np.array_equal(found[:10], reduce_vectors(other, known, width, 1)[:10])


def test_sentence_embeddings_are_reduced(tmp_path: Path) -> None:
    model2vec = pytest.importorskip(
        "model2vec", reason="LOUD: the extra text is not installed, so no sentence embedding was made"
    )
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = {word: place for place, word in enumerate(["[UNK]", "[PAD]", "red", "blue", "green", "shoe", "shirt", "hat"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(words), 12)).astype(np.float32)
    model2vec.StaticModel(weights, tokenizer).save_pretrained(str(tmp_path))
    vectors = embed_texts("here", pl.Series(["red shoe", "blue hat", "shoe red"]), np.ones(3, dtype=bool), 2, 1, str(tmp_path))
    assert vectors.shape == (3, 2)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5)


def test_a_component_that_no_text_has_is_0_and_not_rounding_noise() -> None:
    texts = pl.Series([f"fine thing number {n % 7}" for n in range(60)])
    vectors = embed_texts("here", texts, np.ones(60, dtype=bool), 4, 1, "")
    spread = np.abs(vectors).max(axis=0)
    assert all(each == 0.0 or each > 1e-6 for each in spread.tolist())
    crossed = reduce_vectors(np.outer(np.arange(1.0, 21.0), np.ones(12)), np.ones(20, dtype=bool), 4, 1)
    assert all(each == 0.0 or each > 1e-6 for each in np.abs(crossed).max(axis=0).tolist())
