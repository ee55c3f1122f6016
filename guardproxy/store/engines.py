"""The two kinds of database: how they are connected to, and what bounds their time."""

import asyncio
import os
import sqlite3
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite
import asyncpg
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from guardproxy.errors import ConfigError
from guardproxy.settings import masked
from guardproxy.values import SQLITE

CONNECT = 5.0  # seconds that a connection, or a place among the connections, may take
BUSY = 10.0  # seconds that SQLite waits for another writer
# SQLite has one writer at a time: more connections of one process would only wait for each other.
SQLITE_CONNECTIONS = 2
POSTGRESQL_CONNECTIONS = 8
RECYCLE = 600  # seconds after which a connection is made anew: what is between may forget idle ones
WRITES = "guardproxy_writes"  # the execution option of a transaction that writes from its beginning


class Engines:
    """Two views of the same connections. A statement that only `reads` needs no transaction around it."""

    def __init__(self, url: str) -> None:
        """Take a `url` that `values.is_store` lets pass. Nothing is connected yet."""
        self._threads: WeakSet[Thread] = WeakSet()
        if url.startswith(SQLITE):
            self.reads = _sqlite(url.removeprefix(SQLITE), self._threads)
            self.writes = self.reads.execution_options(**{WRITES: True})
        else:
            self.writes = _postgresql(url)
            self.reads = self.writes.execution_options(isolation_level="AUTOCOMMIT")

    async def aclose(self) -> None:
        """Close the connections, and wait for their ends."""
        await self.writes.dispose()
        for thread in list(self._threads):
            await asyncio.to_thread(thread.join, BUSY)


def file_of(url: str) -> Path | None:
    """SQLite's file, from the root; None of another database."""
    return Path(url.removeprefix(SQLITE)).absolute() if url.startswith(SQLITE) else None


def shown(url: str) -> str:
    """`url` as it may be shown: without its password, and a file's path from the root."""
    file = file_of(url)
    return str(masked("url", url)) if file is None else f"{SQLITE}{file}"


def create_file(url: str) -> None:
    """Make SQLite's file, which holds texts, for this user alone. One that is there keeps its mode.

    SQLite gives the files beside it (-wal, -shm) the same mode.

    Raises:
        ConfigError: it cannot be made.
    """
    if not url.startswith(SQLITE):
        return
    try:
        os.close(os.open(Path(url.removeprefix(SQLITE)), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass  # and is not opened: to close it would take away the locks that SQLite has on it
    except OSError as error:
        raise ConfigError(f"[store] url: the file cannot be made: {error.strerror}.") from None


async def forget(connection: AsyncConnection) -> bool:
    """Let what was removed be in none of SQLite's files: it is written over in one, but stays in the log.

    False where somebody reads or writes just now: to wait for them would hold up all who write.
    """
    if connection.dialect.name != "sqlite":
        return True
    await connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    try:
        busy = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()[0]
    finally:
        await connection.exec_driver_sql(_patience())
    return not busy


def _patience() -> str:
    return f"PRAGMA busy_timeout = {BUSY * 1000:.0f}"


def is_busy(error: DBAPIError) -> bool:
    """Whether SQLite did not wait for another: so it is when several make a new file a WAL one."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY


def _sqlite(path: str, threads: WeakSet[Thread]) -> AsyncEngine:
    async def connect() -> Any:
        connection = aiosqlite.connect(path)
        # Each connection is a thread. One that could not be opened, or was cut off, is not waited for by the
        # driver: it would answer a loop that is closed by then, with a traceback for the user.
        thread = connection._thread
        thread.daemon = True
        threads.add(thread)
        return await connection

    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=path),
        async_creator=connect,
        hide_parameters=True,
        pool_size=SQLITE_CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT,
    )

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # `begins` begins; the driver itself would do so too late
        cursor = connection.cursor()
        cursor.execute(_patience())
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # what is deleted is no longer in the file
        cursor.close()

    def begins(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITES):
            # One that reads first and then writes would fail, not wait, where another has written meanwhile.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "begin", begins)
    return engine


def _postgresql(url: str) -> AsyncEngine:
    # The driver reads the URL itself: it takes the words that every client of PostgreSQL does, as sslmode.
    dsn = "postgresql://" + url.partition("://")[2]

    async def connect() -> Any:
        return await asyncpg.connect(dsn, timeout=CONNECT, server_settings={"application_name": "guardproxy"})

    def checked_out(_: Any, record: ConnectionPoolEntry, __: Any) -> None:
        # The driver sees when the server goes, so one that was restarted costs nobody a request, and it is
        # not asked before each whether it is there.
        connection: Any = record.driver_connection
        if connection.is_closed():
            raise DisconnectionError

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,
        pool_size=POSTGRESQL_CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT,
        pool_recycle=RECYCLE,
    )
    event.listen(engine.sync_engine, "checkout", checked_out)
    return engine
