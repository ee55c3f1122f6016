"""Which headers pass on to the upstream and back to the client: raw pairs in, raw pairs out."""

from collections.abc import Container, Iterable, Mapping, Sequence
from email.utils import formatdate

Raw = Sequence[tuple[bytes, bytes]]

# RFC 9110, 7.6.1: these speak of one connection, not of the message. `Expect` has been answered by
# our own server; Host and Content-Length are the business of whoever sends the message on.
_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_NOT_SENT = _CONNECTION | {b"host", b"content-length", b"expect"}
_OF_BODY = frozenset({b"content-encoding", b"content-type"})
_CREDENTIALS = frozenset({b"authorization", b"api-key", b"x-api-key"})
_PARENT = b"x-opper-parent-span-id"  # the one of our own that an upstream may get, from `extra`
_PREFIXES = (b"x-opper-", b"x-guardproxy-", b"proxy-")


def date() -> str:
    """The value of `Date` for an answer of our own; others pass with their upstream's."""
    return formatdate(usegmt=True)


def lower_headers(raw: Raw) -> dict[str, str]:
    """The headers by lower-case name; the values of a repeated one are joined by a comma."""
    found: dict[str, list[str]] = {}
    for name, value in raw:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: values[0] if len(values) == 1 else ", ".join(values) for name, values in found.items()}


def can_be_set(name: str) -> bool:
    """Whether an upstream can be sent a header of this name because a deployment says so."""
    lower = name.lower().encode("latin-1")
    ours = lower in _NOT_SENT or lower in _OF_BODY or lower == b"authorization"
    return not ours and not lower.startswith(_PREFIXES)


def request_headers(
    raw: Raw, *, replace_authorization: str | None, extra: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    """The client's headers as they go to the upstream, in their order.

    `replace_authorization` is a whole value (`Bearer …`) that stands in for the client's credentials;
    "" only removes them, None passes them on. `extra` (trace context) replaces what the client sent
    under the same name; an empty value only removes that. Nothing else is added; Host and Content-Length
    are left to the transport.
    """
    added = _encoded(extra)
    gone = _NOT_SENT.union(_named(raw), added)
    if replace_authorization is not None:
        gone |= _CREDENTIALS
        if replace_authorization:
            added[b"authorization"] = replace_authorization.encode("latin-1")
    kept = [
        (name, value) for name, value in _lower(raw) if name not in gone and not name.startswith(_PREFIXES)
    ]
    passed = [name for name in added if name == _PARENT or not name.startswith(_PREFIXES)]
    return kept + [(name, added[name]) for name in passed if added[name] and name not in _NOT_SENT]


def response_headers(raw: Raw, ours: Mapping[str, str], *, drop: Container[str]) -> list[tuple[bytes, bytes]]:
    """The upstream's headers as they go to the client, less those in `drop` (lower-case names), plus `ours`.

    An upstream's own `X-Opper-*` and `X-Guardproxy-*` never pass: they could forge our verdict.
    `ours` replaces what the upstream sent under the same name.
    """
    added = _encoded(ours)
    gone = _CONNECTION.union(_named(raw), added)
    kept = [
        (name, value)
        for name, value in _lower(raw)
        if name not in gone and not name.startswith(_PREFIXES) and name.decode("latin-1") not in drop
    ]
    return [*kept, *added.items()]


def _lower(raw: Raw) -> Iterable[tuple[bytes, bytes]]:
    return ((name.lower(), value) for name, value in raw)


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}


def _named(raw: Raw) -> Iterable[bytes]:
    """The names that Connection lists: for one connection only, too, unless they say how to read the body."""
    for name, value in raw:
        if name.lower() == b"connection":
            for word in value.split(b","):
                if (listed := word.strip().lower()) not in _OF_BODY:
                    yield listed
