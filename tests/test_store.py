"""The store, on SQLite and on a real PostgreSQL."""

import asyncio
import json
import multiprocessing
import os
import random
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck
from hypothesis import settings as configured
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from structlog.testing import capture_logs

from guardproxy.errors import ConfigError, InvalidRequest, StoreUnavailable
from guardproxy.logs import configure
from guardproxy.settings import Settings, StoreSettings
from guardproxy.store import Pruned, Store, Stored, engines, schema
from tests.harness import logging_restored, message, proxy, whole
from tests.postgresql import PASSWORD, postgresql

DAY = 24 * 3600.0
CANARY = "canary" + "-of-the-store"
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.backend)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL."""
    with postgresql() as url:
        yield url


@pytest.fixture
def empty(server: str) -> str:
    """The URL of the PostgreSQL, in which nothing is."""

    async def clear() -> None:
        connection = await asyncpg.connect(server)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.close()

    asyncio.run(clear())
    return server


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    found: str = request.getfixturevalue("empty")
    return found


class Clock:
    """A time that only tests move."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(url: str, clock: Clock) -> AsyncIterator[Store]:
    made = Store(StoreSettings(url=url), clock)
    try:
        await made.start()
        yield made
    finally:
        await made.aclose()


def items(*ids: str | None) -> list[str]:
    """Input items with these ids."""
    bodies: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": f"{n}"} for n in range(len(ids))
    ]
    return [json.dumps({"id": i, **body} if i else body) for i, body in zip(ids, bodies, strict=True)]


async def listed(store: Store, tenant: str = "t", response_id: str = "resp_1", **asked: Any) -> list[str]:
    """The ids of a page."""
    page = await store.input_items(tenant, response_id, **asked)
    assert page is not None
    return [item.id for item in page.items]


async def count(store: Store, table: str) -> int:
    async with store._engines.reads.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


@pytest.mark.parametrize(
    "body",
    [
        '{"id":"resp_1"}',
        '{ "n": 1e400, "n": 2 }\n',
        '{"t":"a\\u0000b\\ud800 ü 😀 %s :x"}',
        f'"{"x" * 1_000_000}"',
    ],
    ids=["plain", "not as we would write it", "characters", "large"],
)
async def test_a_response_is_what_was_saved(store: Store, body: str) -> None:
    policy = {"input": {"pii": {"action": "redact"}}}
    await store.save("t", "resp_1", body, [], policy=policy)
    assert await store.response("t", "resp_1") == Stored(body, policy)
    await store.save("t", "resp_2", body, [])
    assert await store.response("t", "resp_2") == Stored(body, None)
    assert await store.response("t", "resp_3") is None


async def test_lone_surrogates_are_escaped(store: Store) -> None:
    await store.save("t", "resp_1", '"\ud800"', ['{"id":"a","content":"\udfff"}'])
    await store.append("t", "c", ['"\ud801"'])
    found = await store.response("t", "resp_1")
    page = await store.input_items("t", "resp_1")
    assert found is not None
    assert found.body == '"\\ud800"'
    assert page is not None
    assert page.items[0].body == '{"id":"a","content":"\\udfff"}'
    assert await store.history("t", "c") == ['"\\ud801"']


@pytest.mark.parametrize("name", ["resp_1", "x" * 10_000, "\x00", "\ud800", "ü", "", "'; --"])
async def test_any_name_names_one(store: Store, name: str) -> None:
    await store.save("t", name, "1", [])
    await store.save("t", name + "x", "2", [])
    await store.append("t", name, ["3"])
    found = await store.response("t", name)
    assert found is not None
    assert found.body == "1"
    assert await store.history("t", name) == ["3"]
    assert await store.history("t", name + "x") == []
    assert await store.delete("t", name)
    assert await store.response("t", name) is None


