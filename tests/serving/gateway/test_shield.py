"""Requests that their clients give up: none of it reaches Triton, which a cancellation can end."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import httpx
from running_gateway import Gateway, infer, rpc, until

METHOD = "/inference.GRPCInferenceService/ModelInfer"
REQUESTS = 1500


def programs(gateway: Gateway) -> set[int]:
    """Triton and the programs that run its models, of this run alone."""
    processes = {
        int(path.parent.name): (path.read_text(), path.with_name("cmdline").read_bytes())
        for path in Path("/proc").glob("[0-9]*/comm")
        if path.exists()
    }
    [triton] = [pid for pid, (name, line) in processes.items() if name == "tritonserver\n" and str(gateway.run).encode() in line]
    children = Path(f"/proc/{triton}/task/{triton}/children").read_text().split()
    return {triton, *map(int, children)}


def test_triton_survives_thousands_of_requests_that_are_cancelled_or_late(gateway: Gateway) -> None:
    rng = random.Random(1)
    before, codes = programs(gateway), Counter[str]()
    requests = [
        infer("recommend", user_id=["u1"]).SerializeToString(),
        infer("cart", cart_items=["1003", "1004"], user_id=["u2"]).SerializeToString(),
        infer("similar_items", item_id=["1003"]).SerializeToString(),
    ]
    with grpc.insecure_channel(gateway.endpoint.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        ask = channel.unary_unary(METHOD)
        for _ in range(REQUESTS // 30):
            calls = [ask.future(rng.choice(requests), timeout=rng.uniform(0.0005, 0.05)) for _ in range(30)]
            for call in rng.sample(calls, 10):
                call.cancel()
            codes.update("OK" if call.cancelled() or call.exception() is None else call.code().name for call in calls)
        assert rpc(channel, "ModelInfer", requests[0])
    assert codes["DEADLINE_EXCEEDED"] > 50
    assert set(codes) <= {"OK", "DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE"}
    assert programs(gateway) == before
    with httpx.Client() as http:
        assert http.get(f"http://{gateway.endpoint.health}/health/ready").json()["restarts"] == 0
        until(lambda: "cartwheel_under_way 0.0" in http.get(f"http://{gateway.endpoint.metrics}/metrics").text)


def test_whoever_asks_too_much_at_once_is_told_so(gateway: Gateway) -> None:
    """gRPC by itself ends what its queue does not hold as CANCELLED."""

    request = infer("similar_items", item_id=["1003"]).SerializeToString()

    async def ask() -> Counter[str]:
        async with grpc.aio.insecure_channel(gateway.endpoint.grpc) as channel:
            call = channel.unary_unary(METHOD)
            codes = await asyncio.gather(*(call(request, timeout=60).code() for _ in range(4_000)))
        return Counter(code.name for code in codes)

    found = asyncio.run(ask())
    assert set(found) <= {"OK", "UNAVAILABLE"}
    assert found["OK"]
