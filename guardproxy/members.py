"""Which members a response of each dialect has, and where they come from when the upstream leaves them out.

Data only; completion.py puts them in. Everything here is known to be safe: a constant, what guardproxy makes
itself, or a member of the request as it was forwarded, which is redacted where the policy redacts.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


class Made(enum.Enum):
    """What guardproxy makes of the answer itself, or of its own clock."""

    ID = "the id of a response that came without one"
    CREATED = "when guardproxy first told of the response"
    COMPLETED = "when it was completed; null until then"
    STATUS = "what the event, or the answer's other members, say of it"
    TEXT = "the texts of its messages, joined; not before its end"


class Kind(enum.Enum):
    """What a member must be so that it can be repeated; another value is none of the dialect's."""

    TEXT = "a string"
    NUMBER = "a number"
    FLAG = "true or false"
    LIST = "a list"
    MAP = "an object"


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same JSON."""

    json: str


@dataclass(frozen=True, slots=True)
class OfRequest:
    """The request's own member of this name as it was forwarded, or else the JSON that the API has for it."""

    kinds: frozenset[Kind]
    default: str


Source: TypeAlias = Constant | OfRequest | Made


@dataclass(frozen=True, slots=True)
class Completion:
    """The members of one dialect's responses.

    `members` are put where the upstream gives none. With `asked_model` the model is spelled as the client
    did, whatever the upstream calls it. With `plain_output` the `output` of a whole answer is a string,
    where it has nothing but texts.
    """

    members: Mapping[str, Source]
    asked_model: bool = False
    plain_output: bool = False


NULL: Final = Constant("null")
_COMMON: Final[Mapping[str, Source]] = {
    "id": Made.ID,
    "object": Constant('"response"'),
    "status": Made.STATUS,
    "output": Constant("[]"),
}
_NAMED: Final[Mapping[str, Source]] = {
    **_COMMON,
    "created_at": Made.CREATED,
    "model": OfRequest(frozenset({Kind.TEXT}), '""'),
}
_DATED: Final[Mapping[str, Source]] = {
    **_NAMED,
    "completed_at": Made.COMPLETED,
    "error": NULL,
    "incomplete_details": NULL,
    "tool_choice": OfRequest(frozenset({Kind.TEXT, Kind.MAP}), '"auto"'),
}

OPPER: Final = Completion(_DATED)
OPENROUTER: Final = Completion(
    {
        **_DATED,
        "instructions": OfRequest(frozenset({Kind.TEXT, Kind.LIST}), "null"),
        "metadata": OfRequest(frozenset({Kind.MAP}), "{}"),
        "parallel_tool_calls": OfRequest(frozenset({Kind.FLAG}), "true"),
        "tools": OfRequest(frozenset({Kind.LIST}), "[]"),
        "temperature": OfRequest(frozenset({Kind.NUMBER}), "1"),
        "top_p": OfRequest(frozenset({Kind.NUMBER}), "1"),
        "presence_penalty": OfRequest(frozenset({Kind.NUMBER}), "0"),
        "frequency_penalty": OfRequest(frozenset({Kind.NUMBER}), "0"),
        "output_text": Made.TEXT,
    }
)
GATEWAY: Final = Completion({**_COMMON, "usage": NULL})
JULEP: Final = Completion(
    {**_NAMED, "usage": NULL, "output_text": Made.TEXT}, asked_model=True, plain_output=True
)
