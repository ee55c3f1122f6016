"""Guards that fail, each in its own way, at the word that they wait for; and a hook that always does."""

import logging
import os
import signal
import time
from collections.abc import Iterable, Sequence

from guardproxy import Detector, Exchange, Guard, Match, hookimpl


class Raises(Detector):
    """Raises, with the text in its message, in its cause and in its frame."""

    name = "raises"

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        for text in texts:
            if "stumble" in text:
                try:
                    raise KeyError(text)
                except KeyError as cause:
                    raise ValueError(f"cannot read {text}") from cause
        return [[] for _ in texts]


class RaisesHere(Raises):
    """The same on the event loop."""

    name = "raises_here"
    inline_below = 100_000


class Hangs(Detector):
    """Computes without an end."""

    name = "hangs"

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        if any("stall" in text for text in texts):
            time.sleep(600)
        return [[] for _ in texts]


class Dies(Detector):
    """Is killed."""

    name = "dies"

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        if any("perish" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return [[] for _ in texts]


@hookimpl
def guardproxy_after_forward(exchange: Exchange) -> None:
    """Raises with the request in its message, after a library has logged it."""
    logging.getLogger("some.library").warning("got %r with %s", exchange.request, exchange.headers)
    logging.getLogger("some.library").debug("got %r", exchange.request)
    raise ValueError(f"cannot keep {exchange.request!r} of {exchange.headers}")


@hookimpl
def guardproxy_register_guards() -> Iterable[Guard]:
    """Each as a guard of its own."""
    return [Guard(kind.name, (kind(),)) for kind in (Raises, RaisesHere, Hangs, Dies)]
