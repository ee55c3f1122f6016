"""Undo a body's content encoding, within a limit; know whether it reads as UTF-8. Pure."""

import re
import zlib

from guardproxy.errors import GuardProxyError

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
ENCODINGS = "gzip, deflate"
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
# In these, what is valid UTF-8 reads the same as far as it is ASCII.
_LIKE_UTF8 = frozenset(("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"))


def is_like_utf8(content_type: str) -> bool:
    """Whether who goes by the charsets of `content_type` reads ASCII in UTF-8 as what it is."""
    return all(charset.lower() in _LIKE_UTF8 for charset in _CHARSET.findall(content_type))


def is_known(encoding: str) -> bool:
    """Whether a content encoding is none, or one that can be undone."""
    return encoding.strip().lower() in ("", "identity", *_WINDOWS)


def is_stream(types: str) -> bool:
    """Whether one of the content types is a stream of events: of two the client takes either."""
    return any(kind.strip().startswith("text/event-stream") for kind in types.lower().split(","))


class Decoder:
    """Decodes one body, in pieces. `problem` makes the error of a body that cannot be decoded."""

    def __init__(self, encoding: str, limit: int, problem: type[GuardProxyError], what: str) -> None:
        """Begin.

        Raises:
            GuardProxyError: (`problem`) an encoding that guardproxy does not know.
        """
        self._problem, self._what, self._limit = problem, what, limit
        self._size = 0
        word = encoding.strip().lower()
        self._undo = None
        if word not in ("", "identity"):
            if not is_known(word):
                raise problem(
                    f"{what} has a content encoding that cannot be inspected; use {ENCODINGS} or none.",
                    param="Content-Encoding",
                )
            self._undo = zlib.decompressobj(_WINDOWS[word])

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes of the next piece.

        Raises:
            GuardProxyError: (`problem`) not in that encoding, or larger than the limit.
        """
        if self._undo is None:
            return data
        try:
            # max_length 0 would mean no limit.
            out = self._undo.decompress(data, max(1, self._limit - self._size + 1))
        except zlib.error:
            raise self._problem(f"{self._what} is not in the content encoding that it names.") from None
        self._size += len(out)
        if self._size > self._limit or self._undo.unconsumed_tail:
            raise self._problem(f"{self._what} is larger than {self._limit} bytes when it is decoded.")
        if self._undo.unused_data:
            raise self._problem(f"{self._what} goes on after the end of its content encoding.")
        return out

    def end(self) -> None:
        """The body is over.

        Raises:
            GuardProxyError: (`problem`) it is incomplete.
        """
        if self._undo is not None and not self._undo.eof:
            raise self._problem(f"{self._what} is incomplete in its content encoding.")

    def whole(self, data: bytes) -> bytes:
        """The decoded bytes of a body that is here as a whole.

        Raises:
            GuardProxyError: (`problem`) as `feed` and `end`.
        """
        out = self.feed(data)
        self.end()
        return out


def decoded(data: bytes, encoding: str, limit: int, problem: type[GuardProxyError], what: str) -> bytes:
    """The whole body `data` without its content encoding.

    Raises:
        GuardProxyError: (`problem`) it cannot be decoded.
    """
    return Decoder(encoding, limit, problem, what).whole(data)
