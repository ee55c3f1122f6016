"""Does with a client what a test asks, and tells what the client saw. Run by the client's own Python.

What is asked comes as one JSON object, and what was seen goes as one to standard output.
"""

import asyncio
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

SECOND = "And then?"


@dataclass
class Lookup:
    """The tool that the model calls: notes the keys that it is called with."""

    result: str
    keys: list[str] = field(default_factory=list)

    def lookup(self, key: str) -> str:
        """Look up what belongs to a key."""
        self.keys.append(key)
        return self.result


@dataclass(frozen=True)
class Access:
    """What a user of the client sets."""

    url: str  # of the provider, as this client wants it
    key: str
    model: str


class Client(Protocol):
    """A client; every method asks the model, and gives what it says in the end, in one or more pieces.

    Where the client can, `previous` asks as `history` does, with the id of the response before.
    """

    def whole(self, text: str) -> AsyncIterator[str]: ...

    def stream(self, text: str) -> AsyncIterator[str]: ...

    def tools(self, text: str) -> AsyncIterator[str]: ...

    def stream_tools(self, text: str) -> AsyncIterator[str]: ...

    def history(self, text: str) -> AsyncIterator[str]:
        """Ask `text`, then SECOND with all that was said before it."""
        ...


class TwoAgents(ABC):
    """A client with an agent that has no tool, `agent`, and one that has the tool, `equipped`."""

    agent: Any
    equipped: Any

    @abstractmethod
    async def _asked(self, agent: Any, text: str) -> str:
        """What the agent says in the end."""

    @abstractmethod
    def _streamed(self, agent: Any, text: str) -> AsyncIterator[str]:
        """The same in pieces, as they come."""

    async def whole(self, text: str) -> AsyncIterator[str]:
        yield await self._asked(self.agent, text)

    def stream(self, text: str) -> AsyncIterator[str]:
        return self._streamed(self.agent, text)

    async def tools(self, text: str) -> AsyncIterator[str]:
        yield await self._asked(self.equipped, text)

    def stream_tools(self, text: str) -> AsyncIterator[str]:
        return self._streamed(self.equipped, text)


Connect = Callable[[Access, Lookup], Client]
Read = Callable[[Any], list[Any]]


async def _seen(client: Client, lookup: Lookup, read: Read, method: str, text: str) -> Any:
    lookup.keys.clear()
    said, error = "", None
    try:
        async for piece in getattr(client, method)(text):
            said += piece
    except Exception as raised:
        error = [type(raised).__name__, *read(raised)]
    return {"text": said, "keys": list(lookup.keys), "error": error}


def main(connect: Connect, read: Read) -> None:
    """Do what the first argument says; `read` gives the code and the message of what the client raised."""
    asked = json.loads(sys.argv[1])
    lookup = Lookup(asked["result"])

    @cache
    def client(access: Access) -> Client:
        return connect(access, lookup)

    async def run() -> list[Any]:
        return [
            await _seen(client(Access(*access)), lookup, read, method, text)
            for *access, method, text in asked["runs"]
        ]

    print(json.dumps(asyncio.run(run())))