async def test_tenants_know_nothing_of_each_other(store: Store) -> None:
    await store.save("one", "resp_1", '"one"', items("a", "b"))
    await store.append("one", "conv", ['"one"'])
    assert await store.response("two", "resp_1") is None
    assert await store.input_items("two", "resp_1", after="a") is None
    assert await store.delete("two", "resp_1") is False
    assert await store.history("two", "conv") == []
    await store.save("two", "resp_1", '"two"', items("c"))
    await store.append("two", "conv", ['"two"'])
    assert await store.response("one", "resp_1") == Stored('"one"', None)
    assert await listed(store, "one") == ["b", "a"]
    assert await listed(store, "two") == ["c"]
    assert await store.history("one", "conv") == ['"one"']
    with pytest.raises(InvalidRequest):  # an item of the other's response of the same id
        await store.input_items("two", "resp_1", after="a")
    assert await store.delete("two", "resp_1")
    assert await store.response("one", "resp_1") is not None


async def test_the_later_response_of_an_id_replaces_the_earlier(store: Store) -> None:
    await store.save("t", "resp_1", "1", items("a", "b", "c"), policy={"x": 1})
    await store.save("t", "resp_1", "2", items("d"))
    assert await store.response("t", "resp_1") == Stored("2", None)
    assert await listed(store) == ["d"]
    assert await count(store, "guardproxy_responses") == await count(store, "guardproxy_input_items") == 1


async def test_of_saves_at_once_one_stays_whole(store: Store) -> None:
    await asyncio.gather(
        *(store.save("t", "resp_1", f"{n}", items(*(f"{n}_{i}" for i in range(4)))) for n in range(12))
    )
    found = await store.response("t", "resp_1")
    assert found is not None
    assert await listed(store, order="asc") == [f"{found.body}_{i}" for i in range(4)]
    assert await count(store, "guardproxy_responses") == 1
    assert await count(store, "guardproxy_input_items") == 4


async def test_what_is_deleted_is_gone(store: Store) -> None:
    await store.save("t", "resp_1", "1", items("a"))
    assert [await store.delete("t", "resp_1") for _ in range(2)] == [True, False]
    assert await store.response("t", "resp_1") is None
    assert await store.input_items("t", "resp_1") is None
    assert await count(store, "guardproxy_input_items") == 0


@pytest.mark.parametrize(
    ("asked", "wanted", "more"),
    [
        ({}, range(24, 4, -1), True),
        ({"order": "asc"}, range(20), True),
        ({"limit": 1}, [24], True),
        ({"limit": 100}, range(24, -1, -1), False),
        ({"limit": 25}, range(24, -1, -1), False),
        ({"after": "i5"}, range(4, -1, -1), False),
        ({"after": "i5", "order": "asc", "limit": 3}, [6, 7, 8], True),
        ({"after": "i22", "order": "asc", "limit": 2}, [23, 24], False),
        ({"after": "i0"}, [], False),
    ],
)
async def test_a_page_of_input_items(store: Store, asked: Any, wanted: Any, more: bool) -> None:
    await store.save("t", "resp_1", "1", items(*(f"i{n}" for n in range(25))))
    page = await store.input_items("t", "resp_1", **asked)
    assert page is not None
    assert [item.id for item in page.items] == [f"i{n}" for n in wanted]
    assert [json.loads(item.body)["content"] for item in page.items] == [f"{n}" for n in wanted]
    assert page.has_more is more


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": CANARY}, "after"),
    ],
)
async def test_a_page_that_cannot_be(store: Store, asked: Any, param: str) -> None:
    await store.save("t", "resp_1", "1", items("a"))
    with pytest.raises(InvalidRequest) as caught:
        await store.input_items("t", "resp_1", **asked)
    assert caught.value.param == param
    assert CANARY not in caught.value.message


