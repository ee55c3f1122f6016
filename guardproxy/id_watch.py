"""Looks for the id of a response in an answer that passes as it came, before the client gets it."""

from collections.abc import Callable

from guardproxy import encodings, facts, sse
from guardproxy.encodings import is_stream
from guardproxy.errors import GuardProxyError, UpstreamError
from guardproxy.headers import Raw, lower_headers


class IdWatch:
    """Reads one answer on its way; what cannot be read has no id."""

    def __init__(self, raw: Raw, limit: int, learned: Callable[[object], None]) -> None:
        """Begin, with the answer's headers. `learned` is called with the id, once at most.

        A whole answer of more than `limit` bytes is not read.
        """
        headers = lower_headers(raw)
        self._learned: Callable[[object], None] | None = learned
        self._events = sse.Decoder() if is_stream(headers.get("content-type", "")) else None
        self._body = bytearray()
        self._limit = limit
        self._size, self._whole = 0, headers.get("content-length", "")
        encoding = headers.get("content-encoding", "")
        if encodings.is_known(encoding):
            self._decoder = encodings.Decoder(encoding, limit, UpstreamError, "The upstream's answer")
        else:
            self._learned = None

    def feed(self, chunk: bytes) -> None:
        """The next bytes, before they go on."""
        if self._learned is None:
            return
        self._size += len(chunk)
        try:
            plain = self._decoder.feed(chunk)
            frames = [] if self._events is None else self._events.feed(plain)
        except (GuardProxyError, ValueError):
            self._learned = None
            return
        if self._events is None:
            self._body += plain
            if len(self._body) > self._limit:
                self._learned = None
            elif str(self._size) == self._whole:  # the client has it when these are there
                self.end()
        for frame in frames:
            self._tell(facts.id_in(frame.data))

    def end(self) -> None:
        """There are no more bytes."""
        if self._learned is None:
            return
        if self._events is None:
            self._tell(facts.id_of(bytes(self._body)))
        elif (rest := self._events.close()) is not None:
            self._tell(facts.id_in(rest.data))
        self._learned = None

    def _tell(self, found: object) -> None:
        if found is not None and self._learned is not None:
            self._learned(found)
            self._learned = None
