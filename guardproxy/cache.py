"""What detectors found before: matches by a keyed hash of the text, least recently used out first."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence

from guardproxy.types import Match

# Measured with tracemalloc: an entry's key, list and bookkeeping, and one Match with its numbers.
ENTRY_BYTES = 320
MATCH_BYTES = 240


class MatchCache:
    """Matches by detector and text. The text itself is not kept, and its hash is of use to nobody else."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._key = os.urandom(32)
        self._entries: OrderedDict[tuple[int, bytes], list[Match]] = OrderedDict()
        self.bytes = 0

    def digest(self, text: str) -> bytes:
        """The name of `text` in this cache."""
        data = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16, key=self._key).digest()

    def get(self, detector: int, digest: bytes) -> list[Match] | None:
        """What `detector` found in the text; None when that is not known. Not to be changed."""
        found = self._entries.get((detector, digest))
        if found is not None:
            self._entries.move_to_end((detector, digest))
        return found

    def put(self, detector: int, digest: bytes, matches: Sequence[Match]) -> None:
        """Remember what `detector` found."""
        key = (detector, digest)
        old = self._entries.pop(key, None)
        if old is not None:
            self.bytes -= _cost(old)
        self._entries[key] = list(matches)
        self.bytes += _cost(matches)
        while self.bytes > self._size and self._entries:
            self.bytes -= _cost(self._entries.popitem(last=False)[1])


def _cost(matches: Sequence[Match]) -> int:
    return ENTRY_BYTES + MATCH_BYTES * len(matches)