async def test_items_get_an_id_and_keep_one(store: Store) -> None:
    given = [
        '{"role": "user", "content": 1e400}',
        f'{{"type":"function_call", "id": null, "n":{"1" * 5000}}}',
        '{"type":"reasoning","id":7}',
        '{"type":["x"],"id":"ü"}',
        '{ "id" : "mine", "type":"message"}',
        '{"id":"mine"}',
        "{}",
    ]
    await store.save("t", "resp_1", "1", given)
    page = await store.input_items("t", "resp_1", order="asc")
    assert page is not None
    assert [item.id.split("_")[0] for item in page.items] == ["msg", "fc", "rs", "item", "mine", "msg", "msg"]
    assert len({item.id for item in page.items}) == 7
    assert [item.body for item in page.items] == given  # so they are sent on again
    ids = [json.loads(item.listed, parse_int=float)["id"] for item in page.items]
    assert ids == [item.id for item in page.items]
    assert page.items[4].listed == given[4]
    first = f'{{"id":"{page.items[0].id}","type":"message","role": "user", "content": 1e400}}'
    assert page.items[0].listed == first
    assert all(len(item.id.split("_")[1]) == 48 for item in page.items[:4])


@pytest.mark.parametrize("item", ["[]", '"x"', "{", "NaN"])
async def test_an_item_that_is_none_is_not_saved(store: Store, item: str) -> None:
    with pytest.raises(ValueError, match=r"item|Expecting"):
        await store.save("t", "resp_1", "1", [item])
    assert await store.response("t", "resp_1") is None


async def test_large_items_are_read_elsewhere(store: Store) -> None:
    await store.save("t", "resp_1", "1", [json.dumps({"content": "x" * 300_000})])
    assert len(await listed(store)) == 1


async def test_a_page_as_the_client_gets_it(store: Store) -> None:
    await store.save("t", "resp_1", "1", items("a", "b", "c"))
    page = await store.input_items("t", "resp_1", limit=2)
    assert page is not None
    _, b, c = (
        {**json.loads(i), "content": [{"type": "input_text", "text": f"{n}"}]}
        for n, i in enumerate(items("a", "b", "c"))
    )
    assert json.loads(page.json()) == {
        "object": "list", "data": [c, b], "first_id": "c", "last_id": "b", "has_more": True,
    }  # fmt: skip
    await store.save("t", "resp_1", "1", [])
    page = await store.input_items("t", "resp_1")
    assert page is not None
    assert page.json() == '{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'


async def test_turns_at_once_all_survive_in_one_piece(store: Store) -> None:
    turns = [[f'"{n}.{i}"' for i in range(5)] for n in range(20)]
    await asyncio.gather(*(store.append("t", "c", turn) for turn in turns))
    found = await store.history("t", "c")
    assert sorted(found[at : at + 5] for at in range(0, len(found), 5)) == sorted(turns)
    await store.append("t", "c", ['"last"'])
    await store.append("t", "c", [])
    assert await store.history("t", "c") == [*found, '"last"']
    assert await count(store, "guardproxy_turns") == 21


async def test_what_is_too_old_is_not_there(store: Store, clock: Clock) -> None:
    await store.save("t", "resp_1", "1", items("a"))
    await store.append("t", "c", ["1"])
    clock.time += 20 * DAY
    await store.append("t", "c", ["2"])
    clock.time += 10 * DAY
    assert await store.response("t", "resp_1") is None
    assert await store.input_items("t", "resp_1") is None
    assert await store.history("t", "c") == ["2"]
    assert await store.delete("t", "resp_1") is False
    await store.save("t", "resp_1", "2", items("b"))
    assert await listed(store) == ["b"]


