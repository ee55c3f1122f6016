"""Two proxies that share a PostgreSQL and a Valkey: what one keeps both have, and they count together."""

import asyncio
import hashlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from guardproxy.testing import FakeUpstream
from guardproxy.transport import Transport
from tests.backends.processes import accepts, environment, free_ports, running, until
from tests.backends.test_valkey import STARTING, serving, url
from tests.postgresql import postgresql

pytestmark = pytest.mark.backend

REQUESTS, ALLOWED, CONNECTIONS = 10_000, 8_000, 20  # in all
FEW = 7
LIMITS = {"team": 1_000, "few": FEW, "many": ALLOWED}  # an hour, of the keys that are called so
JULEP, GATEWAY = "/v1/responses", "/gateway/responses"
# Only a busy machine takes longer than a second: that is not what is tested.
PATIENT = f"from guardproxy import cli, counters; counters.PATIENCE = {STARTING}; cli.main()"
CONFIG = f"""
log_level = "warning"
profile = "julep"
guards.pii.preset = "structured"
store.url = "${{env:STORE}}"
limits = {{ storage = "${{env:STORAGE}}", per_address = "1000000/hour" }}
[[front_doors]]
path = "{GATEWAY}"
profile = "gateway"
"""


@dataclass(frozen=True)
class Shared:
    """Two proxies, what they share, and their upstream."""

    urls: tuple[str, str]
    store: str
    upstream: FakeUpstream


@dataclass(frozen=True)
class Client:
    """Asks as one key."""

    http: httpx.AsyncClient

    async def ask(self, url: str, key: str, path: str = JULEP, method: str = "GET", **body: Any) -> Any:
        return await self.http.request(
            method,
            f"{url}{path}",
            json=body or None,
            headers={"authorization": f"Bearer {key}"},
            extensions={"target": path.encode()},
        )

    async def create(self, url: str, key: str, text: str, path: str = JULEP, **more: Any) -> Any:
        return await self.ask(url, key, path, "POST", model="m", input=text, **more)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home = tmp_path_factory.mktemp("shared")
    digests = {key: hashlib.sha256(key.encode()).hexdigest() for key in LIMITS}
    keys = [
        f'[[keys]]\nname = "{key}"\nsha256 = "{digests[key]}"\nlimits = "{limit}/hour"\n'
        for key, limit in LIMITS.items()
    ]
    config = home / "guardproxy.toml"
    config.write_text(CONFIG + "".join(keys))
    valkey, *ports = free_ports(3)
    with FakeUpstream() as upstream, ExitStack() as stack:
        store = stack.enter_context(postgresql())
        stack.enter_context(serving(home, valkey))
        given = environment(home, STORE=store, STORAGE=url(valkey), OTEL_SDK_DISABLED="true")
        if "PYTHONPATH" in os.environ:
            given["PYTHONPATH"] = os.environ["PYTHONPATH"]
        command = [
            sys.executable,
            "-c",
            PATIENT,
            "serve",
            "--config",
            str(config),
            "--upstream",
            upstream.url,
        ]
        for port in ports:
            log = home / f"{port}.log"
            stack.enter_context(running([*command, "--port", str(port)], given, log))
        for port in ports:
            until("guardproxy", lambda: accepts(port), STARTING)  # noqa: B023
        first, second = (f"http://127.0.0.1:{port}" for port in ports)
        yield Shared((first, second), store, upstream)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with httpx.AsyncClient(transport=Transport(), timeout=STARTING) as http:
        yield Client(http)


async def test_a_response_is_read_listed_and_deleted_through_the_other(
    shared: Shared, client: Client
) -> None:
    one, other = shared.urls
    made = (await client.create(one, "team", "hello", store=True)).json()
    path = f"{JULEP}/{made['id']}"
    assert (await client.ask(other, "team", path)).json() == made
    (item,) = (await client.ask(other, "team", f"{path}/input_items")).json()["data"]
    assert item["content"] == [{"type": "input_text", "text": "hello"}]
    assert (await client.ask(other, "team", path, "DELETE")).json()["deleted"] is True
    for address in shared.urls:
        assert (await client.ask(address, "team", path)).status_code == 404
        assert (await client.ask(address, "team", path, "DELETE")).status_code == 404


async def test_a_conversation_goes_on_through_the_other(shared: Shared, client: Client) -> None:
    said: list[str] = []
    for at, text in enumerate(("one", "two", "three", "four")):
        got = await client.create(shared.urls[at % 2], "team", text, GATEWAY, conversation="c")
        assert got.status_code == 200
        items = shared.upstream.last.json["input"]
        assert [part["text"] for item in items for part in item["content"]] == [*said, text]
        said += [text, text]  # the upstream is an echo


async def test_a_limit_counts_over_both(shared: Shared, client: Client) -> None:
    asked = [client.create(shared.urls[at % 2], "few", "hi") for at in range(4 * FEW)]
    statuses = Counter(got.status_code for got in await asyncio.gather(*asked))
    assert statuses == {200: FEW, 429: 3 * FEW}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_of_ten_thousand_requests_at_once_none_is_lost_or_double(
    shared: Shared, client: Client
) -> None:
    """What is created through one is read through the other, until the limit is reached, and refused then."""
    upstream_before = len(shared.upstream.requests)
    statuses: Counter[tuple[str, str, int]] = Counter()
    created: dict[str, str] = {}

    async def ask_in_turn(lane: int) -> None:
        one, other = shared.urls if lane % 2 else shared.urls[::-1]
        made: Any = None
        for number in range(REQUESTS // CONNECTIONS):
            if made is None:
                text = f"{lane}-{number}"
                got = await client.create(one, "many", text, store=True)
                statuses[one, "POST", got.status_code] += 1
                if got.status_code == 200:
                    made = got.json()
                    assert made["output"] == text
                    assert made["id"] not in created
                    created[made["id"]] = text
            else:
                got = await client.ask(other, "many", f"{JULEP}/{made['id']}")
                statuses[other, "GET", got.status_code] += 1
                assert got.status_code == 429 or got.json() == made
                made = None

    await asyncio.gather(*(ask_in_turn(lane) for lane in range(CONNECTIONS)))
    by_status: Counter[int] = Counter()
    for (_, _, status), count in statuses.items():
        by_status[status] += count
    assert by_status == {200: ALLOWED, 429: REQUESTS - ALLOWED}
    assert len(shared.upstream.requests) - upstream_before == len(created)
    for address in shared.urls:
        assert statuses[address, "POST", 200] > 0
        assert statuses[address, "GET", 200] > 0
    connection = await asyncpg.connect(shared.store)
    rows = await connection.fetch(
        "SELECT r.id, i.body::json->>'content' AS asked FROM guardproxy_responses r "
        "JOIN guardproxy_input_items i ON i.response = r.number"
    )
    await connection.close()
    assert sorted(map(tuple, rows)) == sorted(created.items())
