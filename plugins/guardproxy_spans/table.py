"""The table of spans: bounded, and shared by the worker processes of a server. Any of them may end any span.

A span is exported as one piece, when it has ended, and an update may reach another worker than the one that
opened it. So with several workers the table is an SQLite file in a private folder, which the last of them
removes; with one it is in memory. Its rows have no text (records.py).
"""

import fcntl
import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import msgspec

from guardproxy import ConfigError
from guardproxy_spans.records import Record

_PATIENCE: Final = (
    5.0  # seconds that one process waits for another's transaction; each takes less than a millisecond
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS spans (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, trace TEXT NOT NULL, opened REAL NOT NULL, ended REAL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_owner ON spans (owner, trace, opened);
CREATE INDEX IF NOT EXISTS by_age ON spans (ended, opened);
"""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Record).decode
Change = Callable[[Record], Record]


def _family_secret() -> bytes:
    """What all processes have that descend from one, and nobody else: `multiprocessing` hands it down."""
    return hashlib.blake2b(bytes(multiprocessing.current_process().authkey)).digest()


def owner_of(client: str) -> str:
    """What the table calls a client: a keyed digest, the same in each process of a server."""
    return hashlib.blake2b(client.encode(), key=_family_secret(), digest_size=16).hexdigest()


class Table:
    """Spans by id. Its methods may be called from any thread, and each is one transaction.

    An ended span stays for `keep` seconds, so that a late update is told from an unknown one, unless its
    room is needed.
    """

    def __init__(self, size: int, keep: float, family: "Family | None" = None) -> None:
        """Hold at most `size` spans, in the file of `family`, which `close` then leaves."""
        self._size = size
        self._keep = keep
        self._family = family
        self._lock = threading.Lock()
        # One by one: SQLite does not wait for another process that turns the same file to its log.
        with nullcontext() if family is None else family.alone():
            self._db = sqlite3.connect(
                ":memory:" if family is None else family.file,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
            if family is not None:
                self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")  # nothing here outlives the machine
            self._db.executescript(_SCHEMA)

    def add(self, record: Record, now: float) -> Record | None:
        """Keep `record`. Returns the open one that had to leave for it, if any."""
        with self._transaction() as db:
            left = self._make_room(db)
            ended = None if record.end is None else now
            row = (record.id, record.owner, record.trace, record.opened, ended, _encode(record))
            db.execute("INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?)", row)
        return left

    def _make_room(self, db: sqlite3.Connection) -> Record | None:
        if db.execute("SELECT count(*) FROM spans").fetchone()[0] < self._size:
            return None
        ended = db.execute("SELECT id FROM spans WHERE ended IS NOT NULL ORDER BY ended LIMIT 1").fetchone()
        if ended is not None:
            db.execute("DELETE FROM spans WHERE id = ?", ended)
            return None
        # Of the client that has most: who opens spans without end must not end those of others.
        found = db.execute(
            "SELECT id, record FROM spans WHERE owner = (SELECT owner FROM spans "
            "GROUP BY owner ORDER BY count(*) DESC, owner LIMIT 1) ORDER BY opened, id LIMIT 1"
        ).fetchone()
        db.execute("DELETE FROM spans WHERE id = ?", found[:1])
        return _decode(found[1])

    def change(self, uuid: str, owner: str, change: Change, now: float) -> tuple[Record | None, bool]:
        """Apply `change` to a client's span; the span, and whether that ended it.

        None where the client has no such span. One that has ended already stays as it is.
        """
        with self._transaction() as db:
            old = self._find(db, uuid, owner)
            if old is None or old.end is not None:
                return old, False
            new = change(old)
            ended = None if new.end is None else now
            db.execute("UPDATE spans SET ended = ?, record = ? WHERE id = ?", (ended, _encode(new), uuid))
        return new, new.end is not None

    def find(self, uuid: str, owner: str) -> Record | None:
        """A client's span."""
        with self._lock:
            return self._find(self._db, uuid, owner)

    @staticmethod
    def _find(db: sqlite3.Connection, uuid: str, owner: str) -> Record | None:
        row = db.execute("SELECT record FROM spans WHERE id = ? AND owner = ?", (uuid, owner)).fetchone()
        return _decode(row[0]) if row else None

    def of_client(self, owner: str, trace: str | None = None) -> list[Record]:
        """A client's spans, those of one trace or all, the oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT record FROM spans WHERE owner = ? AND (? IS NULL OR trace = ?) ORDER BY opened, id",
                (owner, trace, trace),
            ).fetchall()
        return [_decode(row[0]) for row in rows]

    def remove(self, owner: str, *, uuid: str | None = None, trace: str | None = None) -> list[Record]:
        """Take out a client's span, or its spans of one trace; empty where there are none."""
        asked = (owner, uuid, trace)
        with self._transaction() as db:
            rows = db.execute(
                "SELECT record FROM spans WHERE owner = ? AND (id = ? OR trace = ?)", asked
            ).fetchall()
            db.execute("DELETE FROM spans WHERE owner = ? AND (id = ? OR trace = ?)", asked)
        return [_decode(row[0]) for row in rows]

    def expire(self, limit: float, now: float, change: Change) -> list[Record]:
        """Apply `change` to spans that were opened `limit` seconds ago, and forget what ended long ago."""
        with self._transaction() as db:
            db.execute("DELETE FROM spans WHERE ended <= ?", (now - self._keep,))
            rows = db.execute(
                "SELECT record FROM spans WHERE ended IS NULL AND opened <= ?", (now - limit,)
            ).fetchall()
            late = [change(_decode(row[0])) for row in rows]
            db.executemany(
                "UPDATE spans SET ended = ?, record = ? WHERE id = ?",
                [(now, _encode(record), record.id) for record in late],
            )
        return late

    def close(self) -> list[Record]:
        """Close the table. Returns the spans that are still open, to the last process that does."""
        last = self._family is None or self._family.leave()
        rows = []
        with self._lock:
            if last:
                rows = self._db.execute("SELECT record FROM spans WHERE ended IS NULL").fetchall()
            self._db.close()
        if last and self._family is not None:
            self._family.remove()
        return [_decode(row[0]) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


class Family:
    """The processes that one server has started, and the folder that they share.

    Its name is drawn from what they alone know. A lock that each holds, and that dies with it, tells who is
    the last.
    """

    def __init__(self) -> None:
        """Join, as the first or as another.

        Raises:
            ConfigError: the folder cannot be made, or is not ours alone.
        """
        name = hashlib.blake2b(b"guardproxy.spans", key=_family_secret(), digest_size=16).hexdigest()
        self._folder = Path(tempfile.gettempdir()) / f"guardproxy-spans-{name}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            found = self._folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
                raise ConfigError(
                    "the folder for spans (see TMPDIR) is there, and is not ours alone. Remove it."
                )
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"workers must share a folder for spans, and TMPDIR has no room for it: {error.strerror}. "
                "Name another in TMPDIR, or take one worker."
            ) from None
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    @property
    def file(self) -> Path:
        """The database."""
        return self._folder / "spans.sqlite"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, no other process is in its own."""
        turn = os.open(self._folder / "turn", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield
        finally:
            os.close(turn)

    def leave(self) -> bool:
        """Give the lock up; whether nobody else holds it."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            return False
        return True

    def remove(self) -> None:
        """Remove the folder; for the last, after `leave`."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)
