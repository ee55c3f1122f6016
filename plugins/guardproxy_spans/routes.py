"""The routes `/v3/spans` and `/v3/traces`: who asks, for what, and what is answered."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.exceptions import NotFoundException

from guardproxy import BodyTooLarge, Client, InvalidRequest, NotFound, Settings, identify
from guardproxy_spans import answers, bodies, export, records
from guardproxy_spans.keeper import Keeper
from guardproxy_spans.records import Record
from guardproxy_spans.table import owner_of
from guardproxy_tracing.attributes import label

SPANS: Final = "/v3/spans"
TRACES: Final = "/v3/traces"
Asked: TypeAlias = Request[Any, Any, Any]
Answer: TypeAlias = Response[bytes]
# The router would take other spellings of a path, too.
_EXACT: Final = re.compile(rf"(?:{SPANS}|{TRACES})(?:/[0-9A-Za-z-]{{1,64}})?")
_OURS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LIMIT: Final = 100  # traces in one answer, and the most that may be asked for


def handlers(settings: Settings, keeper: Callable[[], Keeper | None], trust: bool) -> Sequence[Any]:
    """The route handlers. `keeper` gives the process's, `trust` says whether a client may name any parent."""
    api = Api(settings, keeper, trust)
    endless: dict[str, Any] = {"request_max_body_size": None}  # they are bounded here, with an error of ours

    @post(SPANS, **endless)
    async def open_span(request: Asked) -> Answer:
        return await api.serve(request, api.open)

    @patch(f"{SPANS}/{{id:str}}", **endless)
    async def change_span(request: Asked) -> Answer:
        return await api.serve(request, api.change)

    @get(f"{SPANS}/{{id:str}}", **endless)
    async def get_span(request: Asked) -> Answer:
        return await api.serve(request, api.get)

    @delete(f"{SPANS}/{{id:str}}", status_code=200, **endless)
    async def delete_span(request: Asked) -> Answer:
        return await api.serve(request, api.delete)

    @get(TRACES, **endless)
    async def list_traces(request: Asked) -> Answer:
        return await api.serve(request, api.list)

    @get(f"{TRACES}/{{id:str}}", **endless)
    async def get_trace(request: Asked) -> Answer:
        return await api.serve(request, api.get_trace)

    @delete(f"{TRACES}/{{id:str}}", status_code=200, **endless)
    async def delete_trace(request: Asked) -> Answer:
        return await api.serve(request, api.delete_trace)

    return [open_span, change_span, get_span, delete_span, list_traces, get_trace, delete_trace]


class Call:
    """One request: who sent it, the id in its path, its query and its body."""

    def __init__(self, client: Client, request: Asked, body: bytes) -> None:
        self.client = client.name
        self.owner = owner_of(client.id)
        self.id = str(request.path_params.get("id", "")).lower()
        self.query: Mapping[str, str] = request.query_params
        self.body = body


