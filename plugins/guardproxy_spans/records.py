"""What is kept of a client's span: ids, times, sizes, small numbers, and names that look like names. Pure.

No guard sees what a client says of its spans, so no text of it is kept: neither in memory, nor in the
table, nor on the span that is exported. `Record` has no place for one.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from guardproxy_tracing.attributes import label
from guardproxy_tracing.ids import parent_of, uuid_of

Value = bool | int | float
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._:/-]{0,127}")  # the same, but no number and no address
_LARGE: Final = 10**6  # a number of seven digits could be a card, a phone or an id
_VALUES: Final = 32  # numbers that one span may have
_LOW: Final = (1 << 62) - 1

KINDS: Final = {
    "AGENT": ("agent", "subagent"),
    "TOOL": ("tool", "function"),
    "LLM": ("llm", "generation", "call", "chat", "completion"),
    "RETRIEVER": ("retriever", "retrieval", "search", "query", "knowledge"),
    "EMBEDDING": ("embedding", "embeddings"),
    "RERANKER": ("reranker", "rerank"),
    "GUARDRAIL": ("guardrail", "guard"),
    "EVALUATOR": ("evaluator", "evaluation", "eval"),
    "PROMPT": ("prompt",),
}
_KIND_OF: Final = {word: kind for kind, words in KINDS.items() for word in words}


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client's span, open while it has no `end`. Times are nanoseconds since 1970."""

    id: str
    owner: str  # a digest of the credential
    opened: float  # by our own clock, in seconds
    start: int
    name: str
    kind: str = "CHAIN"
    type: str | None = None
    parent: str | None = None  # a UUID, as the client gave it
    client: str | None = None  # the name of its key
    end: int | None = None
    failed: bool = False
    input_chars: int | None = None
    output_chars: int | None = None
    values: dict[str, Value] = {}
    unfinished: str | None = None  # why we ended it, where the client did not

    @property
    def trace(self) -> str:
        """The UUID of its trace."""
        return trace_uuid(ids_of(self.id)[0])

    def ended(self, time: int, unfinished: str | None = None) -> "Record":
        """The record with its end; not before its start, for two clocks may have told them."""
        return msgspec.structs.replace(self, end=max(time, self.start), unfinished=unfinished)


def ids_of(uuid: str) -> tuple[int, int]:
    """The trace id and span id of a UUID that is known to stand for a span."""
    found = parent_of(uuid)
    assert found is not None
    return found


def trace_uuid(trace_id: int) -> str:
    """The UUID of a trace: `parent_of` leads back to the trace id; its low half is no span's.

    Its digits are the trace id's, but for the top bits of the 17th, which a UUID needs.
    """
    return uuid_of(trace_id, 2 << 62 | trace_id & _LOW)


def kind_of(type_: str | None) -> str:
    """The OpenInference kind of a span's type; CHAIN where it says none that there is."""
    return _KIND_OF.get((type_ or "").lower().replace("_", "").replace("-", ""), "CHAIN")


def name_of(name: str, kind: str) -> str:
    """`name` where it looks like one; else a fixed word, by the span's kind.

    Blanks are not replaced: any sentence would become a name.
    """
    return label(name) or ("span" if kind == "CHAIN" else kind.lower())


def values_of(given: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Value]:
    """The booleans and small numbers in dictionaries, by `DICTIONARY.KEY`; at most 32."""
    found: dict[str, Value] = {}
    for prefix, values in given.items():
        for key, value in (values or {}).items():
            small = _small(value)
            if small is None or not _KEY.fullmatch(key):
                continue
            found[f"{prefix}.{key}"] = small
            if len(found) == _VALUES:
                return found
    return found


def joined(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, Value]:
    """`old` and `new`, which wins; at most 32."""
    return dict(list((dict(old) | dict(new)).items())[:_VALUES])


def _small(value: object) -> Value | None:
    """A boolean, or a number of fewer than seven digits; the others of a fraction are cut."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGE else None
    if isinstance(value, float) and math.isfinite(value) and abs(value) < _LARGE:
        return float(f"{value:.6g}")
    return None
