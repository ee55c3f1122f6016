"""What is kept for clients: responses with their input items, and the turns of conversations.

Everything belongs to a tenant, an opaque name that says who asked: nobody sees, changes or learns of what is
another's. Texts are kept as they are given, so they must be those that guards have let pass. Importing this
imports SQLAlchemy; without `[store]` nobody does.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import structlog
from sqlalchemy import Table, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from guardproxy.document import escaped
from guardproxy.errors import ConfigError, GuardProxyError, InvalidRequest, StoreUnavailable
from guardproxy.logs import failure
from guardproxy.settings import StoreSettings
from guardproxy.store import engines
from guardproxy.store.items import key, with_ids
from guardproxy.store.schema import input_items, prepare, responses, turn_items, turns
from guardproxy.store.values import Item, Page, Pruned, Stored
from guardproxy.threads import off_loop

__all__ = ["Item", "Page", "Pruned", "Store", "Stored"]

T = TypeVar("T")

TIMEOUT = 15.0  # seconds that an operation may take, whatever it waits for
DEFAULT_LIMIT, MAX_LIMIT = 20, 100  # input items of a page
RETRY = 0.05  # seconds
PRUNE_EVERY = 3600.0  # seconds
BATCH = 500  # what one transaction prunes: others have to wait for it
_log = structlog.stdlib.get_logger("guardproxy.store")


class Store:
    """The store of one process; several processes may share its database.

    Every operation raises StoreUnavailable where the database fails or takes too long. What is older than
    `retention` is not there, removed or not.
    """

    def __init__(self, settings: StoreSettings, now: Callable[[], float] = time.time) -> None:
        """Connect to nothing yet; `now` tells the seconds since 1970."""
        self._url = settings.url
        self._retention = settings.retention
        self._now = now
        self._engines = engines.Engines(settings.url)
        self._owes = False  # what was removed may still be in SQLite's log

    async def start(self) -> None:
        """Create or migrate the tables. Whatever comes of it, `aclose` closes.

        Raises:
            ConfigError: the database cannot be used, or is a later guardproxy's.
        """
        engines.create_file(self._url)
        try:
            async with asyncio.timeout(TIMEOUT):
                while not await self._prepared():  # noqa: ASYNC110 - nobody tells when another is done
                    await asyncio.sleep(RETRY)
            return
        except ConfigError:
            raise
        except Exception as error:
            why = _reason(error)
        raise ConfigError(f"[store] url: the store cannot be used: {why}.")

    async def _prepared(self) -> bool:
        try:
            async with self._engines.writes.begin() as connection:
                await connection.run_sync(prepare)
        except OperationalError as error:
            if engines.is_busy(error):
                return False
            raise
        return True

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engines.aclose()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Open until the block ends, and meanwhile pruned: at once, and then about once an hour.

        Raises:
            ConfigError: as `start`.
        """
        try:
            await self.start()
            _log.info("store_opened", url=engines.shown(self._url), retention=self._retention)
            pruning = asyncio.create_task(self._keep_pruned())
            try:
                yield
            finally:
                pruning.cancel()
                await asyncio.wait([pruning])
        finally:
            await self.aclose()

    async def save(
        self,
        tenant: str,
        response_id: str,
        body: str,
        items: Sequence[str],
        *,
        policy: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a response and its input items, all as JSON; a response of this id is replaced.

        Items without an id are listed with one of ours. `policy` is what it was made under (plain JSON).

        Raises:
            ValueError: an item is no JSON object.
        """
        found = await off_loop(sum(map(len, items)), with_ids, items)
        row = {
            "created": self._now(),
            "policy": policy,
            "body": escaped(body),
        }
        names = {"tenant": tenant, "id": key(response_id)}

        async def work(connection: AsyncConnection) -> None:
            # One statement, which also holds back whoever saves, deletes or prunes the same response.
            upsert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            statement = (
                upsert(responses)
                .values(**names, **row)
                .on_conflict_do_update(index_elements=list(names), set_=row)
                .returning(responses.c.number)
            )
            number = (await connection.execute(statement)).scalar_one()
            await connection.execute(delete(input_items).where(input_items.c.response == number))
            rows = [
                {"response": number, "position": position, **item._asdict()}
                for position, item in enumerate(found)
            ]
            if rows:
                await connection.execute(insert(input_items), rows)

        await self._write("save", work)

    async def response(self, tenant: str, response_id: str) -> Stored | None:
        """The response; None where this tenant has none of this id."""
        statement = select(responses.c.body, responses.c.policy).where(
            *self._is(tenant, response_id), responses.c.created > self._expired()
        )

        async def work(connection: AsyncConnection) -> Stored | None:
            row = (await connection.execute(statement)).one_or_none()
            return Stored(row.body, row.policy) if row else None

        return await self._read("response", work)

    async def delete(self, tenant: str, response_id: str) -> bool:
        """Remove a response and its input items; whether it was there."""
        statement = delete(responses).where(*self._is(tenant, response_id)).returning(responses.c.created)

        async def work(connection: AsyncConnection) -> bool:
            created = (await connection.execute(statement)).scalar_one_or_none()
            return created is not None and created > self._expired()

        if found := await self._write("delete", work):
            await self._forget()
        return found

    async def input_items(
        self,
        tenant: str,
        response_id: str,
        limit: int = DEFAULT_LIMIT,
        order: str = "desc",
        after: str | None = None,
    ) -> Page | None:
        """Up to `limit` input items behind the one with the id `after`; None where there is no response.

        Raises:
            InvalidRequest: `limit`, `order` or `after`, which it names as `param`, cannot be.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidRequest(f"limit must be an integer from 1 to {MAX_LIMIT}.", param="limit")
        if order not in ("asc", "desc"):
            raise InvalidRequest("order must be asc or desc.", param="order")
        of_response = select(responses.c.number).where(
            *self._is(tenant, response_id), responses.c.created > self._expired()
        )

        async def work(connection: AsyncConnection) -> Page | None:
            number = (await connection.execute(of_response)).scalar_one_or_none()
            if number is None:
                return None
            position = input_items.c.position
            wanted = select(input_items.c.id, input_items.c.body, input_items.c.own).where(
                input_items.c.response == number
            )
            if after is not None:
                of_item = select(position).where(
                    input_items.c.response == number, input_items.c.id == key(after)
                )
                start = (await connection.execute(of_item)).scalar_one_or_none()
                if start is None:
                    raise InvalidRequest("after is the id of no input item here.", param="after")
                wanted = wanted.where(position > start if order == "asc" else position < start)
            wanted = wanted.order_by(position if order == "asc" else position.desc()).limit(limit + 1)
            found = [Item(row.id, row.body, row.own) for row in await connection.execute(wanted)]
            return Page(tuple(found[:limit]), len(found) > limit)

        return await self._read("input_items", work)

    async def append(self, tenant: str, conversation: str, items: Sequence[str]) -> None:
        """Put the items of a turn (JSON) behind what the conversation has: all of them, together, or none."""
        if not items:
            return
        turn = (
            insert(turns)
            .values(tenant=tenant, conversation=key(conversation), created=self._now())
            .returning(turns.c.number)
        )
        bodies = [escaped(item) for item in items]

        async def work(connection: AsyncConnection) -> None:
            number = (await connection.execute(turn)).scalar_one()
            rows = [{"turn": number, "position": at, "body": body} for at, body in enumerate(bodies)]
            await connection.execute(insert(turn_items), rows)

        await self._write("append", work)

    async def history(self, tenant: str, conversation: str) -> list[str]:
        """The items of the conversation (JSON), turn by turn; none where this tenant has no such one."""
        statement = (
            select(turn_items.c.body)
            .join(turns, turns.c.number == turn_items.c.turn)
            .where(
                turns.c.tenant == tenant,
                turns.c.conversation == key(conversation),
                turns.c.created > self._expired(),
            )
            .order_by(turns.c.number, turn_items.c.position)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list((await connection.execute(statement)).scalars())

        return await self._read("history", work)

    async def prune(self, before: float | None = None) -> Pruned:
        """Remove what was made by `before` (seconds since 1970; None: what is older than `retention`).

        Several processes may do so at once: each removes something else.
        """
        end = self._expired() if before is None else before
        pruned = Pruned(await self._prune(responses, end), await self._prune(turns, end))
        if any(pruned) or self._owes:
            await self._forget()
        return pruned

    async def _keep_pruned(self) -> None:
        while True:
            with suppress(StoreUnavailable):  # the log says so, and the next time may go better
                pruned = await self.prune()
                if any(pruned):
                    _log.info("store_pruned", **pruned._asdict())
            await asyncio.sleep(PRUNE_EVERY * random.uniform(0.8, 1.2))

    async def _prune(self, table: Table, end: float) -> int:
        # What another process is at, it removes: neither waits, and each counts its own.
        some = (
            select(table.c.number)
            .where(table.c.created <= end)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        statement = delete(table).where(table.c.number.in_(some))

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        total = 0
        while removed := await self._write("prune", work):
            total += removed
        return total

    async def _forget(self) -> None:
        self._owes = True
        with suppress(StoreUnavailable):  # it is removed; the next time may go better
            self._owes = not await self._read("forget", engines.forget)

    def _is(self, tenant: str, response_id: str) -> tuple[Any, ...]:
        return responses.c.tenant == tenant, responses.c.id == key(response_id)

    def _expired(self) -> float:
        return self._now() - self._retention

    async def _read(self, name: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await self._run(name, work, self._engines.reads)

    async def _write(self, name: str, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await self._run(name, work, self._engines.writes)

    async def _run(
        self, name: str, work: Callable[[AsyncConnection], Awaitable[T]], engine: AsyncEngine
    ) -> T:
        # Who gives it up waits for its end all the same: a connection whose statement is cut off is no good
        # to whoever gets it next (SQLite's may hold a transaction that nobody ends).
        task = asyncio.create_task(self._bounded(name, work, engine))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody is there to be told
            raise
        finally:
            del task  # one that failed knows its error, and that this frame

    async def _bounded(
        self, name: str, work: Callable[[AsyncConnection], Awaitable[T]], engine: AsyncEngine
    ) -> T:
        try:
            async with asyncio.timeout(TIMEOUT), engine.begin() as connection:
                return await work(connection)
        except GuardProxyError:
            raise
        except Exception as error:
            failure("store_failed", error, operation=name)
        # Out of reach of that error, which knows the statement's parameters.
        raise StoreUnavailable("The store of responses and conversations is not available; try again.")


def _reason(error: BaseException) -> str:
    """What kind of error is at the bottom; a message may quote the URL."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return type(error).__name__
