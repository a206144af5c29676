"""The table of neighbours: what it adds, by hand, and what is refused when it is read."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from cartwheel.core.errors import RunError
from models.families.neighbours.blend import FOLDER, Base, Blend, TableShares, read_blend
from models.families.neighbours.table import Neighbours

TABLE = Neighbours(np.array([[1, 2], [2, -1], [-1, -1]], np.int32), np.array([[0.5, 0.25], [1.0, 0.0], [0.0, 0.0]], np.float32))


def shares(decay: float) -> np.ndarray:
    return TableShares("ease", {decay: 1.0}).by_age(8)


def test_shares_of_several_decays_add_up() -> None:
    np.testing.assert_allclose(TableShares("ease", {1.0: 2.0, 0.5: 4.0}).by_age(3), [6.0, 4.0, 3.0])


def test_each_step_back_says_less() -> None:
    recent = np.array([[0, 1, -1], [1, 0, -1], [-1, -1, -1]])
    np.testing.assert_allclose(TABLE.scores(recent, shares(0.5)), [[0, 0.25, 0.125 + 1], [0, 0.5, 0.25 + 0.5], [0, 0, 0]])


def test_an_item_out_of_the_catalogue_takes_a_step_and_adds_nothing() -> None:
    np.testing.assert_allclose(TABLE.scores(np.array([[0, 3, -1]]), shares(0.5)), [[0, 0.25, 0.125]])


def test_padding_makes_no_difference() -> None:
    recent = np.array([[2, 0, 1]])
    wider = np.pad(recent, ((0, 0), (0, 4)), constant_values=-1)
    np.testing.assert_array_equal(TABLE.scores(recent, shares(0.8)), TABLE.scores(wider, shares(0.8)))


def test_single_entries_are_those_of_the_scores() -> None:
    recent = np.array([[0, 1], [1, 0]])
    np.testing.assert_array_equal(TABLE.spoken_for(recent, shares(0.7)).toarray(), TABLE.scores(recent, shares(0.7)))


def test_a_matrix_becomes_a_table_as_wide_as_its_longest_row() -> None:
    matrix = csr_matrix((np.array([3.0, 2.0, 1.0]), np.array([2, 1, 0]), np.array([0, 2, 2, 3])), shape=(3, 3))
    table = Neighbours.from_matrix(matrix, 5)
    assert table.columns.tolist() == [[2, 1], [-1, -1], [0, -1]]
    assert table.weights.tolist() == [[3, 2], [0, 0], [1, 0]]


def test_an_empty_matrix_becomes_a_table_that_adds_nothing() -> None:
    table = Neighbours.from_matrix(csr_matrix((3, 3)), 5)
    assert table.scores(np.array([[0, 1, 2]]), shares(1.0)).tolist() == [[0, 0, 0]]


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "table.npz")
    first = (tmp_path / "table.npz").read_bytes()
    back = Neighbours.read(tmp_path / "table.npz", 3)
    np.testing.assert_array_equal(back.columns, TABLE.columns)
    np.testing.assert_array_equal(back.weights, TABLE.weights)
    back.write(tmp_path / "table.npz")
    assert (tmp_path / "table.npz").read_bytes() == first


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    with pytest.raises(RunError, match=r"table\.npz cannot be read"):
        Neighbours.read(path, 3)
    TABLE.write(path)
    with pytest.raises(RunError, match=r"where \[4, K\] twice is expected"):
        Neighbours.read(path, 4)
    Neighbours(TABLE.columns + 1, TABLE.weights).write(path)
    with pytest.raises(RunError, match="outside the catalogue"):
        Neighbours.read(path, 3)
    Neighbours(TABLE.columns, TABLE.weights * np.nan).write(path)
    with pytest.raises(RunError, match="not a number"):
        Neighbours.read(path, 3)


def test_a_run_without_the_folder_retrieves_by_the_two_tower_alone(tmp_path: Path) -> None:
    assert read_blend(tmp_path) == Blend()


def test_a_blend_comes_back_as_it_was_written(tmp_path: Path) -> None:
    blend = Blend((TableShares("ease", {0.8: 1.5, 1.0: 0.25}),), Base(2.0, (0.5, -0.25), {"als": 0.5}), Base(0.0, (1.0, 0.0)))
    blend.write(tmp_path)
    assert read_blend(tmp_path) == blend


def written(
    shares: dict[str, float] | None = None,
    retrieval: float = 1.0,
    popularity: Sequence[float] = (0.0, 0.0),
    factors: dict[str, float] | None = None,
) -> str:
    base = {"retrieval": retrieval, "popularity": list(popularity), "factors": factors or {}}
    return json.dumps({"tables": [{"learner": "ease", "shares": shares or {}}], "known": base, "stranger": base})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"tables": []}', "cannot be read"),
        (written(shares={"0": 1}), "the decays and weights"),
        (written(shares={"0.5": -1}), "the decays and weights"),
        (written(shares={"0.5": float("inf")}), "the decays and weights"),
        (written(retrieval=-1.0), "no negative one of a model"),
        (written(factors={"als": -0.1}), "no negative one of a model"),
        (written(factors={"als": float("inf")}), "where finite numbers are expected"),
        (written(popularity=[float("nan"), 0.0]), "where finite numbers are expected"),
    ],
)
def test_a_blend_that_makes_no_sense_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "blend.json").write_text(content)
    with pytest.raises(RunError, match=message):
        read_blend(tmp_path)
