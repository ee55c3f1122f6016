"""Server-sent events: bytes to frames and frames to bytes, incremental, without I/O.

The grammar is that of the WHATWG HTML standard, section 9.2. A frame keeps the bytes that it came
as, so that an event that needs no change leaves as it came.
"""

import re
from dataclasses import dataclass

# The end of a frame: an empty line. Line ends are CR LF, LF or CR, and may be mixed.
_FRAME_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
MAX_FRAME = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One event: its bytes with the empty line that ends it, its data, and its name if it has one."""

    raw: bytes
    data: bytes
    event: bytes = b""

    @property
    def done(self) -> bool:
        """The `[DONE]` that ends a stream of OpenAI's."""
        return self.data.strip() == b"[DONE]"

    def with_data(self, data: bytes) -> "Frame":
        """The same event with other data."""
        head = b"event: " + self.event + b"\n" if self.event else b""
        lines = data.replace(b"\n", b"\ndata: ") if b"\n" in data else data
        return Frame(head + b"data: " + lines + b"\n\n", data, self.event)

    def plain(self, kind: str) -> bytes:
        """The bytes of the event with nothing but its data and a name that is its `kind`.

        As they came, when there was nothing else: comments, ids and other names are texts that no
        guard has seen.
        """
        if self.event in (b"", kind.encode("utf-8", "replace")):
            if self.raw == self.with_data(self.data).raw:
                return self.raw
            if not _OTHER_FIELD.search(self.raw) and len(_EVENT_FIELD.findall(self.raw)) < 2:
                return self.raw
            return self.with_data(self.data).raw
        return Frame(b"", b"", self.name(kind)).with_data(self.data).raw

    def name(self, kind: str) -> bytes:
        """The name with which an event whose type is `kind` is written; b"" where it came without one.

        A type that is no word has none either: a line end in it would begin a line of its own.
        """
        return kind.encode() if self.event and _NAME.fullmatch(kind) else b""


_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_EVENT_FIELD = re.compile(rb"(?:^|[\r\n])event")
_OTHER_FIELD = re.compile(rb"(?:^|[\r\n])(?!data:|event:|[\r\n])[^\r\n]")

DONE = Frame(b"data: [DONE]\n\n", b"[DONE]")


class Decoder:
    """Frames out of bytes that arrive in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._begun = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes.

        Raises:
            ValueError: a frame over 16 MiB.
        """
        buffer = self._buffer
        buffer += chunk
        if not self._begun:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(bytes(buffer)):
                return []
            self._begun = True
            if buffer.startswith(b"\xef\xbb\xbf"):
                del buffer[:3]
        frames: list[Frame] = []
        start = 0
        position = self._searched
        while found := _FRAME_END.search(buffer, position):
            # A frame end that stops at the buffer's last CR may yet take an LF with it.
            if found.end() == len(buffer) and buffer[-1:] == b"\r":
                break
            frames.append(_frame(bytes(buffer[start : found.end()])))
            start = position = found.end()
        if start:
            del buffer[:start]
        self._searched = max(0, len(buffer) - 3)
        if len(buffer) > MAX_FRAME:
            raise ValueError("an event is larger than 16 MiB")
        return frames

    def close(self) -> Frame | None:
        """The event that was left when the bytes ended, without its empty line; None when nothing was."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        if not rest.strip():
            return None
        return _frame(rest.rstrip(b"\r\n") + b"\n\n")


def _frame(raw: bytes) -> Frame:
    data: list[bytes] = []
    event = b""
    for line in _LINE_END.split(raw):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value
    return Frame(raw, b"\n".join(data), event)


def frame(data: bytes, event: str = "") -> Frame:
    """A new frame with `data` (JSON on one line)."""
    return Frame(b"", b"", event.encode()).with_data(data)
