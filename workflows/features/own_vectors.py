"""Turns texts and vectors of any length into short vectors, fitted on what was known in training."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import DataError, MissingDependencyError
from cartwheel.core.packages import INSTALL
from workflows.events.asof import Bools

Floats32 = npt.NDArray[np.float32]

_MOST_FITTED: Final = 200_000
"""Distinct texts that are fitted on; of more a sample is drawn."""
_MOST_WORDS: Final = 50_000


_NOISE: Final = 1e-7
"""What is left of a component that no text has, by rounding: standardised it would outweigh everything."""


def embed_texts(where: str, texts: pl.Series, known: Bools, width: int, seed: int, embedding: str) -> Floats32:
    """Return one vector for each text.

    TF-IDF with sublinear counts, then a truncated singular value decomposition; or the sentence embedding of a model2vec model, then
    principal components.

    Args:
        where: how messages call the column.
        texts: String [V].
        known: bool [V], which of them were known in training; the others are only transformed.
        width: length of a vector.
        seed: fixes the decomposition.
        embedding: folder or name of a model2vec model; empty for TF-IDF.

    Returns:
        [V, width], each row of length 1, or 0 where no word of the text is known.

    Raises:
        DataError: the texts have no words.
        MissingDependencyError: model2vec is named and not installed.
    """
    if embedding:
        return reduce_vectors(_sentence_vectors(where, texts, embedding), known, width, seed)
    from sklearn.feature_extraction.text import TfidfVectorizer

    fitted = _sample(known, seed)
    words = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", max_features=_MOST_WORDS, dtype=np.float64)
    content = texts.to_list()
    try:
        matrix = words.fit_transform([content[place] for place in fitted])
    except ValueError:
        raise DataError(
            f"{where}: none of the {len(fitted):,} texts that training knows has a word of two letters or digits.",
            "Declare the column as a category, or leave it out.",
        ) from None
    if min(matrix.shape) <= width:
        return _padded(_unit(_exact(words, matrix, content, width)), width)
    from sklearn.decomposition import TruncatedSVD

    decomposition = TruncatedSVD(n_components=width, n_iter=7, random_state=seed)
    decomposition.fit(matrix)
    return _padded(_unit(decomposition.transform(words.transform(content))), width)


def _exact(words: Any, matrix: Any, content: list[str], width: int) -> npt.NDArray[np.float64]:
    """Return the vectors where there are fewer words or texts than ``width``: by an exact decomposition."""
    fitted = np.asarray(matrix.todense())
    _, strength, directions = np.linalg.svd(fitted, full_matrices=False)
    kept = directions[strength > 1e-9][:width]
    kept = kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]
    return np.asarray(words.transform(content) @ kept.T)


def reduce_vectors(vectors: npt.NDArray[np.float64], known: Bools, width: int, seed: int) -> Floats32:
    """Return vectors of at most ``width`` numbers and of length 1: principal components where they are longer.

    Args:
        vectors: float64 [V, D].
        known: bool [V], which of them were known in training; the components are those of these.
        width: the longest result.
        seed: fixes the components.

    Returns:
        [V, min(width, D)].
    """
    length = vectors.shape[1]
    if length <= width:
        return _padded(_unit(vectors), length)
    from sklearn.decomposition import PCA

    fitted = vectors[_sample(known, seed)]
    components = PCA(
        n_components=min(width, *fitted.shape), svd_solver="full" if length <= 512 else "randomized", random_state=seed
    )
    components.fit(fitted)
    return _padded(_unit(components.transform(vectors)), width)


def _sample(known: Bools, seed: int) -> npt.NDArray[np.int64]:
    places = np.flatnonzero(known).astype(np.int64)
    if len(places) > _MOST_FITTED:
        places = np.sort(np.random.default_rng(seed).choice(places, _MOST_FITTED, replace=False))
    return places


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors, dtype=np.float64), where=length > 1e-12)
    return np.where(np.abs(unit) < _NOISE, 0.0, unit)


def _padded(vectors: npt.NDArray[np.float64], width: int) -> Floats32:
    whole = np.zeros((len(vectors), width), dtype=np.float32)
    whole[:, : vectors.shape[1]] = vectors
    return whole


def _sentence_vectors(where: str, texts: pl.Series, embedding: str) -> npt.NDArray[np.float64]:
    try:
        from model2vec import StaticModel
    except ImportError:
        raise MissingDependencyError(
            f"{where} is embedded by the model2vec model {embedding!r}, and model2vec is not installed.", INSTALL.format("text")
        ) from None
    try:
        model = StaticModel.from_pretrained(embedding)
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{where}: there is no model2vec model {embedding!r} ({reason}).", "Give the folder of one, or leave embedding out."
        ) from error
    return np.asarray(model.encode(texts.to_list()), dtype=np.float64)
