"""``cartwheel recommend-all``: recommendations for every user, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cartwheel.cli.rules_options import RulesFile, Where, parse_rules


def recommend_all(
    run: Annotated[
        Path,
        typer.Argument(help="A run directory after `cartwheel export`, or a configuration file, whose [serve.rules] then apply."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    k: Annotated[int, typer.Option("-k", help="Number of items per user.")] = 10,
    where: Where = None,
    rules_file: RulesFile = None,
    reasons: Annotated[bool, typer.Option("--reasons", help="Also write why each item is recommended.")] = False,
) -> None:
    """Write recommendations for every user of a run, equal to those of the served ensemble at the time of the export.

    Killed and started again with the same options it goes on where it was.

    Example: cartwheel recommend-all runs/shop --out recommendations.parquet -k 20 --where 'price < 100'
    """
    from serving.batch.recommend_all import Wanted
    from serving.batch.recommend_all import recommend_all as write
    from serving.settings import ServeSettings

    shop, folder = ServeSettings().rules, run
    if run.suffix == ".toml":
        from cartwheel.config import load_settings

        settings = load_settings(run)
        shop, folder = settings.serve.rules, settings.run
    done = write(folder, out, Wanted(k, parse_rules(rules_file, where=where), shop, reasons))
    told = [f"{done.users:,} users, {done.rows:,} rows in {out}"]
    if done.short:
        told.append(f"{done.short:,} users have fewer than {k} items")
    if done.resumed:
        told.append(f"{done.resumed:,} users were done before")
    Console(stderr=True).print(f"{'; '.join(told)}.", markup=False, highlight=False, soft_wrap=True)
