"""Leave-one-out is checked to be it, sentences say what the numbers say, and the whole command runs at tiny sizes; never who leads."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pytest

from benchmarks.leaders.data_sets import DATA_SETS, DataSet, Plan, chosen, parse_changes, planned
from benchmarks.leaders.leave_one_out import LAST, TICK, Clocked, on_clock, require_leave_one_out
from benchmarks.leaders.logs import read_amazon_beauty, read_movielens
from benchmarks.leaders.page import page, stage_alone, verdict
from benchmarks.leaders.standing import Alone, Figure, Lead, Row, Standing, ranked
from cartwheel.core.errors import DataError, RunError, UsageError
from cartwheel.core.frames import read_frame
from cartwheel.core.tables import read_json
from cartwheel.pipeline.stages import STAGES
from cartwheel.pipeline.work import events, examples
from evaluation.report.terminal import Outcome
from workflows.settings import PrepareSettings, RecommendSettings

SCRIPT: Final = Path(__file__).resolve().parents[2] / "benchmarks" / "leaderboard.py"
BASELINES: Final = {
    *("most_popular", "recently_popular", "popular_in_category"),
    *("item_knn", "vsknn", "ease", "als", "bpr", "markov_next_item"),
}


def leaderboard(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=580, check=False)


def data_set(name: str) -> DataSet:
    return next(each for each in DATA_SETS if each.name == name)


def sequences(users: int = 60, items: int = 40, seed: int = 0) -> dict[int, list[int]]:
    """Users of 1 to 12 items; each likes the items of one half of the shop more."""
    draw = np.random.default_rng(seed)
    result = {}
    for user in range(1, users + 1):
        taste = np.where(np.arange(items) % 2 == user % 2, 5.0, 1.0)
        length = [1, 2, 3][user - 1] if user <= 3 else int(draw.integers(3, 13))
        result[user] = (draw.choice(items, size=length, replace=False, p=taste / taste.sum()) + 1).tolist()
    return result


def write_beauty(folder: Path, logs: dict[int, list[int]]) -> None:
    folder.mkdir(parents=True)
    (folder / "Beauty.txt").write_text("".join(f"{user} {' '.join(map(str, items))}\n" for user, items in logs.items()))
    attributes = {str(item): [100 + item % 3, 7, 8 + item % 2] for item in range(1, 41)}
    (folder / "Beauty_item2attributes.json").write_text(json.dumps(attributes))


def write_movielens(folder: Path, logs: dict[int, list[int]]) -> None:
    """Write the ratings by film, so that their order in the file is not that of time."""
    folder.mkdir(parents=True)
    rows = sorted(
        f"{user},{item},4.0,{1_000_000 + 60 * place}" for user, items in logs.items() for place, item in enumerate(items)
    )
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *rows]) + "\n")
    films = [f"{item},Film {item},{'Drama|War' if item % 2 else 'Comedy'}" for item in range(1, 41)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]) + "\n")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_beauty(tmp_path / "data" / "amazon-beauty", sequences())
    write_movielens(tmp_path / "data" / "movielens-latest-small", sequences())
    return tmp_path / "data"


def prepared(name: str, data: Path, work: Path, *changes: str) -> tuple[Plan, Clocked]:
    plan = planned(data_set(name), data, work, parse_changes(changes), quick=True)
    assert plan.clocked is not None
    plan.settings.run.mkdir(parents=True, exist_ok=True)
    events(plan.settings.run, plan.settings)
    examples(plan.settings.run, plan.settings)
    return plan, plan.clocked


class TestLeaveOneOut:
    @pytest.mark.parametrize("name", ["amazon_beauty", "movielens"])
    def test_a_run_by_time_asks_each_user_for_the_last_item_after_all_others(self, name: str, data: Path, tmp_path: Path) -> None:
        plan, clocked = prepared(name, data, tmp_path / "work", "prepare.recent_items=10")
        require_leave_one_out(plan.settings.run, clocked, plan.settings.prepare.max_eval_anchors)
        logs = sequences()
        asked = {str(user): items for user, items in logs.items() if len(items) >= 3}
        assert max(len(items) for items in asked.values()) > 11, "more than a query looks back on"
        for split, end in (("test", -1), ("valid", -2)):
            rows = read_frame(plan.settings.run / "examples" / split / "recommend.parquet")
            assert set(rows["user_key"]) == set(asked)
            for user, recent, target, hidden in rows.select("user_key", "recent_items", "target_items", "left_out").iter_rows():
                assert target == [str(asked[user][end])]
                assert recent == [str(item) for item in asked[user][:end]][-10:]
                assert hidden == sorted(str(item) for item in asked[user][:end])
        train = read_frame(plan.settings.run / "examples" / "train" / "recommend.parquet")
        held = {(user, str(item)) for user, items in asked.items() for item in items[-2:]}
        everything = {(str(user), str(item)) for user, items in logs.items() for item in items}
        assert set(train.select("user_key", "item_id").iter_rows()) == everything - held

    def test_users_who_cannot_be_asked_only_train_and_are_told(self, data: Path, tmp_path: Path) -> None:
        plan, clocked = prepared("amazon_beauty", data, tmp_path / "work", "prepare.recent_items=10")
        assert (clocked.users, clocked.asked, clocked.too_few) == (60, 58, 2)
        assert "58 of 60 users are asked; 2 with too few" in plan.split

    @pytest.mark.parametrize("rule", ["recent", "purchased", "nothing"])
    def test_another_rule_of_what_may_come_back_is_refused(self, rule: str, data: Path, tmp_path: Path) -> None:
        change = f"recommend.leave_out={rule}"
        plan, clocked = prepared("amazon_beauty", data, tmp_path / "work", "prepare.recent_items=10", change)
        with pytest.raises(RunError, match=r"is not leave-one-out: .* which are left out, user"):
            require_leave_one_out(plan.settings.run, clocked, plan.settings.prepare.max_eval_anchors)

    def test_all_happens_at_one_hour_of_one_weekday(self, data: Path) -> None:
        clocked = on_clock(read_amazon_beauty(data / "amazon-beauty"))
        times = clocked.events["timestamp"]
        assert times.dt.weekday().n_unique() == times.dt.hour().n_unique() == 1
        assert times.max() == LAST
        own = clocked.events.select(pl.col("timestamp").diff().over("user_id"))["timestamp"]
        assert set(own.drop_nulls()) == {TICK}

    def test_a_sample_of_the_users_is_allowed_and_told(self, data: Path, tmp_path: Path) -> None:
        plan, clocked = prepared("movielens", data, tmp_path / "work", "prepare.max_eval_anchors=20")
        require_leave_one_out(plan.settings.run, clocked, 20)
        assert "of those asked 20 are drawn" in plan.split

    @pytest.mark.parametrize(
        ("change", "found"), [("prepare.test_share=0.3", "test begins at"), ("prepare.valid_share=0.4", "valid begins at")]
    )
    def test_another_split_is_refused(self, change: str, found: str, data: Path, tmp_path: Path) -> None:
        plan, clocked = prepared("amazon_beauty", data, tmp_path / "work", change)
        with pytest.raises(RunError, match=f"is not leave-one-out: {found}"):
            require_leave_one_out(plan.settings.run, clocked, plan.settings.prepare.max_eval_anchors)

    def test_other_users_are_refused(self, data: Path, tmp_path: Path) -> None:
        plan, _ = prepared("amazon_beauty", data, tmp_path / "work")
        fewer = on_clock(read_amazon_beauty(data / "amazon-beauty").filter(pl.col("user_id").cast(pl.Int64) > 20))
        with pytest.raises(RunError, match=r"is not leave-one-out: .* users, not once for each of \d\d"):
            require_leave_one_out(plan.settings.run, fewer, 5_000)

    def test_other_truth_is_refused(self, data: Path, tmp_path: Path) -> None:
        plan, _ = prepared("amazon_beauty", data, tmp_path / "work")
        turned = read_amazon_beauty(data / "amazon-beauty").reverse()
        with pytest.raises(RunError, match="otherwise than for the next item after all before, which are left out, user"):
            require_leave_one_out(plan.settings.run, on_clock(turned), 5_000)

    def test_an_item_twice_is_refused(self) -> None:
        log = pl.DataFrame({"user_id": [1, 1, 1, 1], "item_id": [5, 6, 7, 6]})
        with pytest.raises(DataError, match="User 1 has the item 6 more than once"):
            on_clock(log)

    def test_a_log_of_nobody_to_ask_is_refused(self) -> None:
        with pytest.raises(DataError, match="None of the 1 users has 3 interactions"):
            on_clock(pl.DataFrame({"user_id": [1, 1], "item_id": [5, 6]}))

    def test_the_same_log_leaves_the_file_as_it_is(self, data: Path, tmp_path: Path) -> None:
        clocked, file = on_clock(read_amazon_beauty(data / "amazon-beauty")), tmp_path / "events.parquet"
        clocked.write(file)
        before = file.stat().st_mtime_ns
        clocked.write(file)
        assert file.stat().st_mtime_ns == before
        on_clock(read_amazon_beauty(data / "amazon-beauty").head(100)).write(file)
        assert len(pl.read_parquet(file)) == 100


class TestLogs:
    def test_beauty_has_the_narrowest_category_and_the_brand(self, data: Path) -> None:
        found = read_amazon_beauty(data / "amazon-beauty").unique("item_id")
        for item, category, brand in found.select("item_id", "category", "brand").iter_rows():
            assert (category, brand) == (str(8 + item % 2), str(100 + item % 3))

    def test_a_category_that_stands_first_is_no_brand(self, tmp_path: Path) -> None:
        (tmp_path / "Beauty.txt").write_text("1 1 2 3\n")
        (tmp_path / "Beauty_item2attributes.json").write_text('{"1": [9, 4], "2": [4, 5], "3": []}')
        found = read_amazon_beauty(tmp_path).select("category", "brand").rows()
        assert found == [("4", "9"), ("5", None), (None, None)]

    def test_beauty_without_attributes_has_none(self, tmp_path: Path) -> None:
        (tmp_path / "Beauty.txt").write_text("1 1 2 3\n")
        assert read_amazon_beauty(tmp_path).columns == ["user_id", "item_id"]

    def test_attributes_of_another_shape_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "Beauty.txt").write_text("1 1 2 3\n")
        (tmp_path / "Beauty_item2attributes.json").write_text("[1, 2]")
        with pytest.raises(DataError, match="expected an object of item"):
            read_amazon_beauty(tmp_path)

    def test_ratings_come_in_the_order_of_time_with_their_genre(self, data: Path) -> None:
        found = read_movielens(data / "movielens-latest-small")
        for user, items in sequences().items():
            own = found.filter(pl.col("user_id") == str(user))
            assert own["item_id"].to_list() == [str(item) for item in items]
            assert own["category"].to_list() == ["Drama" if item % 2 else "Comedy" for item in items]

    def test_ratings_of_one_time_come_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,9,4,20\n1,3,4,10\n1,8,4,10\n")
        assert read_movielens(tmp_path)["item_id"].to_list() == ["3", "8", "9"]

    def test_a_rating_without_time_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,9,4,20\n1,3,4,soon\n")
        with pytest.raises(DataError, match="rating 2 lacks its user, its film or its time"):
            read_movielens(tmp_path)


class TestPlans:
    def test_settings_of_the_command_line_win_and_are_told(self, data: Path, tmp_path: Path) -> None:
        told = ["two_tower.temperature=0.2", "two_tower.hidden=[64, 32]", "seed=7"]
        plan = planned(data_set("amazon_beauty"), data, tmp_path, parse_changes(told), quick=False)
        assert plan.settings.two_tower.temperature == plan.changed["two_tower.temperature"] == 0.2
        assert plan.settings.two_tower.hidden == (64, 32)
        assert plan.settings.seed == plan.changed["seed"] == 7
        assert plan.settings.evaluate.max_two_stage_anchors == plan.settings.prepare.max_eval_anchors == 58
        assert "source.path" not in plan.changed
        assert "ranking.epochs" not in plan.changed

    def test_a_split_by_time_has_the_settings_of_its_configuration(self, tmp_path: Path) -> None:
        plan = planned(data_set("rees46"), tmp_path, tmp_path / "work", {}, quick=False)
        assert plan.settings.source.path == tmp_path / "rees46" / "2019-Oct.csv"
        assert plan.settings.run == tmp_path / "work" / "rees46"
        assert plan.changed == {
            "prepare.state_minutes": 5,
            "prepare.popularity_days": 0.04,
            "prepare.horizon_days": 0.05,
            "prepare.cart_window_hours": 0.25,
        }
        assert plan.split == "by time: the latest 10% of the events test, the 10% before them validate, the rest trains"

    def test_the_simulated_shop_is_that_of_the_demo(self, tmp_path: Path) -> None:
        plan = planned(data_set("simulated"), tmp_path, tmp_path / "work", {}, quick=False)
        assert (plan.settings.source.shoppers, plan.settings.source.items, plan.changed) == (4000, 2000, {})

    def test_cutoffs_without_ten_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"evaluate.cutoffs is \[5\], without the 10"):
            planned(data_set("simulated"), tmp_path, tmp_path, parse_changes(["evaluate.cutoffs=[5]"]), quick=False)

    @pytest.mark.parametrize("name", [each.name for each in DATA_SETS])
    def test_one_rule_says_for_all_what_may_come_back_and_models_have_their_defaults(
        self, name: str, data: Path, tmp_path: Path
    ) -> None:
        judged = data_set(name)
        if judged.make is not None:
            judged = replace(judged, make=lambda *_: tmp_path / "events.parquet")
        plan = planned(judged, data, tmp_path / "work", {}, quick=False)
        rule = "nothing" if name == "movielens_with_seen" else "interacted"
        assert plan.settings.recommend == RecommendSettings(leave_out=rule)
        assert plan.settings.prepare.recent_items == PrepareSettings().recent_items
        models = ("retrieval", "two_tower", "item_to_item", "ranking", "cart", "features")
        assert not [key for key in plan.changed if key.startswith(models)]

    def test_the_data_sets_come_in_one_order(self) -> None:
        assert [each.name for each in chosen(["simulated", "movielens"])] == ["movielens", "simulated"]
        assert [each.name for each in DATA_SETS if each not in chosen([])] == ["simulated_large"]
        assert [each.name for each in chosen(["simulated_large"])] == ["simulated_large"]

    def test_logs_that_are_made_are_made_once_for_a_seed(self, tmp_path: Path) -> None:
        first = planned(data_set("shop_of_seasons"), tmp_path, tmp_path / "work", {}, quick=True).settings.source.path
        assert first is not None
        before, log = first.stat().st_mtime_ns, pl.read_parquet(first)
        planned(data_set("shop_of_seasons"), tmp_path, tmp_path / "work", {}, quick=True)
        assert first.stat().st_mtime_ns == before
        planned(data_set("shop_of_seasons"), tmp_path, tmp_path / "work", {"seed": 2}, quick=True)
        assert not pl.read_parquet(first).equals(log)

    def test_purchases_alone_are_taken_from_retailrocket(self, tmp_path: Path) -> None:
        file = tmp_path / "retailrocket" / "events.csv"
        file.parent.mkdir()
        rows = ["1433221332117,7,view,10,", "1433221332118,7,transaction,10,1", "1433221332000,8,transaction,11,2"]
        file.write_text("\n".join(["timestamp,visitorid,event,itemid,transactionid", *rows]) + "\n")
        plan = planned(data_set("retailrocket_purchases"), tmp_path, tmp_path / "work", {}, quick=False)
        assert plan.settings.source.path is not None
        found = pl.read_parquet(plan.settings.source.path)
        assert found.select("user_id", "item_id", "event_type").rows() == [("8", "11", "purchase"), ("7", "10", "purchase")]
        assert found["timestamp"].dt.epoch("ms").to_list() == [1433221332000, 1433221332118]


def figures(value: float) -> dict[str, Figure]:
    whole = Figure(value=value, low=value - 0.01, high=value + 0.01)
    return {"ndcg@10": whole, "recall@20": whole, "hit_rate@10": whole, "coverage@10": whole}


def lead(value: float, of: Outcome) -> Lead:
    return Lead(value=value, low=value - 0.01, high=value + 0.01, p_holm=0.2 if of == "tied" else 0.0005, outcome=of)


def standing(**leads: tuple[float, Outcome]) -> Standing:
    """Our pipeline at 0.1 beside baselines with that lead of ours, the two-tower alone and an oracle."""
    rows = [
        Row(model="two_tower+dlrm", place="ours", figures=figures(0.1)),
        Row(model="oracle", place="oracle", figures=figures(0.3)),
    ]
    rows.append(Row(model="two_tower", place="ours", figures=figures(0.09), lead=lead(0.01, "tied")))
    rows += [
        Row(model=name, place="baseline", figures=figures(0.1 - value), lead=lead(value, of))
        for name, (value, of) in leads.items()
    ]
    return Standing(
        name="movielens",
        best="two_tower+dlrm",
        rows=sorted(rows, key=lambda row: -row.ndcg),
        alone=[
            Alone(model="two_tower", ndcg=figures(0.09)["ndcg@10"], leads={name: lead(*told) for name, told in leads.items()})
        ],
        split="by a coin",
        protocol={"hash": "0123456789ab", "left out": "what was seen"},
        settings={"prepare.horizon_days": 200},
        seed=1,
        seconds={"events": 1.5, "evaluate": 20.0},
        machine="2 cores",
        options=" --only movielens",
        quick=False,
    )


class TestSentences:
    @pytest.mark.parametrize(
        ("leads", "begins", "holds"),
        [
            (
                {"ease": (0.02, "better"), "bpr": (0.05, "better")},
                "**First**",
                "beats all 2 baselines; the strongest is EASE (+0.0200 [+0.0100, +0.0300], p < 0.001)",
            ),
            (
                {"ease": (0.005, "tied"), "bpr": (0.05, "better")},
                "**Tied for first**",
                "of rank 1, cannot be told from EASE (+0.0050 [-0.0050, +0.0150], p = 0.200).",
            ),
            ({"ease": (-0.005, "tied"), "bpr": (0.05, "better")}, "**Tied for first**", "of rank 2, cannot be told from EASE"),
            (
                {"ease": (-0.02, "worse"), "bpr": (0.001, "tied")},
                "**Behind**",
                "is behind EASE (-0.0200 [-0.0300, -0.0100], p < 0.001).",
            ),
            ({"ease": (0.02, "unknown")}, "**Undecided**", "could not be compared with EASE"),
        ],
    )
    def test_the_standing_is_what_the_tests_say(self, leads: dict[str, tuple[float, Outcome]], begins: str, holds: str) -> None:
        told = verdict(standing(**leads))
        assert told.startswith(f"{begins}: two-tower + DLRM")
        assert holds in told

    def test_the_first_stage_is_told_what_it_beats(self) -> None:
        told = stage_alone(standing(most_popular=(0.03, "better"), item_knn=(-0.03, "worse"), bpr=(0.001, "tied")).alone[0])
        assert told.startswith("Alone, the two-tower has an NDCG@10 of 0.0900 [0.0800, 0.1000]: it beats most popular (+0.0300")
        assert "; it is tied with BPR (+0.0010" in told
        assert "; it is behind item kNN (-0.0300" in told

    def test_the_oracle_has_no_rank(self) -> None:
        assert [(rank, row.model) for rank, row in ranked(standing(ease=(0.02, "better"), bpr=(0.02, "better")).rows)] == [
            ("–", "oracle"),  # noqa: RUF001
            ("1", "two_tower+dlrm"),
            ("2", "two_tower"),
            ("3", "ease"),
            ("3", "bpr"),
        ]

    def test_the_page_has_every_figure_and_what_is_missing(self) -> None:
        told = page([standing(ease=(0.02, "better"))], {"rees46": "there is no rees46/2019-Oct.csv"})
        assert "| 3 | EASE | 0.0800 [0.0700, 0.0900] | 0.0800 [0.0700, 0.0900] | 0.0800 | 0.0800 |" in told
        assert "| 1 | **two-tower + DLRM** | 0.1000" in told
        assert "| – | oracle (knows the truth, not ranked) |" in told  # noqa: RUF001
        assert "| REES46 | not judged: there is no rees46/2019-Oct.csv |" in told
        assert "[MovieLens latest-small](#movielens-latest-small) | two-tower + DLRM 0.1000 | EASE 0.0800 | +0.0200" in told
        assert "- made by: `.venv/bin/python benchmarks/leaderboard.py --only movielens`" in told
        assert "- seconds: 22 (events 2, evaluate 20)" in told
        assert "`prepare.horizon_days = 200`" in told
        assert "One rule for all data sets. Left out: what was seen." in told
        assert "--quick" not in told

    def test_what_is_not_run_now_keeps_its_row_and_section(self) -> None:
        one = standing(ease=(0.02, "better")).model_copy(update={"state": "abc1234 of 2026-01-02"})
        former = page([one, one.model_copy(update={"name": "yoochoose", "state": "older"})], {"rees46": "not run yet"})
        changed = one.model_copy(update={"name": "rees46", "seed": 8})
        told = page([changed], {"movielens": "not run yet", "yoochoose": "gone", "simulated": "not run yet"}, former)
        rows = [line for line in told.splitlines() if line.startswith("| [")]
        assert [row.split("]")[0] for row in rows] == ["| [MovieLens latest-small", "| [REES46", "| [YooChoose"]
        assert rows[0] in former
        for name in ("MovieLens latest-small", "YooChoose"):
            section = former[former.index(f"## {name}") :].split("\n## ")[0].strip()
            assert f"{section}\n" in told
        assert told.count("- seed: 8") == told.count("- state: older") == told.count("- state: abc1234 of 2026-01-02") - 1 == 1
        assert "| The simulated shop | not judged: not run yet |" in told
        assert told.count("## YooChoose") == 1

    def test_the_page_says_where_there_is_not_one_rule(self) -> None:
        one = standing(ease=(0.02, "better"))
        other = one.model_copy(update={"name": "rees46", "protocol": {**one.protocol, "left out": "nothing"}})
        told = page([one, other, one.model_copy(update={"name": "simulated"})], {})
        assert "**Not one rule for all data sets**" in told
        assert "what was seen (MovieLens latest-small and The simulated shop); nothing (REES46)." in told
        assert "One rule for all" not in told
        assert "rule" not in page([], {}).lower()

    def test_a_standing_comes_back_from_its_file(self, tmp_path: Path) -> None:
        kept = standing(ease=(0.02, "better"))
        kept.write(tmp_path)
        assert Standing.read(tmp_path, "movielens") == kept
        assert Standing.read(tmp_path, "rees46") is None
        (tmp_path / "movielens.json").write_text("{}")
        with pytest.raises(RunError, match=r"movielens.json is no standing of this version .* --only movielens"):
            Standing.read(tmp_path, "movielens")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--only", "netflix"), 2, "--only netflix: there is no such data set. There are retailrocket, online_retail"),
        (("--set", "two_tower"), 2, "--set two_tower: no setting. Write section.key=value"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = leaderboard(*arguments)
    assert message in result.stderr
    assert result.returncode == code


def test_data_that_is_not_there_is_told_and_left_out(tmp_path: Path) -> None:
    result = leaderboard(
        "--only", "amazon_beauty", "--data", tmp_path, "--work", tmp_path / "work", "--out", tmp_path / "report.md"
    )
    assert result.returncode == 0, result.stderr
    assert "LEFT OUT: there is no amazon-beauty/Beauty.txt" in result.stderr
    told = (tmp_path / "report.md").read_text()
    assert "| Amazon Beauty | not judged: there is no amazon-beauty/Beauty.txt |" in told
    assert "| REES46 | not judged: not run yet |" in told


@pytest.mark.thorough
def test_the_whole_command_at_a_tiny_size(data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    options = ("--quick", "--data", data, "--work", work)
    first = leaderboard("--only", "amazon_beauty", *options)
    assert first.returncode == 0, first.stderr
    kept = Standing.read(work / "quick", "amazon_beauty")
    assert kept is not None
    run = work / "quick" / "amazon_beauty"
    assert {row.model for row in kept.rows if row.place == "baseline"} == BASELINES
    assert {kept.best, "two_tower"} <= {row.model for row in kept.rows if row.place == "ours"}
    assert all(row.lead is not None and row.lead.outcome != "unknown" for row in kept.rivals)
    assert [set(alone.leads) for alone in kept.alone] == [{"most_popular", "item_knn", "bpr"}] * len(kept.alone)
    assert kept.protocol["sample"].startswith("58 anchors, 58 users, 58 truth items, 40 catalogue items; 100.0% of the truth")
    assert read_json(run / "examples" / "report.json")["t_test"] == LAST.isoformat()
    assert verdict(kept).replace("**", "") in first.stderr

    # One that fails and one whose data is gone keep neither the first table nor the others from the report.
    (data / "movielens-latest-small" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,9,4,20\n")
    second = leaderboard(*options, "--only", "amazon_beauty,movielens,rees46")
    assert second.returncode == DataError.exit_code
    assert second.stderr.count("already done, skipped") == sum(stage.command != "export" for stage in STAGES)
    report = (work / "quick" / "leaderboard.md").read_text()
    assert "## Amazon Beauty" in report
    assert "| MovieLens latest-small | not judged: the run failed (None of the 1 users has 3 interactions" in report
    assert "| REES46 | not judged: there is no rees46/2019-Oct.csv |" in report
    assert "Made with `--quick`" in report
    assert f"{kept.row('ease').ndcg:.4f}" in report
    assert (
        "One rule for all data sets. Left out: what the shopper had interacted with (view, cart, purchase, rating), over the"
        in report
    )


@pytest.mark.thorough
def test_the_simulated_shop_has_an_oracle_that_is_not_ranked(tmp_path: Path) -> None:
    result = leaderboard("--quick", "--only", "simulated", "--work", tmp_path, "--out", tmp_path / "report.md")
    assert result.returncode == 0, result.stderr
    kept = Standing.read(tmp_path / "quick", "simulated")
    assert kept is not None
    assert kept.row("oracle").lead is None
    assert kept.row("oracle").ndcg > kept.row("most_popular").ndcg
    assert "| – | oracle (knows the truth, not ranked) |" in (tmp_path / "report.md").read_text()  # noqa: RUF001
