"""What a pipeline is given and gives: a request, a reply to write to, and an answer of a plugin's."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl

from guardproxy.document import dumps
from guardproxy.encodings import is_like_utf8
from guardproxy.errors import InvalidRequest, UnsupportedMedia, UpstreamError
from guardproxy.exchange import Exchange, Stopwatch
from guardproxy.headers import Raw, lower_headers
from guardproxy.policy import REPORT_HEADER
from guardproxy.prices import Price
from guardproxy.profiles import LONGEST_SESSION, OPENRESPONSES, Form, Profile
from guardproxy.report import Reporter
from guardproxy.routes import Route
from guardproxy.shapes import GRAMMAR, RESPONSE, Shape
from guardproxy.types import LocalReply, Path

# The API's own; another name could carry a text past the guards.
QUERY_NAMES = frozenset(
    (
        *("include", "include[]", "stream", "starting_after", "include_obfuscation", "api-version"),
        *("after", "before", "limit", "order"),
    )
)
SESSION_HEADER = "x-session-id"


@dataclass(slots=True)
class Incoming:
    """A client's request: the raw head, and a way to read the body.

    `path` is a template: an id in it shows as `{id}`. `target` is the path below the upstream's base,
    and `response_id` the id in it, as they came; `shown` is the same path as a template. `creates`: a
    model is asked for a response. `address` is the other end of the connection, whatever headers say.
    `profile` is that of the front door, or of the main one where it came through none.
    """

    method: str
    path: str
    target: str
    query: bytes
    headers: Raw
    body: Callable[[], Awaitable[bytes]]
    address: str
    response_id: str | None = None
    shown: str = ""
    creates: bool = False
    profile: Profile = OPENRESPONSES


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of an answer before it comes.

    `echoes` are the texts that were forwarded, by their path. `learned` is to be called with the id of
    a response, as the client will get it, before the client gets it; `keep` with all of its JSON. `failed`
    makes of an error's status and body what the client gets.
    """

    shape: Shape
    echoes: Mapping[Path, str]
    learned: Callable[[object], None]
    keep: Callable[[bytes], Awaitable[None]] | None = None
    failed: Callable[[int, bytes], tuple[int, bytes]] | None = None


class Reply(Protocol):
    """Where the response is written."""

    started: bool
    gone: bool  # the client left; whatever else cancels an exchange is the end of the server's time
    ended: float | None  # the time of `clock` at which the last piece was taken
    watch: Stopwatch  # measures the waiting for the client, to send and to read

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head."""

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client does not read."""

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece."""


class LocalAnswer:
    """An answer of our own in the place of the upstream's."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status = status
        self._body = body
        headers = {"content-type": "application/json", **{k.lower(): v for k, v in headers.items()}}
        headers["content-length"] = str(len(self._body))
        self.headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]

    @classmethod
    def of(cls, local: LocalReply) -> "LocalAnswer":
        """The answer that a plugin gives."""
        return cls(local.status, dumps(local.body).encode(), local.headers)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body."""
        yield self._body

    async def read(self, limit: int) -> bytes:
        """The body."""
        return self._body


def session_of(headers: Mapping[str, str], body: Mapping[str, object]) -> str | None:
    """The session that the header names; None where there is none, or where the body names one.

    Raises:
        InvalidRequest: it is too long.
    """
    session = headers.get(SESSION_HEADER)
    if session is None or body.get("session_id") is not None:
        return None
    if len(session) > LONGEST_SESSION:
        raise InvalidRequest(
            f"The header {SESSION_HEADER} must have at most {LONGEST_SESSION} characters.",
            param=SESSION_HEADER,
        )
    return session


def report_form(headers: Mapping[str, str]) -> Form | None:
    """The form of the report that a request asks for; None when it leaves that to its front door.

    Raises:
        InvalidRequest: an unknown form.
    """
    word = headers.get(REPORT_HEADER, "").strip().lower()
    if not word:
        return None
    if word not in set(Form):
        raise InvalidRequest(
            f"X-Opper-Guard-Report: unknown form. Forms: {', '.join(Form)}.",
            param="X-Opper-Guard-Report",
            code="unknown_report",
        )
    return Form(word)


def reporter_of(
    exchange: Exchange, profile: Profile, route: Route, prices: Mapping[str, Price] | None = None
) -> Reporter:
    """How this exchange reports: as its front door does, or as the request asks.

    Only a response has output items; other answers have the field where items are wanted. Only an answer
    that is made now has a cost.

    Raises:
        InvalidRequest: an unknown form.
    """
    asked = report_form(exchange.headers)
    form = asked or profile.form
    if form is Form.ITEMS and route.answer is not RESPONSE:
        form = Form.FIELDS
    meta = route.creates and form is profile.form is Form.ITEMS
    priced = prices if route.remembers else None
    return Reporter(
        exchange,
        form,
        asked=asked is not None,
        meta=meta,
        priced=priced,
        tells_cost=profile.tells_cost and route.creates,
    )


def check_query(query: bytes) -> None:
    """Refuse a query that could carry a text past the guards.

    Raises:
        InvalidRequest: a name that is not the API's, or a value that is no name.
    """
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in QUERY_NAMES or (value and not GRAMMAR.fullmatch(value)):
            raise InvalidRequest(
                "The query holds what cannot be inspected; with a guard on, its names are "
                f"{', '.join(sorted(QUERY_NAMES))}, and its values are names.",
                code="uninspectable",
            )


def check_charset(headers: Mapping[str, str]) -> None:
    """Refuse a body that who goes by its charset would read as another text than guards do.

    Raises:
        UnsupportedMedia: it names a charset in which ASCII is not what it is in UTF-8.
    """
    if not is_like_utf8(headers.get("content-type", "")):
        raise UnsupportedMedia("The request's charset cannot be inspected; send UTF-8.", param="Content-Type")


def check_redirect(status: int, headers: Raw) -> None:
    """Refuse an answer that sends the client elsewhere: it would go there with the request as it was.

    Raises:
        UpstreamError: a redirect.
    """
    if 300 <= status < 400 and "location" in lower_headers(headers):
        raise UpstreamError(
            f"The upstream answered with a redirect ({status}), which leads past the guards; "
            "set 'upstream' to where it leads.",
            failure="redirect",
        )


def asks_for_stream(query: bytes) -> bool:
    """Whether the query of a GET asks for the events of a response instead of the response."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(
        name == "starting_after" or (name == "stream" and value.lower() not in ("", "0", "false"))
        for name, value in pairs
    )
