"""The page holds everything in one file, says what is missing, and is the same for equal runs."""

import json
import re
import shutil
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import RunError
from evaluation.evaluate import evaluate_run
from evaluation.figures import Evaluation
from evaluation.probabilities import AT_THRESHOLD
from evaluation.protocols.protocol import SAMPLED_PROBABILITIES_WARNING
from evaluation.report.details import DETAILS_FILE, NO_DETAILS, Details
from evaluation.report.page import write_report
from evaluation.settings import EvaluateSettings
from workflows.features.columns import FORMS
from workflows.tasks.task_names import OF_FORMS

SETTINGS = EvaluateSettings(candidates=20, cutoffs=(3, 10), bootstrap=100, baselines=("popular_in_category", "item_knn"))
SEED = 3
OPEN = {"meta", "br", "hr", "path", "use", "rect", "image"}


class Page(HTMLParser):
    """What the tests look at in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attrs)))
        if name not in OPEN:
            self.open.append(name)

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attrs)))

    def handle_endtag(self, name: str) -> None:
        if name not in OPEN:
            assert self.open.pop() == name

    def handle_data(self, text: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(text)

    @cached_property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def figures(self) -> list[str]:
        return [str(attributes["data-figure"]) for _, attributes in self.tags if "data-figure" in attributes]


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(report_file: Path) -> str:
    return report_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written: str) -> Page:
    return Page(written)


def test_every_part_is_there_and_the_contents_lead_to_it(page: Page) -> None:
    assert not page.open
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for name, attributes in page.tags if name == "a"]
    assert len(links) == 9
    assert {link[1:] for link in links} <= set(ids)


def test_everything_that_can_be_drawn_is_drawn(page: Page) -> None:
    lists = [
        f"{kind}-{task}" for task in ("two-stage", "retrieval") for kind in ("leaderboard", "differences", "by-k", "tradeoffs")
    ]
    chances = [f"{kind}-{task}" for task in ("ranking", "cart-line", "cart") for kind in ("leaderboard", "differences")]
    others = ["chances-ranking", "chances-cart-line", "segments", "learning", "days"]
    assert sorted(page.figures) == sorted([*lists, *chances, *others])


def test_cart_lines_are_told_by_history(page: Page) -> None:
    assert "Cart lines by the shopper's history" in page.text
    assert "minus base rate's" in page.text


def test_nothing_is_fetched_and_nothing_runs(page: Page, written: str) -> None:
    assert not [name for name, _ in page.tags if name in ("script", "link", "img", "iframe", "image")]
    outside = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href", "xlink:href")]
    assert all(str(value).startswith("#") for value in outside)
    (style,) = re.findall(r"(?s)<style.*?>(.*?)</style>", written)
    assert "url(" not in style
    assert "@import" not in style


def test_drawings_take_their_colours_from_the_theme(written: str) -> None:
    drawings = re.findall(r"(?s)<svg.*?</svg>", written)
    assert drawings
    for drawn in drawings:
        assert not re.findall(r"[:\"]\s*#[0-9a-fA-F]{3,8}\b", drawn)
    used = set(re.findall(r"var\(--(\w+)\)", written))
    assert used <= set(re.findall(r"--(\w+):", written))


def test_what_the_log_says_is_text_and_not_markup(page: Page) -> None:
    assert 'Teapot <img src=x onerror="alert(1)"> & lid' in page.text


def test_the_quality_of_the_data_and_the_lineage_are_told(page: Page) -> None:
    for part in (
        "100 of 1,000 rows of the log were rejected (10.00%)",
        "no_item",
        "carts censored",
        "7 sessions straddle the split",
        "rows in time order",
        "Seed 3. cartwheel 9.9.9, polars 1.2.3.",
        "cd34cd34cd34cd34",
        "ab12" * 16,
        "Only the evaluation reads the test split. The test split has been evaluated once, with one configuration",
    ):
        assert part in page.text


def test_how_the_log_was_split_is_told_with_the_data_and_with_every_table(page: Page, evaluated: Path) -> None:
    words = "by time: the latest 10% of the events test, the 10% before them validate, the rest trains"
    assert f"Split {words}." in page.text
    assert page.text.count(f"test split {words};") == len(set(Evaluation.read(evaluated).tasks) - OF_FORMS)


def test_what_comes_from_sampled_items_is_warned_of_by_its_figures_and_by_its_curves(page: Page) -> None:
    assert page.text.count(f"Warning: {SAMPLED_PROBABILITIES_WARNING}") == 2


def test_protocol_hashes_are_those_of_the_records(page: Page, evaluated: Path) -> None:
    for record in Evaluation.read(evaluated).records:
        assert record.protocol.hash in page.text


def test_each_form_of_request_is_told_of(page: Page, evaluated: Path) -> None:
    details = Details.read(evaluated)
    assert details is not None
    assert [each.name for each in details.requests] == list(FORMS)
    assert "Cart lines by form of request" in page.text
    for each in details.requests:
        assert each.calibration_error is not None
        assert f"{each.calibration_error.value:.4f} ({each.calibration_error.low:.4f} to" in page.text
    assert "stranger: every line gets a base rate" in page.text


def test_figures_are_those_of_the_records(page: Page, evaluated: Path) -> None:
    evaluation = Evaluation.read(evaluated)
    for model in ("two_tower+dlrm", "most_popular", "item_knn"):
        record = evaluation.find("two_stage", model, "ndcg", 3)
        assert record is not None
        assert f"{record.value:.4f}" in page.text


def test_decisions_are_shown_with_their_thresholds(page: Page, evaluated: Path) -> None:
    evaluation = Evaluation.read(evaluated)
    for task in ("ranking", "cart_line", "cart"):
        for model in ("dlrm", "logistic_regression", "gradient_boosting", "base_rate"):
            cells = []
            for metric in ("brier", *AT_THRESHOLD.values()):
                record = evaluation.find(task, model, metric)
                assert record is not None
                assert record.value is not None
                cells.append(f"{record.value:.4f} ±{(record.high - record.low) / 2:.3f}")
            assert " ".join([*cells, record.protocol.remark]) in page.text
    assert "Decisions: yes from the threshold on that has the highest F1 for the model on" in page.text
    assert "F1 at threshold Harmonic mean" in page.text


def test_equal_runs_give_equal_bytes(own_evaluated: Path, written: str) -> None:
    manifest = json.loads((own_evaluated / "manifest.json").read_text())
    manifest["stages"] |= {
        "evaluate": manifest["stages"]["events"]
    }  # as the stage itself writes when the report is there already
    (own_evaluated / "manifest.json").write_text(json.dumps(manifest))
    details = (own_evaluated / DETAILS_FILE).read_bytes()
    evaluate_run(own_evaluated, SETTINGS, SEED)
    assert (own_evaluated / DETAILS_FILE).read_bytes() == details
    assert write_report(own_evaluated).read_text(encoding="utf-8") == written


def test_a_run_without_its_telling_files_says_so(own_evaluated: Path) -> None:
    for name in (
        "manifest.json",
        "events/summary.json",
        "examples/report.json",
        *(f"models/{name}/history.json" for name in ("two_tower", "ranking", "cart")),
    ):
        (own_evaluated / name).unlink()
    (own_evaluated / DETAILS_FILE).unlink()
    page = page_of(own_evaluated)
    for part in (
        NO_DETAILS,
        "has no manifest",
        "has neither events/summary.json",
        "has no training history",
        "has no leakage audit",
    ):
        assert part in page.text
    assert "segments" not in page.figures
    assert "leaderboard-two-stage" in page.figures


def test_one_user_without_carts_gives_figures_without_intervals_and_no_carts(own_evaluated: Path) -> None:
    shutil.rmtree(own_evaluated / "models" / "cart")
    path = own_evaluated / "examples/test/recommend.parquet"
    pl.read_parquet(path).with_columns(user_key=pl.lit("user01")).write_parquet(path)
    evaluate_run(own_evaluated, SETTINGS, SEED)
    page = page_of(own_evaluated)
    assert not [name for name in page.figures if "cart" in name]
    assert {"chances-ranking", "leaderboard-two-stage", "segments"} <= set(page.figures)
    assert "of 1 users: few" in page.text


def test_a_split_in_which_nothing_came_true_is_told_and_not_drawn(own_evaluated: Path) -> None:
    path = own_evaluated / "examples/test/recommend.parquet"
    empty = pl.lit([], dtype=pl.List(pl.String)).alias("target_items")
    pl.read_parquet(path).with_columns(empty).write_parquet(path)
    for name in ("ranking", "cart"):
        path = own_evaluated / f"examples/test/{name}.parquet"
        pl.read_parquet(path).with_columns(label=pl.lit(0, pl.Int8), cart_label=pl.lit(0, pl.Int8)).write_parquet(path)
    evaluate_run(own_evaluated, SETTINGS, SEED)
    page = page_of(own_evaluated)
    for part in ("No anchor of the test split has a true item", "Not measured", "No task of this run has both outcomes"):
        assert part in page.text
    assert page.figures == ["learning", "days"]


def test_a_run_that_was_not_evaluated_has_no_report(own_evaluated: Path) -> None:
    (own_evaluated / "evaluation/metrics.json").unlink()
    with pytest.raises(RunError, match=r"metrics\.json is missing"):
        write_report(own_evaluated)


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("evaluation/details.json", "{", "does not contain the details of an evaluation"),
        ("evaluation/details.json", '{"segments": 3}', "does not contain the details of an evaluation"),
        (
            "models/two_tower/history.json",
            '{"epochs": [{"loss": "high"}], "best_epoch": 0}',
            "does not contain the epochs of a training",
        ),
        ("events/summary.json", "[1]", "contains list, expected a JSON object"),
        ("manifest.json", "{", "is not JSON"),
    ],
)
def test_a_damaged_file_is_named(own_evaluated: Path, path: str, content: str, told: str) -> None:
    (own_evaluated / path).write_text(content)
    with pytest.raises(RunError, match=told) as error:
        write_report(own_evaluated)
    assert path in str(error.value)


def test_details_survive_the_file(evaluated: Path, tmp_path: Path) -> None:
    before = Details.read(evaluated)
    assert before is not None
    before.write(tmp_path)
    assert Details.read(tmp_path) == before
