from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from workflows.simulate import SimulateSettings, simulate
from workflows.simulate.truth import Truth

SEED = 7


@dataclass(frozen=True)
class Shop:
    folder: Path
    settings: SimulateSettings
    events: pl.DataFrame
    truth: Truth

    def table(self, stem: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "truth" / f"{stem}.parquet")

    def of_type(self, event_type: str) -> pl.DataFrame:
        return self.events.filter(pl.col("event_type") == event_type)

    @property
    def item_ids(self) -> list[str]:
        return self.table("items")["item_id"].to_list()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    settings = SimulateSettings(shoppers=1500, items=600, days=42)
    simulate(settings, SEED, folder)
    events = pl.read_parquet(folder / "events.parquet").with_columns(us=pl.col("timestamp").dt.epoch("us"))
    return Shop(folder, settings, events, Truth.load(folder))
