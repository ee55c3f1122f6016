"""What the API's documents look like: which places hold names, ids or sealed bytes. All else is text.

The tables are the inverse of an allow-list: a key that is not named here is text, with everything
below it. Sources: the OpenAI Responses reference and Open Responses 2026-04-24. An entry is
- a `Name`: a word of the API, an id or a name, with the reason why it is not judged as text. Exempt only
  while the value fits `GRAMMAR`; validated matches (a provider's prefix, a checksum) count all the same,
- an `Opaque`: bytes that no detector can read, with the reason that the receipt names,
- PARSED: a string that holds JSON; its leaves are text,
- RESULT: the same where the string is a JSON object or array, and else a text,
- a `Shape`: an object, or a list of objects, with entries of its own.
docs/coverage.md lists every `Name` and `Opaque`, and a test holds it to this file.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

# The events with which a stream ends.
TERMINAL = frozenset(("response.completed", "response.incomplete", "response.failed", "response.cancelled"))
GRAMMAR = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
# The API's own vocabulary (`function_call_output`, `response.created`) looks like this, and no key, number
# or address does: such a name needs no inspection.
VOCABULARY = re.compile(r"[a-z_.]{1,64}")
# Bytes in base64, and what else providers seal with.
SEALED = re.compile(r"[A-Za-z0-9._:/@+=\s-]*")


class Mark(enum.Enum):
    """A place that is not an object."""

    TEXT = "text"
    PARSED = "parsed"
    RESULT = "result"  # what a tool gave back
    MEDIA = "media"  # a URL, or a data: URL with bytes or text inside
    FILE_DATA = "file_data"  # base64, or a data: URL


@dataclass(frozen=True, slots=True)
class Name:
    """A string that is no text while it fits `GRAMMAR`. `reason` is a word that docs/coverage.md explains."""

    reason: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A string that cannot be inspected, while it has its form; anything else there is a text.

    `reason` is counted in the receipt; "" is not worth a line.
    """

    reason: str
    form: re.Pattern[str] = SEALED


@dataclass(frozen=True, slots=True)
class Shape:
    """The entries of one kind of object; `by_type` overrides them by the object's `type`.

    With `known_types`, an object of another type is unknown: only its `type`, `id` and `status`
    are names. `other` is the place of the members that are not named here, `string` that of a
    string where the object could be.
    """

    entries: Mapping[str, "Place"]
    by_type: Mapping[str, Mapping[str, "Place"]] = field(default_factory=dict)
    known_types: frozenset[str] | None = None
    other: "Place | None" = None
    string: "Place" = Mark.TEXT


Place: TypeAlias = Mark | Name | Opaque | Shape

TEXT, PARSED, MEDIA = Mark.TEXT, Mark.PARSED, Mark.MEDIA
KIND = Name("kind")  # says which kind of object this is
WORD = Name("word")  # one of a few words of the API
ID = Name("id")  # made by the provider or the client's code to refer to something
LABEL = Name("label")  # a name that the provider or the client's code looks up
TIME = Name("time")  # a number that is a point in time
FREE = Shape({})
UNKNOWN = Shape({"type": KIND, "id": ID, "status": WORD})
PADDING = Opaque("")  # random characters that hide the length of an event


def _all(place: Place, *keys: str) -> dict[str, Place]:
    return dict.fromkeys(keys, place)


def _all_types(entries: Mapping[str, Place], *types: str) -> dict[str, Mapping[str, Place]]:
    return dict.fromkeys(types, entries)


ANNOTATION = Shape({"type": KIND, **_all(ID, "file_id", "container_id")})

FILE_ID = Opaque("file_id", GRAMMAR)
_BY_ID: dict[str, Place] = {"file_id": FILE_ID, "detail": WORD}
# What only parts of a known type have is named by their type: elsewhere the same key may be anything.
PART = Shape(
    {
        "type": KIND,
        "image_url": Shape({"url": MEDIA, "detail": WORD}, string=MEDIA),
        "video_url": MEDIA,
        "file_url": MEDIA,
        "file_data": Mark.FILE_DATA,
        "file": Shape({"file_data": Mark.FILE_DATA, "file_id": FILE_ID}),
        "annotations": ANNOTATION,
        "logprobs": FREE,
    },
    by_type={
        **_all_types(_BY_ID, "input_image", "input_file", "computer_screenshot"),
        "input_audio": {"input_audio": Shape({"data": Opaque("audio"), "format": WORD})},
        "image": {"url": MEDIA},
    },
)

