"""Processes that listen: started, waited for, ended by their id, and looked at from the kernel's side."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ENDING = 30.0  # seconds that a process may take after SIGTERM
_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Running:
    """A process, and the file that holds what it printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def printed(self, pattern: str) -> str | None:
        """The first group of the first match of `pattern` in what was printed; fails when it has ended."""
        text = self.log.read_text(errors="replace")
        found = re.search(pattern, text, re.MULTILINE)
        if found is None and self.process.poll() is not None:
            raise AssertionError(f"{self.log.stem} ended with {self.process.returncode}:\n{text[-4000:]}")
        return found[1] if found else None

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ENDING)


@contextmanager
def running(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path, folder: Path | None = None
) -> Iterator[Running]:
    """Run `command` until the block ends, at the latest; it gets no other environment than this one."""
    with ExitStack() as stack:
        out = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        started = Running(process, log)
        try:
            yield started
            if process.poll() is None:
                started.end()
        finally:
            process.kill()
            process.wait()


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process needs of ours: no settings, no proxies and no telemetry that are meant for others."""
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(home)} | more


def until(what: str, found: Callable[[], T | None], seconds: float) -> T:
    """What `found` gives, as soon as that is not None; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while (value := found()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} seconds")
        time.sleep(0.05)
    return value


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free just now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def accepts(port: int) -> bool | None:
    """True when 127.0.0.1 takes connections at `port`, else None."""
    with socket.socket() as one:
        return True if one.connect_ex(("127.0.0.1", port)) == 0 else None


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP socket of a process, as the kernel shows it."""

    listens: bool
    local: str
    port: int
    remote: str


def sockets(pid: int) -> list[Socket]:
    """The TCP sockets of a process and of all that it started."""
    inodes = {inode for one in _family(pid) for inode in _inodes(one)}
    found = []
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[9] in inodes:
                (local, port), (remote, _) = _address(fields[1]), _address(fields[2])
                found.append(Socket(fields[3] == _LISTEN, local, port, remote))
    return found


def _family(pid: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has just ended
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _inodes(pid: int) -> Iterator[str]:
    with suppress(OSError):  # the process has just ended
        for one in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):  # it has just closed this one
                name = os.readlink(f"/proc/{pid}/fd/{one}")
                if name.startswith("socket:["):
                    yield name[8:-1]


def _address(field: str) -> tuple[str, int]:
    """An address of /proc/net/tcp: words of four bytes, each in the machine's order."""
    words, _, port = field.partition(":")
    raw = b"".join(bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8))
    address = ip_address(raw)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address), int(port, 16)