async def test_pruning_removes_what_is_too_old(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardproxy.store.BATCH", 3)
    for n in range(7):
        await store.save("t", f"resp_{n}", "1", items("a"))
        await store.append("t", "c", ["1"])
    clock.time += 1
    await store.save("t", "resp_0", "2", items("b"))
    await store.append("t", "c", ["2"])
    assert await store.prune() == Pruned(0, 0)
    clock.time += 30 * DAY - 1
    assert await store.prune() == Pruned(6, 7)
    assert await count(store, "guardproxy_input_items") == await count(store, "guardproxy_turn_items") == 1
    assert await store.prune(clock.time) == Pruned(1, 1)
    assert await count(store, "guardproxy_input_items") == await count(store, "guardproxy_turn_items") == 0


async def test_two_may_prune_at_once(
    store: Store, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardproxy.store.BATCH", 5)
    for n in range(40):
        await store.save("t", f"resp_{n}", "1", [])
    other = Store(StoreSettings(url=url), clock)
    found = await asyncio.gather(store.prune(clock.time), other.prune(clock.time))
    await other.aclose()
    assert sum(pruned.responses for pruned in found) == 40


async def test_serving_prunes_and_goes_on_when_that_fails(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardproxy.store.PRUNE_EVERY", 0.001)
    settings = StoreSettings(url=url, retention=5)
    store = Store(settings, clock)
    prune, failed = store.prune, asyncio.Event()

    async def fails(before: float | None = None) -> Pruned:
        monkeypatch.setattr(store, "prune", prune)
        failed.set()
        raise StoreUnavailable("no")

    async with store.serving():
        await store.save("t", "resp_1", "1", [])
        monkeypatch.setattr(store, "prune", fails)
        await failed.wait()
        clock.time += 5
        while await count(store, "guardproxy_responses"):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_the_log_says_where_a_relative_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with capture_logs() as lines:
        async with Store(StoreSettings(url="sqlite+aiosqlite:///my@store.db")).serving():
            pass
    (opened,) = [line for line in lines if line["event"] == "store_opened"]
    assert opened["url"] == f"sqlite+aiosqlite:///{tmp_path}/my@store.db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite+aiosqlite:////srv/x.db", "sqlite+aiosqlite:////srv/x.db"),
        (f"postgresql://u:{CANARY}@db.example/x", "postgresql://********@db.example/x"),
    ],
)
def test_where_a_store_is_can_be_shown(url: str, shown: str) -> None:
    assert engines.shown(url) == shown


async def test_several_may_start_at_once(url: str) -> None:
    stores = [Store(StoreSettings(url=url)) for _ in range(6)]
    await asyncio.gather(*(store.start() for store in stores))
    await asyncio.gather(*(store.append("t", "c", ["1"]) for store in stores))
    assert await stores[0].history("t", "c") == ["1"] * 6
    assert await count(stores[0], "guardproxy_schema") == 1
    for store in stores:
        await store.aclose()


async def test_a_later_version_migrates_what_is_there(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save("t", "resp_1", "1", [])
    step = (
        "ALTER TABLE guardproxy_responses ADD COLUMN colour TEXT",
        "UPDATE guardproxy_responses SET colour = 'red'",
    )
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    later = [Store(StoreSettings(url=url)) for _ in range(4)]
    await asyncio.gather(*(one.start() for one in later))
    async with store._engines.reads.connect() as connection:
        assert (
            await connection.execute(text("SELECT colour FROM guardproxy_responses"))
        ).scalars().all() == ["red"]
        assert (await connection.execute(text("SELECT version FROM guardproxy_schema"))).scalars().all() == [
            3
        ]
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"^\[store\] url: the store has the schema 3, .* knows 2"):
        await store.start()
    for one in later:
        await one.aclose()


async def test_the_first_schema_is_brought_to_the_latest(store: Store, url: str) -> None:
    await store.save("t", "resp_1", "1", items("a"))
    async with store._engines.writes.begin() as connection:
        for statement in (
            "ALTER TABLE guardproxy_input_items DROP COLUMN own",
            "ALTER TABLE guardproxy_responses ADD COLUMN upstream TEXT",
            "UPDATE guardproxy_schema SET version = 1",
        ):
            await connection.execute(text(statement))
    later = Store(StoreSettings(url=url))
    await later.start()
    await later.save("t", "resp_2", "2", items(None))
    async with later._engines.reads.connect() as connection:
        own = await connection.execute(text("SELECT own FROM guardproxy_input_items ORDER BY response"))
        assert [bool(value) for value in own.scalars()] == [False, True]
    await later.aclose()


async def broken(store: Store) -> None:
    """A table is not there any more."""
    async with store._engines.writes.begin() as connection:
        for table in ("input_items", "responses", "turn_items", "turns"):
            await connection.execute(text(f"DROP TABLE guardproxy_{table}"))


