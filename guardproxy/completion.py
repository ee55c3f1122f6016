"""Give a response object the members that its dialect has and its upstream left out. Pure.

It works on what is delivered, after the guards. What the upstream gave stays as it is, to the byte.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from guardproxy import document
from guardproxy.document import Edits, dumps
from guardproxy.errors import GuardProxyError
from guardproxy.members import Completion, Constant, Kind, Made, OfRequest, Source
from guardproxy.types import Number, Path, is_text

# The status of the response by the last word of the event that has it.
STATUSES: Mapping[str, str] = {
    "created": "in_progress",
    **{word: word for word in ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")},
}
_OPEN = ("queued", "in_progress")
_TOLD_AGAIN = (Made.ID, Made.CREATED)  # with what the request says: what does not change while it is made
_MESSAGE, _TEXT = "message", "output_text"


def tells_state(event: str) -> bool:
    """Whether an event of this type says how far its response is; others have none to be completed."""
    return event.rpartition(".")[2] in STATUSES


class Completer:
    """Completes the response objects of one exchange: a whole answer, or those of a stream's events.

    `request` is the body as it was forwarded, without content encoding. `asked` is the model as the client
    spelled it, where that is not what was forwarded. What is `stored` here, and not upstream, says so, and
    what goes on from an `earlier` response here names it.
    """

    def __init__(
        self,
        completion: Completion,
        request: bytes,
        response_id: str,
        asked: str | None = None,
        *,
        stored: bool = False,
        earlier: str | None = None,
    ) -> None:
        self._completion = completion
        self._request = request
        self._id = response_id
        self._model = asked
        self._stored = stored
        self._earlier = earlier
        self._began = int(time.time())
        self._asked: Mapping[str, str] | None = None
        self._told: dict[str, str] = {}  # what an event said already, by member

    @property
    def reads_much(self) -> bool:
        """Whether the request is large, and not read yet."""
        return self._asked is None and len(self._request) > document.LARGE

    def has_to_read(self, response: Mapping[str, Any]) -> bool:
        """Whether `reads_much` keeps what `response` lacks from being known at once."""
        if not self.reads_much:
            return False
        lacks = (isinstance(source, OfRequest) and name not in response for name, source in self._members())
        return self._completion.asked_model or any(lacks)

    def read(self) -> None:
        """Read the request; otherwise that is done when it is needed."""
        names = {name: source.kinds for name, source in self._members() if isinstance(source, OfRequest)}
        self._asked = _of_request(self._request, names)

    def complete(self, response: Mapping[str, Any], edits: Edits, at: Path = (), event: str = "") -> None:
        """Put into `edits` what `response` lacks, which stands at the path `at` of a document.

        `event` is the type of the event that has it; "" for a whole answer.
        """
        word = STATUSES.get(event.rpartition(".")[2])
        if response.get("object") not in (None, "response") or (event and word is None):
            return
        status = response.get("status")
        status = status if isinstance(status, str) else word or _status(response)
        forms = self._forms(response, event)
        for name, value in forms.items():
            edits.put(at, name, value, name in response)
        for name, source in self._members():
            if name in response:
                self._note(name, source, response[name])
            elif name not in forms:
                made = self._told.get(name) or self._value(name, source, response, status)
                if made is not None:
                    edits.put(at, name, made, present=False)

    def at_the_end(self, status: str) -> dict[str, str]:
        """What a response says anew, as JSON by member, when it ends with `status`."""
        done = str(int(time.time())) if status == "completed" else "null"
        return {name: done for name, source in self._members() if source is Made.COMPLETED}

    def _forms(self, response: Mapping[str, Any], event: str) -> dict[str, str]:
        """The members that the dialect wants in another form than most upstreams have, as JSON."""
        forms = {}
        if self._completion.plain_output and not event:
            plain = _plain(response.get("output", []))
            if plain is not None:
                forms["output"] = dumps(plain)
        if self._completion.asked_model:
            model = dumps(self._model) if self._model is not None else self._given().get("model")
            if model is not None and dumps(response.get("model")) != model:
                forms["model"] = model
        if self._stored and response.get("store", True) is not True:
            forms["store"] = "true"
        if self._earlier is not None:
            forms["previous_response_id"] = dumps(self._earlier)
        return forms

    def _members(self) -> Iterable[tuple[str, Source]]:
        return self._completion.members.items()

    def _value(self, name: str, source: Source, response: Mapping[str, Any], status: str) -> str | None:
        """The JSON of a member that the response lacks; None where it is not there yet."""
        if isinstance(source, Constant):
            return source.json
        if isinstance(source, OfRequest):
            return self._given().get(name, source.default)
        match source:
            case Made.ID:
                return dumps(self._id)
            case Made.CREATED:
                return str(self._began)
            case Made.COMPLETED:
                return self.at_the_end(status)[name]
            case Made.STATUS:
                return dumps(status)
            case Made.TEXT:
                return None if status in _OPEN else dumps(text_of(response.get("output")))

    def _given(self) -> Mapping[str, str]:
        if self._asked is None:
            self.read()
        return self._asked or {}

    def _note(self, name: str, source: Source, value: Any) -> None:
        told_again = isinstance(source, OfRequest) or source in _TOLD_AGAIN
        if told_again and (value is None or isinstance(value, str | bool)):
            self._told[name] = str(value) if isinstance(value, Number) else dumps(value)


def text_of(output: Any) -> str:
    """The texts of the messages in a response's `output`, joined, as the SDKs' `output_text` is."""
    if is_text(output):
        return output
    return "".join(_texts(output))


def _texts(output: Any) -> Iterator[str]:
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict) and item.get("type") == _MESSAGE:
            content = item.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and part.get("type") == _TEXT and is_text(part.get("text")):
                    yield part["text"]


def _plain(output: Any) -> str | None:
    """The `output` as one text; None where something would be lost: a call, a sealed text, an annotation."""
    plain = isinstance(output, list) and all(
        isinstance(item, dict)
        and (
            (item.get("type") == "reasoning" and item.get("encrypted_content") is None)
            or (
                item.get("type") == _MESSAGE
                and isinstance(content := item.get("content"), list)
                and all(map(_is_plain, content))
            )
        )
        for item in output
    )
    return text_of(output) if plain else None


def _is_plain(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type") == _TEXT
        and is_text(part.get("text"))
        and not part.get("annotations")
        and not part.get("logprobs")
    )


def _status(response: Mapping[str, Any]) -> str:
    """What a whole answer that has no status is."""
    if response.get("error") is not None:
        return "failed"
    return "completed" if response.get("incomplete_details") is None else "incomplete"


def _of_request(body: bytes, names: Mapping[str, Collection[Kind]]) -> Mapping[str, str]:
    """The JSON of the members with these `names`, where they are of one of the kinds; of no JSON nothing."""
    try:
        text = document.decode(body)
        value = document.parse(text)
    except GuardProxyError:
        return {}
    if not isinstance(value, dict):
        return {}
    right = {name for name, kinds in names.items() if name in value and _kind(value[name]) in kinds}
    return document.members(text, right) if right else {}


def _kind(value: Any) -> Kind | None:
    if isinstance(value, Number):
        return Kind.NUMBER
    kinds = {str: Kind.TEXT, bool: Kind.FLAG, list: Kind.LIST, dict: Kind.MAP}
    return kinds.get(type(value))
