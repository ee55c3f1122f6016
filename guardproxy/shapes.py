"""What the API's documents look like: which places hold names, ids or sealed bytes. All else is text.

The tables are the inverse of an allow-list: a key that is not named here is text, with everything
below it. Sources: the OpenAI Responses reference and Open Responses 2026-04-24. An entry is
- NAME: a name, an id or an enum. Exempt only while the value fits `GRAMMAR`; validated matches
  (a provider's prefix, a checksum) count there all the same,
- an `Opaque`: bytes that no detector can read, with the reason that the receipt names,
- PARSED: a string that holds JSON; its leaves are text,
- a `Shape`: an object, or a list of objects, with entries of its own.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

GRAMMAR = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
# The API's own vocabulary (`function_call_output`, `response.created`) looks like this, and no key, number
# or address does: such a name needs no inspection.
VOCABULARY = re.compile(r"[a-z_.]{1,64}")


class Mark(enum.Enum):
    """A place that is not an object."""

    TEXT = "text"
    NAME = "name"
    PARSED = "parsed"
    MEDIA = "media"  # a URL, or a data: URL with bytes or text inside
    FILE_DATA = "file_data"  # base64, or a data: URL


@dataclass(frozen=True, slots=True)
class Opaque:
    """A string that cannot be inspected. `reason` is counted in the receipt; "" is not worth a line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Shape:
    """The entries of one kind of object; `by_type` overrides them by the object's `type`.

    With `known_types`, an object of another type is unknown: only its `type`, `id` and `status`
    are names.
    """

    entries: Mapping[str, "Place"]
    by_type: Mapping[str, Mapping[str, "Place"]] = field(default_factory=dict)
    known_types: frozenset[str] | None = None


Place: TypeAlias = Mark | Opaque | Shape

TEXT, NAME, PARSED = Mark.TEXT, Mark.NAME, Mark.PARSED
FREE = Shape({})
UNKNOWN = Shape({"type": NAME, "id": NAME, "status": NAME})
PADDING = Opaque("")  # random characters that hide the length of an event


def _names(*keys: str) -> dict[str, Place]:
    return dict.fromkeys(keys, NAME)


ANNOTATION = Shape(_names("type", "file_id", "container_id"))

PART = Shape(
    {
        **_names("type", "detail"),
        "image_url": Mark.MEDIA,
        "video_url": Mark.MEDIA,
        "file_url": Mark.MEDIA,
        "file_data": Mark.FILE_DATA,
        "file_id": Opaque("file_id"),
        "annotations": ANNOTATION,
        "logprobs": FREE,
        "input_audio": Shape({"data": Opaque("audio"), "format": NAME}),
    }
)

TOOL: Shape = Shape(
    {
        **_names("type", "name", "server_label", "connector_id", "tunnel_id", "mode", "execution"),
        **_names("search_context_size", "require_approval", "model", "quality", "size", "output_format"),
        **_names("background", "moderation", "input_fidelity", "action", "allowed_callers"),
        **_names("vector_store_ids", "container"),
        "function": Shape({"name": NAME}),
        "format": Shape(_names("type", "syntax")),
    }
)
TOOL_SET = Shape({**TOOL.entries, "tools": TOOL})  # a namespace, or the allowed tools of a choice

CALLER = Shape(_names("type", "caller_id"))

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
        **_names("type", "id", "call_id", "role", "status", "phase", "name", "namespace", "server_label"),
        **_names("approval_request_id", "container_id", "created_by", "execution"),
        "caller": CALLER,
        "content": PART,
        "output": PART,
        "outputs": PART,
        "summary": PART,
        "arguments": PARSED,
        "encrypted_content": Opaque("encrypted"),
        "tools": TOOL_SET,
        "results": Shape(_names("file_id")),
    },
    by_type={"image_generation_call": {"result": Opaque("image")}},
    known_types=ITEM_TYPES,
)

MESSAGE = Shape(
    {
        **_names("role", "name", "tool_call_id"),
        "content": PART,
        "tool_calls": Shape({**_names("id", "type"), "function": Shape({"name": NAME, "arguments": PARSED})}),
        "function_call": Shape({"name": NAME, "arguments": PARSED}),
    }
)

TEXT_CONFIG = Shape({"verbosity": NAME, "format": Shape(_names("type", "name"))})
_SHARED: dict[str, Place] = {
    **_names("model", "service_tier", "truncation", "include", "prompt_cache_retention"),
    "conversation": Shape({"id": NAME}),
    "instructions": ITEM,
    "tools": TOOL_SET,
    "tool_choice": TOOL_SET,
    "text": TEXT_CONFIG,
    "reasoning": Shape(_names("effort", "summary", "generate_summary", "context")),
    "prompt": Shape({"id": NAME, "version": NAME, "variables": PART}),
    "context_management": Shape({"type": NAME}),
}

REQUEST = Shape(
    {
        **_SHARED,
        "models": NAME,
        "previous_response_id": Opaque("previous_response_id"),
        "input": ITEM,
        "messages": MESSAGE,
    }
)

ERROR = Shape(_names("code", "type", "param"))

RESPONSE = Shape(
    {
        **_SHARED,
        **_names(
            "id", "object", "status", "previous_response_id", "created_at", "completed_at", "expires_at"
        ),
        "output": ITEM,
        "error": ERROR,
        "incomplete_details": Shape({"reason": NAME}),
    }
)

# What else the life of a response has for answers.
DELETED = Shape({**_names("id", "object"), "error": ERROR})
COUNT = Shape({**_names("object", "input_tokens"), "error": ERROR})
INPUT_ITEMS = Shape({**_names("object", "first_id", "last_id"), "data": ITEM, "error": ERROR})

EVENT = Shape(
    {
        **_names("type", "item_id", "call_id", "id", "name"),
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
        "error": _names("code", "param"),
        "response.audio.delta": {"delta": Opaque("audio")},
        **{
            f"response.image_generation_call.{kind}": _names("size", "quality", "background", "output_format")
            for kind in ("partial_image", "completed")
        },
    },
)
