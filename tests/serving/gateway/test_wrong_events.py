"""Events that no honest shop sends: refused in a sentence, each by itself, and nothing else lost by them."""

import httpx
import pytest
from running_gateway import Gateway

from benchmarks.fault_cases.tracking import PATH, TAKEN, Posted, event, posted

KINDS = list(posted())


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_what_is_wrong_with_events_is_told_and_loses_no_others(gateway: Gateway, kind: Posted) -> None:
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}", timeout=60) as http:
        try:
            answer = http.post(PATH, content=kind.body, headers={"content-type": kind.content_type})
        except httpx.TransportError:
            assert len(kind.body) > 2**20, "refused, and hung up on, before all of it was read"
        else:
            told = answer.json()
            assert answer.status_code in kind.statuses, told
            if answer.status_code == TAKEN:
                assert len(told["refused"]) == kind.refused
                assert all(why["reason"] and why["detail"] for why in told["refused"])
            else:
                assert told["error"]
            assert "Traceback" not in answer.text
        sound = http.post(PATH, json={"events": [event(f"after {kind.name}")]})
        assert (sound.status_code, sound.json()["accepted"]) == (TAKEN, 1)
