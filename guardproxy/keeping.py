"""What a front door keeps for its clients: responses that are asked for again, and conversations' turns.

What is kept is what was sent on, and what was delivered: less all that guards redacted, and nothing of what
they blocked. It comes back as input like any other, and the guards look at it again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from guardproxy import document
from guardproxy.document import dumps, rendered
from guardproxy.errors import BodyTooLarge, InvalidRequest, NotFound, NotImplementedYet, Uninspectable
from guardproxy.inputs import OWN, Asked, is_own, without_own
from guardproxy.messages import asks_for_stream
from guardproxy.profiles import Keeps
from guardproxy.routes import Route
from guardproxy.shapes import DELETED, INPUT_ITEMS, RESPONSE
from guardproxy.threads import off_loop
from guardproxy.types import Path, Policy, is_text

if TYPE_CHECKING:
    from guardproxy.store import Store

_DONE = ("completed", "incomplete")
# How the item begins that stands for a turn's instructions. No client can send one, it is of our own type.
_INSTRUCTIONS = f'{{"type":"{OWN}instructions",'
_MOST = 100  # items of a page


@dataclass(frozen=True, slots=True)
class Kept:
    """What an exchange is to leave behind: a turn of `conversation`, or else the response itself.

    The first `before` items of the input are of earlier turns. A response is kept with its `policy`.
    """

    store: "Store"
    tenant: str
    conversation: str | None
    before: int
    policy: Policy

    async def keep(self, request: bytes, response: bytes) -> None:
        """Keep what was sent on as `request`, and the `response` as the client is to get it.

        What is no response is not kept.

        Raises:
            StoreUnavailable: it could not be kept.
        """
        found = await off_loop(len(request) + len(response), _read, request, response)
        if found is None:
            return
        if self.conversation is not None:
            turn = [*found.items[self.before :], *found.made]
            if found.instructions is not None:  # with each turn: the first ones are removed with time
                turn.insert(0, f'{_INSTRUCTIONS}"text":{dumps(found.instructions)}}}')
            await self.store.append(self.tenant, self.conversation, turn)
        elif found.response_id is not None:
            policy = msgspec.to_builtins(self.policy)
            await self.store.save(self.tenant, found.response_id, found.text, found.items, policy=policy)


class Recalled(NamedTuple):
    """A response that was kept, and the policy that it was made under: whoever reads it, its guards run."""

    body: str
    policy: Policy


class Keeper:
    """Keeps, and gives back, for the exchanges of one proxy. `tenant` says whose it is."""

    def __init__(self, store: "Store", max_body: int) -> None:
        """What goes on is, with all that was said before it, no larger than `max_body` bytes."""
        self._store = store
        self._max_body = max_body

    async def begin(
        self, tenant: str, keeps: Keeps, asked: Asked, policy: Policy, *, creates: bool
    ) -> tuple[Asked, Kept | None]:
        """What is asked for, behind what was said before it; and what is to be kept of the exchange, if any.

        Raises:
            InvalidRequest: it goes on from a response that is not here.
            BodyTooLarge: it is too much, with what was said before.
            StoreUnavailable: nobody knows.
        """
        if keeps is Keeps.TURNS:
            whole, kept = await self._turn(tenant, asked, policy)
        else:
            whole, kept = await self._response(tenant, asked, policy)
        return whole, kept if creates else None

    async def _turn(self, tenant: str, asked: Asked, policy: Policy) -> tuple[Asked, Kept | None]:
        name = asked.value.get("conversation")
        if not is_text(name):
            return asked, None
        # A client's own words, which no guard has seen: they are not what it is kept by.
        name = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        found = await self._store.history(tenant, name)
        history = [item for item in found if not item.startswith(_INSTRUCTIONS)]
        said = [item for item in found if item.startswith(_INSTRUCTIONS)]
        last = json.loads(said[-1])["text"] if said else None
        self._check_size(asked, [*history, *said[-1:]], "conversation", "begin another conversation")
        whole = await _behind(asked, history, "conversation", {}, last)
        return whole, Kept(self._store, tenant, name, len(history), policy)

    async def _response(self, tenant: str, asked: Asked, policy: Policy) -> tuple[Asked, Kept | None]:
        earlier, saves = asked.value.get("previous_response_id"), asked.value.get("store") is True
        if earlier is None and not saves:
            return asked, None
        history: list[str] = []
        if earlier is not None:
            given = asked.value.get("input")
            if not (given is None or is_text(given) or isinstance(given, list)):
                raise InvalidRequest("'input' must be a string or a list of items.", param="input")
            history, made_under = await self._before(tenant, earlier)
            policy = policy.join(made_under)  # it goes with the items
        self._check_size(asked, history, "previous_response_id", "leave it out")
        # It is kept here, and nowhere else.
        whole = await _behind(asked, history, "previous_response_id", {"store": False} if saves else {})
        return whole, Kept(self._store, tenant, None, len(history), policy) if saves else None

    async def recall(self, tenant: str, response_id: str) -> "Recalled | None":
        """The response, and the policy that it was made under; None where this client has none of this id.

        Raises:
            StoreUnavailable: nobody knows.
        """
        stored = await self._store.response(tenant, response_id)
        if stored is None:
            return None
        return Recalled(stored.body, msgspec.convert(stored.policy or {}, Policy))

    async def answer(
        self, tenant: str, route: Route, response_id: str, query: bytes, recalled: "Recalled | None"
    ) -> str:
        """The JSON of a response that was `recalled`, of its input items, or of its end.

        Raises:
            NotFound: this client has no such response here.
            InvalidRequest: the query cannot be.
            StoreUnavailable: nobody knows.
        """
        found: str | None = None
        if route.answer is DELETED:
            if await self._store.delete(tenant, response_id):
                found = dumps({"id": response_id, "object": "response", "deleted": True})
        elif route.answer is INPUT_ITEMS:
            page = await self._store.input_items(tenant, response_id, **_page(query))
            if page is not None:
                size = sum(len(item.body) for item in page.items)
                found = await off_loop(size, page.json)
        elif route.answer is RESPONSE:
            if asks_for_stream(query):
                raise NotImplementedYet("The events of a response are not kept; leave out 'stream'.")
            found = recalled.body if recalled else None
        if found is None:
            raise NotFound(
                "There is no such response here: it was not stored ('store': true), was deleted, or is too "
                "old."
            )
        return found

    def _check_size(self, asked: Asked, history: Sequence[str], name: str, instead: str) -> None:
        if history and sum(len(text.encode()) for text in (asked.text, *history)) > self._max_body:
            raise BodyTooLarge(
                f"With what '{name}' stands for, the request is larger than {self._max_body} bytes "
                f"(max_body); {instead}.",
                param=name,
            )

    async def _before(self, tenant: str, earlier: object) -> tuple[list[str], Policy]:
        """The items of an earlier response's input and output (JSON), in their order; and its policy."""
        if not is_text(earlier):
            raise InvalidRequest("'previous_response_id' must be a string.", param="previous_response_id")
        gone = InvalidRequest(
            "There is no such response to go on from: it was not stored ('store': true), was deleted, or "
            "is too old.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
        stored = await self.recall(tenant, earlier)
        if stored is None:
            raise gone
        items: list[str] = []
        after: str | None = None
        while True:
            page = await self._store.input_items(tenant, earlier, _MOST, "asc", after)
            if page is None:  # it was deleted meanwhile
                raise gone
            items += (item.body for item in page.items)
            if not page.has_more:
                break
            after = page.items[-1].id
        return [*items, *_output(document.parse(stored.body).get("output"))], stored.policy


def _page(query: bytes) -> dict[str, Any]:
    """The page of a list that a query asks for."""
    given = dict(parse_qsl(query.decode("latin-1")))
    page: dict[str, Any] = {name: given[name] for name in ("order", "after") if name in given}
    if "limit" in given:
        digits = given["limit"]
        page["limit"] = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else 0
    return page


async def _behind(
    asked: Asked,
    history: Sequence[str],
    name: str,
    members: Mapping[str, Any],
    instructions: str | None = None,
) -> Asked:
    """What is `asked`, with `members` and without its member `name`, behind the items of `history`.

    `instructions` are those of before, which hold where there are no others.
    """
    size = len(asked.text) + sum(map(len, history))
    return await off_loop(size, _made, asked, history, name, members, instructions)


def _made(
    asked: Asked, history: Sequence[str], name: str, members: Mapping[str, Any], instructions: str | None
) -> Asked:
    value = {key: member for key, member in asked.value.items() if key != name} | dict(members)
    moved = dict(asked.moved)
    if instructions is not None and value.get("instructions") is None:
        value["instructions"] = instructions
        moved["instructions",] = (name, "instructions")
    if history:
        own, number = _items(value.get("input")), len(history)
        moved = {_later(path, number): was for path, was in moved.items()}
        if is_text(value.get("input")):
            moved["input", number, "content"] = ("input",)
        else:
            moved = {**{("input", number + at): ("input", at) for at in range(len(own))}, **moved}
        moved |= {("input", at): (name, at) for at in range(number)}
        value["input"] = [*(document.parse(item) for item in history), *own]
    return Asked(rendered(value), value, True, moved)


def _later(path: Path, number: int) -> Path:
    """`path`, where `number` items come before those of the input."""
    if len(path) > 1 and path[0] == "input" and isinstance(path[1], int):
        return ("input", path[1] + number, *path[2:])
    return path


def _items(given: Any) -> list[Any]:
    """The items of an `input`."""
    if is_text(given):
        return [{"type": "message", "role": "user", "content": given}]
    return given if isinstance(given, list) else []


def _output(output: Any) -> list[str]:
    """The items of a response's `output` that can be said again, as JSON."""
    if is_text(output):
        output = [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": output}]}
        ]
    return [rendered(item) for item in output if _stays(item)] if isinstance(output, list) else []


def _stays(item: Any) -> bool:
    kind = item.get("type") if isinstance(item, dict) else None
    if not is_text(kind) or is_own(item):
        return False
    # Nobody but its upstream could say what a reasoning was that came without its sealed copy.
    return kind != "reasoning" or item.get("encrypted_content") is not None


class _Found(NamedTuple):
    """What is kept of an exchange: the input's items, the output's, and the response, all as JSON.

    The response is less the report's items: who reads it is told of the guards that look at it then.
    """

    items: list[str]
    made: list[str]
    text: str
    response_id: str | None
    instructions: str | None


def _read(request: bytes, response: bytes) -> _Found | None:
    """None where there is no response to keep."""
    try:
        text = document.decode(response).removeprefix("\ufeff")
        made = document.parse(text)
    except Uninspectable:  # the client gets it all the same
        return None
    if not isinstance(made, dict) or made.get("status") not in _DONE:
        return None
    asked = document.parse(document.decode(request))
    items = [rendered(item) for item in _items(asked.get("input")) if isinstance(item, dict)]
    return _Found(
        items,
        _output(made.get("output")),
        without_own(text, made, "output"),
        made["id"] if is_text(made.get("id")) else None,
        asked["instructions"] if is_text(asked.get("instructions")) else None,
    )
