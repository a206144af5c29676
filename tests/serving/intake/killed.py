"""Tracks numbered events until it is killed, and prints the number of each that was acknowledged; for test_intake."""

import asyncio
import sys
from pathlib import Path

from serving.intake.dead_letters import DeadLetters
from serving.intake.intake import Intake
from serving.intake.landing import land
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept

folder, numbers = Path(sys.argv[1]), iter(range(int(sys.argv[2]), 10**6))
store = SqliteStore(folder / "events.db", Kept(events=100_000))
intake = Intake(store, DeadLetters(folder / "dead-letters.jsonl"), 10_000)


async def send() -> None:
    for number in numbers:
        raw = {"event_id": f"e{number}", "user_id": "anna", "item_id": str(number), "event_type": "view"}
        outcome = await intake.track([raw, {**raw, "event_type": "bad", "event_id": f"bad{number}"}])
        assert outcome.accepted + outcome.duplicates == 1
        print(number, flush=True)


async def main() -> None:
    async def landing() -> None:
        while True:
            await asyncio.sleep(0.005)
            await asyncio.to_thread(land, store, folder / "landed", 7)

    await asyncio.gather(landing(), *(send() for _ in range(4)))


asyncio.run(main())
