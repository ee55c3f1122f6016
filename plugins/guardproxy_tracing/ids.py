"""Two ids in one: how a UUID (128 bits) stands for a trace id and a span id (192 bits), without a table.

A returned UUID is version 8. Its high half is the trace's key, 60 bits around the version nibble; its
low half is the span id, whose top bits are `10`, the variant of a legal UUID. The trace id repeats the
high half, followed by a hash of it: so the UUID alone leads back to trace and span, on every replica.
"""

import hashlib
import os
import random
import re

from opentelemetry.sdk.trace.id_generator import IdGenerator

_TAG = b"guardproxy.trace.1"
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
_LOW = (1 << 64) - 1
_VERSION = 8 << 12


def expand(key: int) -> int:
    """The trace id of a trace key (60 bits): the key around the version nibble, then 64 bits of its hash."""
    high = _high_of(key)
    return high << 64 | int.from_bytes(_hash(high.to_bytes(8, "big"))[:8], "big")


def key_of(trace_id: int) -> int:
    """The 60 bits of `trace_id` that a UUID has room for; `expand` inverts it for ids that it made."""
    high = trace_id >> 64
    return high >> 16 << 12 | high & 0xFFF


def uuid_of(trace_id: int, span_id: int) -> str:
    """The UUIDv8 that stands for a span.

    It leads back to `trace_id` exactly if `expand` made that. In a trace that began elsewhere it only
    keeps the children of one parent together.
    """
    high, low = f"{trace_id >> 64:016x}", f"{span_id:016x}"
    return f"{high[:8]}-{high[8:12]}-8{high[13:]}-{low[:4]}-{low[4:]}"  # an 8 where the version is


def parent_of(text: str) -> tuple[int, int] | None:
    """The trace id and span id that a UUID of any version stands for; None when it stands for no span."""
    if not _UUID.fullmatch(text):
        return None
    value = int(text.replace("-", ""), 16)
    high, span_id = value >> 64, value & _LOW
    if not span_id:
        return None
    if high & 0xF000 == _VERSION:
        return expand(key_of(value)), span_id
    # Any other version: its high half may be a clock, equal for many parents. The hash is not.
    return expand(int.from_bytes(_hash(value.to_bytes(16, "big"))[:8], "big") >> 4), span_id


def trace_of(text: str) -> int | None:
    """The trace id that 32 hexadecimal digits or a UUID name; None when they name none.

    A UUID of version 8, written as one, is one of ours and names the trace of its span.
    """
    if not _UUID.fullmatch(text):
        return None
    value = int(text.replace("-", ""), 16)
    ours = "-" in text and value >> 64 & 0xF000 == _VERSION
    return (expand(key_of(value)) if ours else value) or None


def _high_of(key: int) -> int:
    return key >> 12 << 16 | _VERSION | key & 0xFFF


def _hash(value: bytes) -> bytes:
    return hashlib.sha256(_TAG + value).digest()


class OpperIdGenerator(IdGenerator):
    """Makes ids that `uuid_of` and `parent_of` carry without loss."""

    def __init__(self) -> None:
        # Its own source: nobody who seeds the shared one makes replicas repeat each other's ids. Ids are
        # no secrets, and asking the system for each would be the dearest part of a span.
        self._random = random.Random()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_trace_id(self) -> int:
        """A new trace id, expanded from 60 random bits."""
        return expand(self._random.getrandbits(60))

    def generate_span_id(self) -> int:
        """A new span id: the bits `10`, then 62 random ones."""
        return 2 << 62 | self._random.getrandbits(62)

    def is_trace_id_random(self) -> bool:
        """Yes: the last 64 bits of a trace id are evenly spread."""
        return True