OPERATIONS: dict[str, Callable[[Store], Coroutine[Any, Any, Any]]] = {
    "save": lambda store: store.save(CANARY, CANARY, CANARY, [f'{{"x":"{CANARY}"}}']),
    "response": lambda store: store.response(CANARY, CANARY),
    "delete": lambda store: store.delete(CANARY, CANARY),
    "input_items": lambda store: store.input_items(CANARY, CANARY),
    "append": lambda store: store.append(CANARY, CANARY, [CANARY]),
    "history": lambda store: store.history(CANARY, CANARY),
    "prune": lambda store: store.prune(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_failure_is_one_error_that_tells_nothing(
    store: Store, operation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await broken(store)
    with logging_restored():
        configure(Settings(log_level="debug", log_format="json"), sys.stderr)
        with pytest.raises(StoreUnavailable) as caught:
            await OPERATIONS[operation](store)
        (line,) = [json.loads(found) for found in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["operation"]) == ("store_failed", operation)
    assert "sqlalchemy" in line["error"]
    assert CANARY not in json.dumps(line)
    assert (
        caught.value.__cause__ is caught.value.__context__ is None
    )  # they know the statement and its values
    assert (caught.value.status, caught.value.error_code) == (503, "store_unavailable")


async def test_a_transaction_is_whole_or_nothing(store: Store) -> None:
    await store.save("t", "resp_1", "1", items("a"))
    async with store._engines.writes.begin() as connection:
        await connection.execute(text("ALTER TABLE guardproxy_turn_items RENAME TO hidden"))
        await connection.execute(text("ALTER TABLE guardproxy_input_items RENAME TO hidden_too"))
    with pytest.raises(StoreUnavailable):
        await store.append("t", "c", ["1"])
    with pytest.raises(StoreUnavailable):
        await store.save("t", "resp_1", "2", items("b"))
    assert await count(store, "guardproxy_turns") == 0
    found = await store.response("t", "resp_1")
    assert found is not None
    assert found.body == "1"


async def test_an_operation_that_is_given_up_does_nothing(store: Store) -> None:
    for _ in range(20):
        task = asyncio.create_task(store.append("t", "c", ["1"]))
        for _ in range(random.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    before = await store.history("t", "c")
    await store.append("t", "c", ["2"])
    assert await store.history("t", "c") == [*before, "2"]


async def test_time_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardproxy.store.TIMEOUT", 0.05)
    monkeypatch.setattr(engines, "BUSY", 0.5)
    async with store._engines.writes.begin() as connection:
        lock = "SELECT 1" if connection.dialect.name == "sqlite" else "LOCK TABLE guardproxy_turns"
        await connection.execute(text(lock))  # SQLite's transaction has its lock already
        with pytest.raises(StoreUnavailable):
            await store.append("t", "c", ["1"])
    monkeypatch.undo()
    assert await store.history("t", "c") == []
    await store.append("t", "c", ["1"])
    assert await store.history("t", "c") == ["1"]


# SQLite


@pytest.fixture
async def lite(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/store.db"))
    mask = os.umask(0)
    try:
        await made.start()
        yield made
    finally:
        os.umask(mask)
        await made.aclose()


async def test_the_files_are_for_this_user_alone(lite: Store, tmp_path: Path) -> None:
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600)


async def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.touch(0o640)
    file.chmod(0o640)
    store = Store(StoreSettings(url=f"sqlite+aiosqlite:///{file}"))
    await store.start()
    await store.aclose()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


async def test_what_is_deleted_is_not_in_the_file(lite: Store, tmp_path: Path) -> None:
    await lite.save("t", "resp_1", f'"{CANARY}"', items("a"))
    await lite.delete("t", "resp_1")
    await lite.aclose()
    assert [CANARY.encode() in (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)] == [False]


@pytest.mark.parametrize("prunes", [False, True])
async def test_what_is_removed_is_in_no_file_while_it_is_open(
    lite: Store, tmp_path: Path, prunes: bool
) -> None:
    await lite.save("t", "resp_1", f'"{CANARY}"', items("a"))
    if prunes:
        await lite.append("t", "c", [f'"{CANARY}"'])
        assert await lite.prune(time.time() + 1) == (1, 1)
    else:
        assert await lite.delete("t", "resp_1")
    assert not [name for name in os.listdir(tmp_path) if CANARY.encode() in (tmp_path / name).read_bytes()]


async def test_who_reads_holds_up_nobody_and_what_is_removed_is_forgotten_later(
    lite: Store, tmp_path: Path
) -> None:
    await lite.save("t", "resp_1", f'"{CANARY}"', [])
    reader = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM guardproxy_responses").fetchone() == (1,)
    async with asyncio.timeout(5):  # half of the time that SQLite waits elsewhere
        assert await lite.delete("t", "resp_1")
        await lite.save("t", "resp_2", "2", [])
    assert CANARY.encode() in (tmp_path / "store.db-wal").read_bytes()
    reader.close()
    assert await lite.prune(0) == (0, 0)
    assert CANARY.encode() not in (tmp_path / "store.db-wal").read_bytes()


async def test_every_connection_is_set_up(lite: Store) -> None:
    async with lite._engines.reads.connect() as one, lite._engines.reads.connect() as two:
        for connection in (one, two):
            found = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous", "secure_delete")
            ]
            assert found == ["wal", 10_000, 1, 1, 1]


async def test_a_new_file_that_another_has_locked_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY", 0.001)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store = Store(StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/store.db"))
    starting = asyncio.create_task(store.start())
    await asyncio.sleep(0.2)
    assert not starting.done()
    other.close()
    await starting
    await store.aclose()


@pytest.mark.parametrize(
    ("path", "why"),
    [("no/such/folder.db", "No such file or directory"), ("folder", "OperationalError")],
)
async def test_a_file_that_cannot_be(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    store = Store(StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/{path}"))
    with pytest.raises(ConfigError, match=rf"^\[store\] url: the .*: {why}\.$"):
        await store.start()
    await store.aclose()


async def test_connections_have_ended_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    store = Store(StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/store.db"))
    monkeypatch.setattr(engines, "BUSY", 1.0)
    await store.start()
    monkeypatch.setattr("guardproxy.store.TIMEOUT", 0.05)
    async with store._engines.writes.begin():
        with pytest.raises(StoreUnavailable):
            await store.append("t", "c", ["1"])  # cut off, while its connection waits for the lock
    await store.aclose()
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in left if "_connection_worker_thread" in name]


# PostgreSQL


@pytest.mark.backend
@pytest.mark.parametrize(
    ("part", "instead", "why"),
    [
        (PASSWORD, f"{PASSWORD}x", "InvalidPasswordError"),
        ("/postgres", "/nothing", "InvalidCatalogNameError"),
        ("127.0.0.1", "127.0.0.2", "ConnectionRefusedError"),
    ],
)
async def test_a_server_that_cannot_be_used(server: str, part: str, instead: str, why: str) -> None:
    store = Store(StoreSettings(url=server[::-1].replace(part[::-1], instead[::-1], 1)[::-1]))
    with pytest.raises(ConfigError) as caught:
        await store.start()
    await store.aclose()
    assert str(caught.value) == f"[store] url: the store cannot be used: {why}."
    assert caught.value.__context__ is None


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CONNECT", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        store = Store(StoreSettings(url=f"postgresql://u:p@127.0.0.1:{port}/db?sslmode=disable"))
        with pytest.raises(ConfigError, match="TimeoutError"):
            await store.start()
        with pytest.raises(StoreUnavailable):
            await store.history("t", "c")
        await store.aclose()


@pytest.mark.backend
async def test_a_connection_that_was_lost_costs_nobody_a_request(empty: str) -> None:
    store = Store(StoreSettings(url=empty.replace("postgresql://", "postgresql+asyncpg://")))
    try:
        await store.start()
        pooled = await store._engines.writes.raw_connection()
        driver: Any = pooled.driver_connection
        pooled.close()
        driver.terminate()
        await store.append("t", "c", ["1"])
        assert await store.history("t", "c") == ["1"]
    finally:
        await store.aclose()


@pytest.mark.backend
async def test_a_user_who_may_make_no_tables_can_serve(empty: str) -> None:
    owner = Store(StoreSettings(url=empty))
    await owner.start()
    await owner.aclose()
    connection = await asyncpg.connect(empty)
    await connection.execute(
        f"CREATE USER server PASSWORD '{PASSWORD}';"
        "GRANT USAGE ON SCHEMA public TO server;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO server"
    )
    await connection.close()
    store = Store(StoreSettings(url=empty.replace("guardproxy:", "server:")))
    try:
        async with store.serving():
            await store.save("t", "resp_1", "1", items("a"))
            await store.save("t", "resp_1", "2", items("b"))
            await store.append("t", "c", ["1"])
            assert await listed(store) == ["b"]
            assert await store.history("t", "c") == ["1"]
            assert await store.delete("t", "resp_1")
    finally:
        connection = await asyncpg.connect(empty)
        await connection.execute("DROP OWNED BY server; DROP USER server")
        await connection.close()


# The application


async def test_an_application_has_its_store_open(tmp_path: Path) -> None:
    settings = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/store.db")
    async with proxy(whole(message("hi")), store=settings) as client:
        assert (await client.post({"model": "m", "input": "hi"})).status == 200
        assert (tmp_path / "store.db-wal").exists()
    assert os.listdir(tmp_path) == ["store.db"]  # closed: the last one cleans up


async def test_an_application_says_that_its_store_cannot_be_used(tmp_path: Path) -> None:
    settings = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/no/store.db")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with proxy(whole(), store=settings):
            pass
    assert caught.group_contains(ConfigError, match=r"^\[store\] url: the file cannot be made")


def test_without_a_store_nothing_of_it_is_imported() -> None:
    code = """
import sys
from guardproxy import cli
from guardproxy.app import create_app
from guardproxy.settings import Settings
create_app(Settings())
assert not {"sqlalchemy", "aiosqlite", "asyncpg"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Against a model


NAMES = st.sampled_from(["a", "b", "ü"])
TENANTS = st.sampled_from(["one", "two"])


class Model:
    """What there should be, in plain dictionaries."""

    def __init__(self) -> None:
        self.responses: dict[tuple[str, str], tuple[float, str, list[str]]] = {}
        self.turns: list[tuple[float, tuple[str, str], list[str]]] = []


def test_the_store_does_what_a_dictionary_would(url: str) -> None:
    clock = Clock()
    store = Store(StoreSettings(url=url, retention=10), clock)

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            run(store.prune(clock.time))
            self.model = Model()

        def alive(self, tenant: str, name: str) -> tuple[float, str, list[str]] | None:
            found = self.model.responses.get((tenant, name))
            return found if found and found[0] > clock.time - 10 else None

        @rule(tenant=TENANTS, name=NAMES, body=st.text(max_size=5), size=st.integers(0, 4))
        def save(self, tenant: str, name: str, body: str, size: int) -> None:
            given = [f'{{"id":"{uuid.uuid4()}"}}' for _ in range(size)]
            run(store.save(tenant, name, json.dumps(body), given))
            self.model.responses[tenant, name] = (clock.time, json.dumps(body), given)

        @rule(tenant=TENANTS, name=NAMES)
        def delete(self, tenant: str, name: str) -> None:
            assert run(store.delete(tenant, name)) is (self.alive(tenant, name) is not None)
            self.model.responses.pop((tenant, name), None)

        @rule(tenant=TENANTS, name=NAMES, order=st.sampled_from(["asc", "desc"]), limit=st.integers(1, 3))
        def page_through(self, tenant: str, name: str, order: str, limit: int) -> None:
            wanted, found = self.alive(tenant, name), []
            page = run(store.input_items(tenant, name, limit, order))
            assert (page is None) is (wanted is None)
            if page is None or wanted is None:
                return
            while page is not None:
                found += [item.body for item in page.items]
                after = page.items[-1].id if page.has_more else None
                page = run(store.input_items(tenant, name, limit, order, after)) if after else None
            assert found == (wanted[2] if order == "asc" else wanted[2][::-1])

        @rule(tenant=TENANTS, name=NAMES, turn=st.lists(st.integers().map(str), max_size=3))
        def append(self, tenant: str, name: str, turn: list[str]) -> None:
            run(store.append(tenant, name, turn))
            if turn:
                self.model.turns.append((clock.time, (tenant, name), turn))

        @rule(seconds=st.sampled_from([1.0, 4.0, 10.0]))
        def wait(self, seconds: float) -> None:
            clock.time += seconds

        @precondition(lambda self: self.model.turns)
        @rule()
        def prune(self) -> None:
            end = clock.time - 10
            gone = [key for key, found in self.model.responses.items() if found[0] <= end]
            kept = [turn for turn in self.model.turns if turn[0] > end]
            assert run(store.prune()) == (len(gone), len(self.model.turns) - len(kept))
            self.model.turns = kept
            for key in gone:
                del self.model.responses[key]

        @rule(tenant=TENANTS, name=NAMES)
        def look(self, tenant: str, name: str) -> None:
            found, wanted = run(store.response(tenant, name)), self.alive(tenant, name)
            assert (found and found.body) == (wanted and wanted[1])
            assert run(store.history(tenant, name)) == [
                item
                for made, whose, turn in self.model.turns
                if whose == (tenant, name) and made > clock.time - 10
                for item in turn
            ]

    with asyncio.Runner() as runner:
        run = runner.run
        run(store.start())
        try:
            run_state_machine_as_test(
                Machine,
                settings=configured(
                    max_examples=15,
                    stateful_step_count=20,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            run(store.aclose())


# Two processes


OPERATIONS_EACH, AT_ONCE = 1_000, 8


def work(url: str, name: str) -> None:
    """Half of the operations save responses, some of an id that both save; half append to conversations."""

    async def one(store: Store, numbers: range) -> None:
        for number in numbers:
            if number % 2:
                shared = number % 10 == 1
                response = f"shared_{number}" if shared else f"{name}_{number}"
                await store.save("t", response, f'"{name}"', items(f"{name}_0", f"{name}_1"))
            else:
                await store.append("t", f"c{number % 20}", [f'"{name}_{number}_{at}"' for at in range(3)])

    async def main() -> None:
        store = Store(StoreSettings(url=url))
        await store.start()
        lanes = [range(lane, OPERATIONS_EACH, AT_ONCE) for lane in range(AT_ONCE)]
        await asyncio.gather(*(one(store, lane) for lane in lanes))
        await store.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as in a server
        runner.run(main())


@pytest.mark.slow
def test_of_what_two_processes_do_at_once_nothing_is_lost_or_double(url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=(url, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]

    async def check() -> None:
        store = Store(StoreSettings(url=url))
        saved = range(1, OPERATIONS_EACH, 2)
        expected = {f"{name}_{n}" for name in "ab" for n in saved if n % 10 != 1}
        expected |= {f"shared_{n}" for n in saved if n % 10 == 1}
        statement = "SELECT r.id, r.body, i.id FROM guardproxy_responses r JOIN guardproxy_input_items i "
        async with store._engines.reads.connect() as connection:
            rows = (await connection.execute(text(f"{statement} ON i.response = r.number"))).all()
        assert Counter(response for response, _, _ in rows) == dict.fromkeys(expected, 2)
        for response, body, item in rows:  # of one process both, and nothing of the other
            name = json.loads(body)
            assert item in (f"{name}_0", f"{name}_1")
            assert response.startswith((f"{name}_", "shared_"))
        turns: Counter[str] = Counter()
        for conversation in range(0, 20, 2):
            history = [json.loads(item) for item in await store.history("t", f"c{conversation}")]
            for at in range(0, len(history), 3):
                turn, _, _ = history[at].rpartition("_")
                assert history[at : at + 3] == [f"{turn}_{n}" for n in range(3)]
                turns[turn] += 1
        assert turns == Counter(f"{name}_{n}" for name in "ab" for n in range(0, OPERATIONS_EACH, 2))
        await store.aclose()

    asyncio.run(check())
