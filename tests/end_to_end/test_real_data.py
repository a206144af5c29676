"""A configuration of the repository, run on the publisher's data to the end, served and asked."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from shop_runs import QUICK, ROOT, cartwheel, serving

from cartwheel.config import load_settings
from serving.client.client import Client


@pytest.fixture(scope="module", params=["quick", pytest.param("whole", marks=pytest.mark.thorough)])
def rees46(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ROOT / "configs" / "rees46.toml"
    path = load_settings(config).source.path
    if path is None or not path.exists():
        pytest.skip(f"LOUD: the REES46 data is not there ({path}), so no real data was run")
    folder = tmp_path_factory.mktemp("rees46")
    if request.param == "quick":
        given = re.sub(r"(?m)^path = .*$", lambda _: f'path = "{path}"', config.read_text())
        config = folder / "rees46.toml"
        config.write_text(given + QUICK)
    run = folder / "run"
    result = cartwheel("run", config, "--run", run)
    assert result.returncode == 0, result.stderr
    return run


def test_the_run_is_whole_and_says_what_it_leaves_out(rees46: Path) -> None:
    report = json.loads((rees46 / "examples" / "report.json").read_text())
    assert any("cart" in warning for warning in report["warnings"])
    audited = report["audit"]
    assert audited["rows_in_time_order"] == audited["rows_without_duplicates"] > 1000
    assert audited["rows_recomputed"] >= 100
    assert {"sessions_across_splits", "simultaneous_interactions"} <= audited.keys()
    assert pl.read_parquet(rees46 / "events" / "quarantine.parquet").height == 6


def test_what_is_served_beats_most_popular(rees46: Path) -> None:
    records = json.loads((rees46 / "evaluation" / "metrics.json").read_text())
    [gain] = [
        r for r in records if (r["task"], r["role"], r["metric"], r["k"]) == ("two_stage", "model", "ndcg_minus_most_popular", 10)
    ]
    assert gain["low"] > 0


def test_integer_ids_come_back_as_integers_and_a_cart_gets_completions(rees46: Path) -> None:
    items = pl.read_parquet(rees46 / "snapshot" / "items.parquet").sort("item_events", "item_id", descending=True)["item_id"]
    with serving(rees46) as (_, endpoint), Client(endpoint["grpc"]) as client:
        answer = client.recommend(541312140, k=5)
        assert all(isinstance(item.item_id, int) for item in answer)
        assert answer.user_id == 541312140
        cart = client.cart([int(items[0]), int(items[1])], k=3)
        assert cart.probability is None
        assert [line.probability for line in cart.lines] == [None, None]
        assert len(cart.completions) == 3
        assert len(client.similar_items(int(items[0]), k=4)) == 4