# As above: a `size` or an `action` is a word in a tool of the API's, and anything in a vendor's.
_TOOLS: dict[str, Mapping[str, Place]] = {
    "mcp": {
        **_all(LABEL, "server_label"),
        **_all(WORD, "connector_id", "require_approval"),
        **_all(ID, "tunnel_id"),
    },
    "file_search": {"vector_store_ids": ID},
    "code_interpreter": {"container": ID},
    "custom": {"format": Shape({"type": KIND, "syntax": WORD})},
    "image_generation": {
        **_all(WORD, "quality", "size", "output_format", "background", "moderation", "input_fidelity"),
        **_all(WORD, "action"),
        "model": LABEL,
        "input_image_mask": Shape({"image_url": MEDIA, "file_id": FILE_ID}),
    },
    "tool_search": {"execution": WORD},
    "allowed_tools": {"mode": WORD},
    **_all_types({"search_context_size": WORD}, "web_search", "web_search_preview"),
}
_TOOL: dict[str, Place] = {
    "type": KIND,
    "name": LABEL,
    "allowed_callers": WORD,
    "function": Shape({"name": LABEL}),
}
TOOL = Shape(_TOOL, _TOOLS)
TOOL_SET = Shape({**_TOOL, "tools": TOOL}, _TOOLS)  # a namespace, or the allowed tools of a choice
CHOICE = Shape(TOOL_SET.entries, _TOOLS, string=WORD)

CALLER = Shape({"type": KIND, "caller_id": ID})

ITEM_TYPES = frozenset(
    (
        *("message", "reasoning", "compaction", "compaction_trigger", "item_reference"),
        *("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *("mcp_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"),
        *("file_search_call", "web_search_call", "image_generation_call", "code_interpreter_call"),
        *("computer_call", "computer_call_output", "local_shell_call", "local_shell_call_output"),
        *("shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output"),
        *("tool_search_call", "tool_search_output", "additional_tools", "program", "program_output"),
    )
)

ITEM = Shape(
    {
        "type": KIND,
        **_all(WORD, "role", "status", "phase", "execution"),
        **_all(ID, "id", "call_id", "approval_request_id", "container_id"),
        **_all(LABEL, "name", "namespace", "server_label"),
        "caller": CALLER,
        "content": PART,
        "output": replace(PART, string=Mark.RESULT),
        "outputs": PART,
        "summary": PART,
        "arguments": PARSED,
        "encrypted_content": Opaque("encrypted"),
        "tools": TOOL_SET,
        "results": Shape({"file_id": ID}),
    },
    by_type={"image_generation_call": {"result": Opaque("image")}},
    known_types=ITEM_TYPES,
)

_FUNCTION = Shape({"name": LABEL, "arguments": PARSED})
MESSAGE = Shape(  # its `name` is a participant's, so it is text
    {
        "role": WORD,
        "tool_call_id": ID,
        "content": PART,
        "tool_calls": Shape({"id": ID, "type": KIND, "function": _FUNCTION}),
        "function_call": _FUNCTION,
    }
)

_SHARED: dict[str, Place] = {
    "model": LABEL,
    **_all(WORD, "service_tier", "truncation", "include", "prompt_cache_retention"),
    "conversation": Shape({"id": ID}, string=ID),
    "instructions": ITEM,
    "tools": TOOL_SET,
    "tool_choice": CHOICE,
    "text": Shape({"verbosity": WORD, "format": Shape({"type": KIND, "name": LABEL})}),
    "reasoning": Shape(_all(WORD, "effort", "summary", "generate_summary", "context")),
    # The variables' names are the client's: one called `file_id` is as good a text as any.
    "prompt": Shape({**_all(ID, "id", "version"), "variables": Shape({}, other=PART)}),
    "context_management": Shape({"type": KIND}),
}

REQUEST = Shape(
    {
        **_SHARED,
        "models": LABEL,
        "previous_response_id": Opaque("previous_response_id", GRAMMAR),
        "input": ITEM,
        "messages": MESSAGE,
    }
)

ERROR = Shape({"type": KIND, "code": WORD, "param": LABEL})

RESPONSE = Shape(
    {
        **_SHARED,
        "object": KIND,
        "status": WORD,
        **_all(ID, "id", "previous_response_id"),
        **_all(TIME, "created_at", "completed_at", "expires_at"),
        "output": ITEM,
        "error": ERROR,
        "incomplete_details": Shape({"reason": WORD}),
    }
)

# What else the life of a response has for answers.
DELETED = Shape({"id": ID, "object": KIND, "error": ERROR})
COUNT = Shape({"object": KIND, "input_tokens": WORD, "error": ERROR})
INPUT_ITEMS = Shape({"object": KIND, **_all(ID, "first_id", "last_id"), "data": ITEM, "error": ERROR})

EVENT = Shape(
    {
        "type": KIND,
        **_all(ID, "item_id", "call_id", "id"),
        "name": LABEL,
        "response": RESPONSE,
        "item": ITEM,
        "part": PART,
        "annotation": ANNOTATION,
        "arguments": PARSED,
        "logprobs": FREE,
        "obfuscation": PADDING,
        "partial_image_b64": Opaque("image"),
        "error": ERROR,
    },
    by_type={
        "error": {"code": WORD, "param": LABEL},
        "response.audio.delta": {"delta": Opaque("audio")},
        **_all_types(
            _all(WORD, "size", "quality", "background", "output_format"),
            "response.image_generation_call.partial_image",
            "response.image_generation_call.completed",
        ),
    },
)
