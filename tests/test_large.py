"""While a large text is scanned, others are answered: over real connections, with the shipped guards."""

import asyncio
import random
import statistics
import time

import httpx
import pytest

from guardproxy import serve
from guardproxy.app import create_app
from guardproxy.plugins import load_plugins
from guardproxy.settings import Settings
from guardproxy.testing import FakeUpstream, Script

BOUND = 5.0  # seconds that a small request may take; generous, for the machine may be busy with others
GUARDED = {"Authorization": "Bearer client", "X-Opper-Guard-Input": "pii,secrets"}
PLAIN = {"Authorization": "Bearer client"}
SAID = "the harbour was quiet and nobody had seen the boats come back since early morning when fog rose"


def fresh(characters: int) -> str:
    """Sentences that no cache knows."""
    chance, words = random.Random(time.monotonic_ns()), SAID.split()
    sentences: list[str] = []
    length = 0
    while length < characters:
        sentences.append(" ".join(chance.choices(words, k=14)).capitalize() + f" {chance.randrange(10**6)}.")
        length += len(sentences[-1]) + 1
    return " ".join(sentences)[:characters]


async def asked(client: httpx.AsyncClient, text: str, headers: dict[str, str]) -> float:
    """The seconds until a request is answered."""
    began = time.perf_counter()
    got = await client.post("/v1/responses", json={"model": "m", "input": text}, headers=headers)
    assert got.status_code == 200
    return time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_small_requests_are_answered_while_a_megabyte_is_scanned(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with FakeUpstream(Script(text="ok")) as upstream:
        settings = Settings(upstream=upstream.url, guard_timeout=60.0, queue_timeout=60.0)
        async with (
            serve.running(create_app(settings, plugins=load_plugins())) as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=300) as client,
        ):
            large = asyncio.create_task(asked(client, fresh(1_000_000), GUARDED))
            plain: list[float] = []
            guarded: list[float] = []
            while not large.done():
                plain.append(await asked(client, "hi", PLAIN))
                guarded.append(await asked(client, fresh(300), GUARDED))
                await asyncio.sleep(0.02)
            seconds = await large
    assert len(plain) >= 10
    with capsys.disabled():
        for name, times in (("unguarded", plain), ("guarded", guarded)):
            p99 = statistics.quantiles(times, n=100)[98]
            print(f"\n1 MB in {seconds:.1f} s; {len(times)} {name}: p99 {p99:.3f} s, max {max(times):.3f} s")
    assert max(plain) < BOUND
    assert max(guarded) < BOUND
