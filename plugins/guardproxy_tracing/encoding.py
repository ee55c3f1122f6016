"""Finished spans as the bytes of OTLP's ExportTraceServiceRequest, in protobuf's wire format.

The SDK's encoder makes a message object of every attribute, and hashes the resource as JSON for every span:
130 µs for an exchange's three spans, in the process that serves. These bytes are equal to its own.
Fields: opentelemetry-proto 1.x, trace/v1/trace.proto and common/v1/common.proto; the format:
https://protobuf.dev/programming-guides/encoding/.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5  # how a field's value is spelled
# What is remembered: most attributes come again.
_LONGEST_KEPT: Final = 128  # bytes of an attribute, characters of a name
_MOST_KEPT: Final = 4096  # of each kind
# The bytes of attributes, by the field's number, the key and the value. By kind: 1 and True are equal.
_KEPT: Final[dict[type, dict[tuple[int, str, Any], bytes]]] = {str: {}, int: {}, bool: {}}
_IS_REMOTE_KNOWN: Final = 0x100  # SpanFlags of trace.proto
_IS_REMOTE: Final = 0x200
_TIMES = struct.Struct("<BBBQBQ")  # kind, start and end, with their tags
_DOUBLE = struct.Struct("<d")


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """One request with all of `spans`, by resource and scope.

    Raises:
        TypeError: an attribute is no text, boolean, number or sequence of these.
    """
    # By identity, since to hash one is dear: there are one or two of each in a process.
    groups: dict[int, dict[int, list[ReadableSpan]]] = {}
    group: list[ReadableSpan] = []
    resource: object = None  # of the span before
    scope: object = None
    for span in spans:
        if span.resource is not resource or span.instrumentation_scope is not scope:
            resource, scope = span.resource, span.instrumentation_scope
            group = groups.setdefault(id(resource), {}).setdefault(id(scope), [])
        group.append(span)
    return b"".join(_field(1, _resource_spans(list(scopes.values()))) for scopes in groups.values())


def _resource_spans(scopes: Sequence[Sequence[ReadableSpan]]) -> bytes:
    parts = [_resource(scopes[0][0].resource)]
    for group in scopes:
        spans = [_field(2, _span(span)) for span in group]
        parts.append(_field(2, b"".join([_scope(group[0].instrumentation_scope), *spans])))
    return b"".join(parts)


def _resource(resource: Resource) -> bytes:
    return _field(1, _attributes(1, resource.attributes)) + _text(3, resource.schema_url)


def _scope(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return _field(1, b"")
    told = _text(1, scope.name) + _text(2, scope.version) + _attributes(3, scope.attributes)
    return _field(1, told) + _text(3, scope.schema_url)


def _span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    parts = [_ids(context)]
    if context.trace_state:
        parts.append(_text(3, ",".join(f"{key}={value}" for key, value in context.trace_state.items())))
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    parts.append(_text(5, span.name))
    kind = span.kind._value_ + 1  # 0 is unspecified on the wire; `value` and a dict's hash are calls
    parts.append(_TIMES.pack(0x30, kind, 0x39, span.start_time or 0, 0x41, span.end_time or 0))
    _add_attributes(parts, 9, span.attributes)
    if dropped := span.dropped_attributes:
        parts.append(_number(10, dropped))
    if events := span.events:
        parts += [_field(11, _event(event)) for event in events]
        parts.append(_number(12, span.dropped_events))
    if links := span.links:
        parts += [_field(13, _link(link)) for link in links]
        parts.append(_number(14, span.dropped_links))
    status = span.status
    parts.append(_PLAIN[status.status_code._value_] if status.description is None else _status(status))
    parts.append(_flags(16, parent is not None and parent.is_remote))
    return b"".join(parts)


def _status(status: Status) -> bytes:
    return _field(15, _text(2, status.description) + _number(3, status.status_code.value))


def _event(event: Event) -> bytes:
    time = b"\x09" + event.timestamp.to_bytes(8, "little") if event.timestamp else b""
    dropped = _number(4, event.dropped_attributes)
    return time + _text(2, event.name) + _attributes(3, event.attributes) + dropped


def _link(link: Link) -> bytes:
    context = link.context
    dropped = _number(5, link.dropped_attributes)
    return _ids(context) + _attributes(4, link.attributes) + dropped + _flags(6, context.is_remote)


def _ids(context: SpanContext) -> bytes:
    return b"\x0a\x10%b\x12\x08%b" % (
        context.trace_id.to_bytes(16, "big"),
        context.span_id.to_bytes(8, "big"),
    )


def _attributes(number: int, attributes: Mapping[str, Any] | None) -> bytes:
    parts: list[bytes] = []
    _add_attributes(parts, number, attributes)
    return b"".join(parts)


def _add_attributes(parts: list[bytes], number: int, attributes: Mapping[str, Any] | None) -> None:
    for key, value in (attributes or {}).items():
        kind = type(value)
        if kind is float:
            parts += (_before_double(number, key), _DOUBLE.pack(value))
        elif (kept := _KEPT.get(kind)) is None:
            parts.append(_attribute(number, key, value))
        elif (part := kept.get((number, key, value))) is not None:
            parts.append(part)
        else:
            parts.append(_remembered(kept, number, key, value))


def _attribute(number: int, key: str, value: Any) -> bytes:
    return _field(number, _text(1, key) + _field(2, _value(value)))


def _remembered(kept: dict[tuple[int, str, Any], bytes], number: int, key: str, value: Any) -> bytes:
    part = _attribute(number, key, value)
    if len(part) <= _LONGEST_KEPT:
        if len(kept) >= _MOST_KEPT:  # texts that never come again fill it: begin anew
            kept.clear()
        kept[number, key, value] = part
    return part


@lru_cache
def _before_double(number: int, key: str) -> bytes:
    """An attribute that is a floating-point number, up to its eight bytes."""
    return _attribute(number, key, 0.0)[: -_DOUBLE.size]


def _value(value: Any) -> bytes:
    """An AnyValue: also an empty text has its field, which says of which kind it is."""
    if isinstance(value, str):
        return _field(1, value.encode())
    if isinstance(value, bool):
        return _tag(2, _VARINT) + _varint(value)
    if isinstance(value, int):
        return _tag(3, _VARINT) + _varint(value)
    if isinstance(value, float):
        return _tag(4, _FIXED64) + _DOUBLE.pack(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return _field(5, _array(value))
    raise TypeError(f"An attribute is of the type {type(value).__name__}.")


def _array(values: Iterable[Any]) -> bytes:
    return b"".join(_field(1, _value(value)) for value in values)


# Fields. As in every protobuf encoder what is empty or 0 is left out, but for messages.


def _field(number: int, data: bytes) -> bytes:
    size = len(data)
    return _tag(number, _SIZED) + (_SMALL[size] if size < 0x80 else _varint(size)) + data


def _text(number: int, text: str | None) -> bytes:
    return _kept_text(number, text) if text and len(text) <= _LONGEST_KEPT else _long_text(number, text)


@lru_cache(maxsize=1024)
def _kept_text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _long_text(number: int, text: str | None) -> bytes:
    return _field(number, text.encode()) if text else b""


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _varint(value) if value else b""


@lru_cache
def _flags(number: int, is_remote: bool) -> bytes:
    flags = _IS_REMOTE_KNOWN | (_IS_REMOTE if is_remote else 0)
    return _tag(number, _FIXED32) + flags.to_bytes(4, "little")


@lru_cache(maxsize=256)
def _tag(number: int, spelling: int) -> bytes:
    return _varint(number << 3 | spelling)


def _varint(value: int) -> bytes:
    """A number, seven bits a byte, the last ones first; one below 0 as its two's complement of 64 bits."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 0x80:
        return _SMALL[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: Final = tuple(bytes((value,)) for value in range(0x80))
_PLAIN: Final = {code.value: _status(Status(code)) for code in StatusCode}
