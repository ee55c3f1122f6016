"""Read what clients send: bodies, ids and times. An error says what was wrong, where, and what is right."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from guardproxy import InvalidRequest
from guardproxy_tracing.ids import parent_of

MAX_BODY: Final = 1024 * 1024  # bytes
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2262, 1, 1, tzinfo=UTC)  # nanoseconds since 1970 fit into 63 bits until then
_EXAMPLE: Final = "2026-01-31T12:00:00+00:00"


class Changes(msgspec.Struct, kw_only=True):
    """The body of an update, as far as it matters here."""

    output: str | None = None
    error: str | None = None
    end_time: str | None = None
    meta: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    tags: dict[str, Any] | None = None


class Opening(Changes, kw_only=True):
    """The body of a new span."""

    name: str
    trace_id: str | None = None
    parent_id: str | None = None
    type: str | None = None
    input: str | None = None
    start_time: str | None = None


Body = TypeVar("Body", bound=Changes)


def read(body: bytes, kind: type[Body]) -> Body:
    """The body as `kind`; what it does not know is ignored.

    Raises:
        InvalidRequest: no JSON object, or a field that is missing or of a wrong type.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # its message quotes nothing, but says too much of Python
        raise InvalidRequest("The body is not JSON; send a JSON object in UTF-8, unencoded.") from None
    try:
        return msgspec.convert(document, kind)
    except UnicodeEncodeError:  # of half a surrogate, where something else than text is wanted
        raise InvalidRequest(
            "The body does not fit: Expected `object | null`, got `str`. Send objects as 'meta', 'metadata' "
            "and 'tags'."
        ) from None
    except (msgspec.ValidationError, RecursionError) as error:
        # It names types, places and our own field names, and never a key or a value of the body's.
        wrong, _, place = str(error).partition(" - at `$")
        param = place.strip("`.").partition("[")[0] or None
        where = f"The body's {param}" if param else "The body"
        raise InvalidRequest(f"{where} does not fit: {wrong}.", param=param) from None


def nanoseconds(text: str, param: str) -> int:
    """An ISO 8601 time in nanoseconds since 1970; UTC where it names no offset.

    Raises:
        InvalidRequest: no such time, or one before 1970 or after 2261.
    """
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        found = _LAST
    if not _EPOCH <= found < _LAST:
        raise InvalidRequest(
            f"The body's {param} is no usable time; send ISO 8601 from 1970 to 2261, such as {_EXAMPLE}.",
            param=param,
        )
    return (found - _EPOCH) // timedelta(microseconds=1) * 1000


def span_id(text: str, param: str) -> tuple[int, int]:
    """The trace id and span id that a UUID stands for.

    Raises:
        InvalidRequest: it is no UUID, or one whose second half is zero.
    """
    found = parent_of(text)
    if found is None:
        raise InvalidRequest(
            f"The body's {param} is no UUID that can stand for a span; send an id that guardproxy gave, "
            "or any UUID whose second half is not zero.",
            param=param,
        )
    return found