class Api:
    """What each route does. Without tracing (no keeper) all answer, and nothing is kept."""

    def __init__(self, settings: Settings, keeper: Callable[[], Keeper | None], trust: bool) -> None:
        self._settings = settings
        self._keeper = keeper
        self._trust = trust

    async def serve(self, request: Asked, work: Callable[[Call, Keeper | None], Answer]) -> Answer:
        """Do `work`, in a thread: processes that share a table wait for each other.

        Raises:
            GuardProxyError: what the client is to be told.
        """
        if not _EXACT.fullmatch(request.scope["raw_path"].decode("latin-1")):
            raise NotFoundException
        client = identify(self._settings, request.scope["headers"])
        call = Call(client, request, await _body(request))
        keeper = self._keeper() if export.on() else None
        return await asyncio.to_thread(work, call, keeper)

    def open(self, call: Call, keeper: Keeper | None) -> Answer:
        """A new span: its id, and that of its trace."""
        body = bodies.read(call.body, bodies.Opening)
        parent = None if body.parent_id is None else bodies.span_id(body.parent_id, "parent_id")
        trace = None if body.trace_id is None else bodies.span_id(body.trace_id, "trace_id")[0]
        if parent is not None:
            trace = parent[0]  # where exchanges with the same parent are
        start = None if body.start_time is None else bodies.nanoseconds(body.start_time, "start_time")
        end = None if body.end_time is None else bodies.nanoseconds(body.end_time, "end_time")
        if keeper is not None and trace is not None and not self._may_join(keeper, call.owner, trace):
            parent = trace = None
        kind = records.kind_of(body.type)
        record = Record(
            id=export.new_id(trace),
            owner=call.owner,
            opened=time.time(),
            start=time.time_ns() if start is None else start,
            name=records.name_of(body.name, kind),
            kind=kind,
            type=label(body.type),
            parent=body.parent_id.lower() if parent is not None and body.parent_id else None,
            client=call.client,
            failed=body.error is not None,
            input_chars=_size(body.input),
            output_chars=_size(body.output),
            values=_values(body),
        )
        if keeper is not None:
            keeper.open(record if end is None else record.ended(end))
        # Its own words, for this answer only.
        told = {"id": record.id, "trace_id": record.trace, "name": body.name}
        return _json({"data": {**told, "parent_id": record.parent, "type": body.type}}, 201)

    def _may_join(self, keeper: Keeper, owner: str, trace: int) -> bool:
        """Whether a client may put spans into a trace; strangers may only into those that they began."""
        return self._trust or bool(keeper.of_client(owner, records.trace_uuid(trace)))

    def change(self, call: Call, keeper: Keeper | None) -> Answer:
        """More of a span; its end, when that is told."""
        body = bodies.read(call.body, bodies.Changes)
        end = None if body.end_time is None else bodies.nanoseconds(body.end_time, "end_time")
        size, values = _size(body.output), _values(body)

        def changed(old: Record) -> Record:
            new = msgspec.structs.replace(
                old,
                failed=old.failed or body.error is not None,
                output_chars=old.output_chars if size is None else size,
                values=records.joined(old.values, values),
            )
            return new if end is None else new.ended(end)

        if not (keeper.change(call.id, call.owner, changed) if keeper else _OURS.fullmatch(call.id)):
            raise _unknown("span")
        return _json(None, 204)

    def get(self, call: Call, keeper: Keeper | None) -> Answer:
        """What is known of a span."""
        if keeper is None and _OURS.fullmatch(call.id):
            return _json({"data": answers.of_unknown(call.id)})
        record = keeper.find(call.id, call.owner) if keeper else None
        if record is None:
            raise _unknown("span")
        return _json({"data": answers.of_span(record)})

    def delete(self, call: Call, keeper: Keeper | None) -> Answer:
        """Forget a span."""
        if not (keeper.forget(call.owner, uuid=call.id) if keeper else _OURS.fullmatch(call.id)):
            raise _unknown("span")
        return _json(None, 204)

    def list(self, call: Call, keeper: Keeper | None) -> Answer:
        """The client's traces, the newest first."""
        limit = _count(call.query, "limit", _LIMIT, least=1)
        offset = _count(call.query, "offset", 2**31)
        found = answers.of_traces(keeper.of_client(call.owner) if keeper else [])
        if (name := call.query.get("name")) is not None:
            found = [trace for trace in found if trace["name"] == name]
        meta = {"total": len(found), "limit": limit, "offset": offset}
        return _json({"data": found[offset : offset + limit], "meta": meta})

    def get_trace(self, call: Call, keeper: Keeper | None) -> Answer:
        """What is known of a trace, and of the client's spans in it."""
        if keeper is None and _OURS.fullmatch(call.id):
            return _json({"id": call.id, "span_count": 0, "spans": []})
        spans = keeper.of_client(call.owner, call.id) if keeper else []
        if not spans:
            raise _unknown("trace")
        (trace,) = answers.of_traces(spans)
        return _json({**trace, "spans": [answers.of_span(span) for span in spans]})

    def delete_trace(self, call: Call, keeper: Keeper | None) -> Answer:
        """Forget the client's spans of a trace."""
        if not (keeper.forget(call.owner, trace=call.id) if keeper else _OURS.fullmatch(call.id)):
            raise _unknown("trace")
        return _json(None, 204)


async def _body(request: Asked) -> bytes:
    pieces = bytearray()
    async for piece in request.stream():
        pieces += piece
        if len(pieces) > bodies.MAX_BODY:
            raise BodyTooLarge(
                f"The body is larger than {bodies.MAX_BODY} bytes, what a span may have; send less."
            )
    return bytes(pieces)


def _count(query: Mapping[str, str], name: str, most: int, least: int = 0) -> int:
    text = query.get(name, str(most if least else 0))
    # Ten digits are more than any count here, and int() takes its time for thousands.
    number = int(text) if re.fullmatch("[0-9]{1,10}", text) else -1
    if number < least:
        raise InvalidRequest(f"The query's {name} must be an integer from {least}.", param=name)
    return min(number, most)


def _size(text: str | None) -> int | None:
    return None if text is None else len(text)


def _values(body: bodies.Changes) -> dict[str, records.Value]:
    return records.values_of({"meta": body.meta, "metadata": body.metadata, "tags": body.tags})


def _unknown(what: str) -> NotFound:
    return NotFound(
        f"guardproxy knows no {what} of this id: this client opened none, it was deleted, "
        "or it ended too long ago.",
        param="id",
    )


def _json(document: object, status: int = 200) -> Answer:
    # Escaped: what a client is told of its own words may hold half a surrogate, which UTF-8 cannot spell.
    body = b"" if document is None else json.dumps(document).encode("ascii")
    return Response(body, status_code=status, media_type="application/json")
