"""Remember the matches of texts that were seen before: by digest, bounded in bytes, oldest use out first."""

from collections import OrderedDict
from collections.abc import Sequence

from guardproxy.types import Match

# What an entry and a match cost in CPython 3.11 on 64 bits, rounded up (tests/test_cache.py measures):
# dictionary slot and list node, key, digest and tuple; then the match, its numbers and its place.
ENTRY_BYTES = 400
MATCH_BYTES = 260


class MatchCache:
    """Matches by slot (which detectors looked, and at what) and digest of a text. It never sees a text."""

    def __init__(self, size: int) -> None:
        """Hold at most about `size` bytes; 0 holds nothing."""
        self.size = size
        self.used = 0
        self._entries: OrderedDict[tuple[int, bytes], tuple[Match, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, slot: int, digest: bytes) -> tuple[Match, ...] | None:
        """The matches; None when they are not known."""
        key = (slot, digest)
        matches = self._entries.get(key)
        if matches is None:
            return None
        self._entries.move_to_end(key)
        return matches

    def put(self, slot: int, digest: bytes, matches: Sequence[Match]) -> None:
        """Remember `matches`; what was used longest ago is forgotten to make room."""
        key = (slot, digest)
        before = self._entries.pop(key, None)
        if before is not None:
            self.used -= _cost(before)
        kept = tuple(matches)
        cost = _cost(kept)
        if cost > self.size:
            return  # it would push out everything, and itself
        self._entries[key] = kept
        self.used += cost
        while self.used > self.size:
            _, oldest = self._entries.popitem(last=False)
            self.used -= _cost(oldest)


def _cost(matches: Sequence[Match]) -> int:
    return ENTRY_BYTES + MATCH_BYTES * len(matches)
