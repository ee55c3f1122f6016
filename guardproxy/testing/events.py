"""Builders of Responses objects and event streams for tests, and helpers that read them back.

Shapes follow the Open Responses schema of 2026-04-24, with the fields that OpenAI's own schema requires
on top.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, TypeAlias

Event: TypeAlias = dict[str, Any]
Item: TypeAlias = dict[str, Any]
Dialect: TypeAlias = Literal["openai", "llamacpp", "transformers"]
ChannelKey: TypeAlias = tuple[str, str, int]

DONE = b"data: [DONE]\n\n"
TERMINALS = frozenset({"response.completed", "response.failed", "response.incomplete"})

_ECHOED: dict[str, Any] = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
_TERMINAL_OF = {
    "completed": "response.completed",
    "failed": "response.failed",
    "incomplete": "response.incomplete",
}
# Items whose text is one string field: the field, and the family of its events.
_ONE_STRING = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
# Content parts whose text streams: the field, and the family of its events.
_PARTS = {
    "output_text": ("text", "response.output_text"),
    "refusal": ("refusal", "response.refusal"),
    "reasoning_text": ("text", "response.reasoning_text"),
}
_DELTA = re.compile(r"^response\.(.+)\.delta$")
_DONE_TEXT = re.compile(r"^response\.(.+)\.done$")
_DONE_FIELDS = ("text", "arguments", "refusal", "input", "code")


def message_item(
    text: str = "",
    *,
    refusal: str | None = None,
    annotations: Sequence[Mapping[str, Any]] = (),
    id: str = "msg_1",  # noqa: A002 - the API's word
    status: str = "completed",
) -> Item:
    """An output message; with `refusal` its only content part is a refusal."""
    part: dict[str, Any]
    if refusal is None:
        part = {
            "type": "output_text",
            "text": text,
            "annotations": [dict(a) for a in annotations],
            "logprobs": [],
        }
    else:
        part = {"type": "refusal", "refusal": refusal}
    return {"type": "message", "id": id, "status": status, "role": "assistant", "content": [part]}


def function_call_item(
    name: str,
    arguments: str | Mapping[str, Any],
    *,
    id: str = "fc_1",  # noqa: A002
    call_id: str = "call_1",
    status: str = "completed",
) -> Item:
    """A function call; a mapping is encoded as JSON, a string is taken as it is (valid JSON or not)."""
    encoded = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {
        "type": "function_call",
        "id": id,
        "call_id": call_id,
        "name": name,
        "arguments": encoded,
        "status": status,
    }


def reasoning_item(
    summary: Sequence[str] = (),
    *,
    content: Sequence[str] = (),
    encrypted_content: str | None = None,
    id: str = "rs_1",  # noqa: A002
    status: str = "completed",
) -> Item:
    """A reasoning item; `content` and `encrypted_content` are left out when empty."""
    item: Item = {
        "type": "reasoning",
        "id": id,
        "status": status,
        "summary": [{"type": "summary_text", "text": text} for text in summary],
    }
    if content:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in content]
    if encrypted_content is not None:
        item["encrypted_content"] = encrypted_content
    return item


def response(
    text: str | None = None,
    items: Iterable[Item] = (),
    *,
    request: Mapping[str, Any] | None = None,
    id: str = "resp_1",  # noqa: A002
    status: str = "completed",
    model: str = "test-model",
    created_at: int = 1_767_225_600,
    **fields: Any,
) -> dict[str, Any]:
    """A response object with every field that the schema requires.

    `text` becomes a message before `items`. Request fields that a provider repeats (`instructions`,
    `tools`, `metadata`, ...) are repeated from `request`; `fields` replace any field.
    """
    asked = dict(request or {})
    output = ([] if text is None else [message_item(text)]) + [dict(item) for item in items]
    ended = status not in ("in_progress", "queued")
    asked_format = asked.get("text") or {}
    made: dict[str, Any] = {
        "id": id,
        "object": "response",
        "created_at": created_at,
        "completed_at": created_at + 1 if status == "completed" else None,
        "status": status,
        "error": {"code": "server_error", "message": "The model failed."} if status == "failed" else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": asked.get("model") or model,
        "output": output,
        "reasoning": {"effort": None, "summary": None} | (asked.get("reasoning") or {}),
        "text": {"format": {"type": "text"}} | asked_format,
        "tools": [_tool(tool) for tool in asked.get("tools") or []],
        "usage": usage(len(json.dumps(asked.get("input"))), output) if ended else None,
    }
    for name, default in _ECHOED.items():
        value = asked.get(name)
        made[name] = default if value is None else value
    return made | fields


def usage(input_characters: int, output: Sequence[Item]) -> dict[str, Any]:
    """A plausible usage object: a token for each four characters, and at least one."""
    taken = max(1, input_characters // 4)
    made = max(1, len(json.dumps(output)) // 4)
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": taken + made,
    }


def stream_events(
    items: Iterable[Item] = (),
    *,
    text: str | None = None,
    chunk: int = 8,
    request: Mapping[str, Any] | None = None,
    id: str = "resp_1",  # noqa: A002
    status: str = "completed",
    model: str = "test-model",
    **fields: Any,
) -> list[Event]:
    """The whole stream that says `items` (a message of `text` first), `chunk` characters a delta.

    The events are numbered from 0; the last is the terminal event of `status`.
    """
    output = ([] if text is None else [message_item(text)]) + [dict(item) for item in items]

    def snapshot(state: str, shown: Sequence[Item]) -> dict[str, Any]:
        return response(items=shown, request=request, id=id, status=state, model=model, **fields)

    events = chain(
        [
            {"type": "response.created", "response": snapshot("in_progress", [])},
            {"type": "response.in_progress", "response": snapshot("in_progress", [])},
        ],
        *(item_events(item, index, chunk=chunk) for index, item in enumerate(output)),
        [{"type": _TERMINAL_OF[status], "response": snapshot(status, output)}],
    )
    return [_numbered(event, number) for number, event in enumerate(events)]


def item_events(item: Item, output_index: int, *, chunk: int = 8) -> Iterator[Event]:
    """The events of one item, from `output_item.added` to `output_item.done`, without numbers."""
    yield {
        "type": "response.output_item.added",
        "output_index": output_index,
        "item": _begun(item),
    }
    place = {"item_id": item.get("id", ""), "output_index": output_index}
    if item["type"] in _ONE_STRING:
        field, family = _ONE_STRING[item["type"]]
        yield from _text_events(family, field, item[field], place, chunk)
    for index, part in enumerate(item.get("summary") or []):
        yield from _summary_events(part, place | {"summary_index": index}, chunk)
    content = item.get("content")
    for index, part in enumerate(content if isinstance(content, list) else []):
        yield from _part_events(part, place | {"content_index": index}, chunk)
    yield {"type": "response.output_item.done", "output_index": output_index, "item": item}


def in_dialect(events: Iterable[Event], dialect: Dialect) -> list[Event]:
    """The events of a stream as another upstream sends them.

    `llamacpp` is what llama.cpp's server was seen to send: no numbers, no indexes, bare response objects, a
    reasoning item without parts, and every `done` kept back until all text is out, so that the events of two
    items interleave. `transformers` differs in its frames alone.
    """
    if dialect != "llamacpp":
        return list(events)
    shown = [_llamacpp(event) for event in events if _known_to_llamacpp(event)]
    dones = [event for event in shown if event["type"].endswith(".done")]
    others = [event for event in shown if not event["type"].endswith(".done")]
    return [*others[:-1], *dones, others[-1]]


def shown_response(whole: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """A response object that is not streamed, as another upstream sends it."""
    return _only(whole, (*_LLAMACPP_FINAL, "completed_at")) if dialect == "llamacpp" else whole


def error_event(
    message: str = "The model failed.",
    *,
    code: str | None = "server_error",
    type: str = "server_error",  # noqa: A002
    flat: bool = False,
    sequence_number: int = 0,
) -> Event:
    """An `error` event: nested as Open Responses has it, or flat as OpenAI has it."""
    if flat:
        return {
            "type": "error",
            "sequence_number": sequence_number,
            "code": code,
            "message": message,
            "param": None,
        }
    error = {"type": type, "code": code, "message": message, "param": None}
    return {"type": "error", "sequence_number": sequence_number, "error": error}


def error_body(
    message: str,
    *,
    type: str = "invalid_request_error",  # noqa: A002
    code: str | None = None,
) -> dict[str, Any]:
    """An error answer in OpenAI's envelope."""
    return {"error": {"message": message, "type": type, "code": code, "param": None}}


def frame(event: Event | bytes, *, name: bool = True) -> bytes:
    """One event as SSE bytes; bytes are taken as the data, whatever they hold."""
    if isinstance(event, bytes):
        return b"data: " + event + b"\n\n"
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return (f"event: {event['type']}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def frames(events: Iterable[Event | bytes], *, names: bool = True, done: bool = True) -> list[bytes]:
    """The SSE bytes of each event, and of `[DONE]`."""
    made = [frame(event, name=names) for event in events]
    return [*made, DONE] if done else made


def sse(events: Iterable[Event | bytes], *, names: bool = True, done: bool = True) -> bytes:
    """A whole stream as bytes: `names` writes `event:` lines, `done` the `[DONE]` at the end."""
    return b"".join(frames(events, names=names, done=done))


def parse_sse(data: bytes) -> list[Event]:
    """The events of a whole stream, without `[DONE]`; a frame that is not a JSON object is a ValueError."""
    events = []
    for block in re.sub(r"\r\n?", "\n", data.decode()).split("\n\n"):
        lines = [line for line in block.split("\n") if line.startswith("data:")]
        body = "\n".join(line.removeprefix("data:").removeprefix(" ") for line in lines)
        if not lines or body == "[DONE]":
            continue
        event = json.loads(body)
        if not isinstance(event, dict):
            raise ValueError("an event that is not a JSON object")
        events.append(event)
    return events


def joined_channels(events: Iterable[Event]) -> dict[ChannelKey, str]:
    """The joined deltas by (kind, item id, index of the part): kind is `output_text`, `refusal`, ..."""
    joined: dict[ChannelKey, str] = {}
    for event in events:
        kind = _DELTA.match(event["type"])
        if kind and isinstance(event.get("delta"), str):
            key = _key(kind[1], event)
            joined[key] = joined.get(key, "") + event["delta"]
    return joined


def done_channels(events: Iterable[Event]) -> dict[ChannelKey, str]:
    """The texts of the `*.done` events, by the same keys as `joined_channels`."""
    texts: dict[ChannelKey, str] = {}
    for event in events:
        kind = _DONE_TEXT.match(event["type"])
        text = next((event[f] for f in _DONE_FIELDS if isinstance(event.get(f), str)), None)
        if kind and text is not None:
            texts[_key(kind[1], event)] = text
    return texts


def joined_text(events: Iterable[Event], kind: str = "output_text") -> str:
    """All deltas of one kind, joined."""
    return "".join(text for key, text in joined_channels(events).items() if key[0] == kind)


def final_response(events: Iterable[Event]) -> dict[str, Any] | None:
    """The response of the terminal event; None when the stream has none."""
    return next((event["response"] for event in events if event["type"] in TERMINALS), None)


def output_text(answer: Mapping[str, Any]) -> str:
    """The text of all `output_text` parts of a response object, joined."""
    parts = (part for item in answer["output"] if item["type"] == "message" for part in item["content"])
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


_LLAMACPP_FINAL = ("id", "object", "created_at", "status", "model", "output", "usage")
_LLAMACPP_DROPS = ("sequence_number", "output_index", "content_index", "logprobs", "name")


def _only(value: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _known_to_llamacpp(event: Event) -> bool:
    if event["type"].startswith("response.reasoning_"):
        return bool(event["type"] == "response.reasoning_text.delta")
    is_reasoning = event.get("part", {}).get("type") == "reasoning_text"
    return not is_reasoning and event["type"] != "response.function_call_arguments.done"


def _llamacpp(event: Event) -> Event:
    made = {name: value for name, value in event.items() if name not in _LLAMACPP_DROPS}
    if "response" in made:
        ended = made["type"] in TERMINALS
        made["response"] = _only(made["response"], _LLAMACPP_FINAL if ended else ("id", "object", "status"))
    if made["type"] == "response.content_part.added":
        made["part"] = _only(made["part"], ("type", "text"))
    return made


def _numbered(event: Event, number: int) -> Event:
    return {"type": event["type"], "sequence_number": number} | event


def _key(kind: str, event: Event) -> ChannelKey:
    index = event.get("content_index", event.get("summary_index", 0))
    return kind, str(event.get("item_id", "")), int(index or 0)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "parameters": None, "strict": True} | dict(tool)


def _begun(item: Item) -> Item:
    """The item as `output_item.added` shows it: in progress, and still without text."""
    begun = dict(item)
    if "status" in item:
        begun["status"] = "in_progress"
    for name in ("content", "summary"):
        if isinstance(item.get(name), list):
            begun[name] = []
    if item["type"] in _ONE_STRING:
        begun[_ONE_STRING[item["type"]][0]] = ""
    return begun


def _pieces(text: str, chunk: int) -> Iterator[str]:
    return (text[at : at + chunk] for at in range(0, len(text), chunk))


def _text_events(family: str, field: str, text: str, place: Mapping[str, Any], chunk: int) -> Iterator[Event]:
    extra: dict[str, Any] = {"logprobs": []} if family == "response.output_text" else {}
    for piece in _pieces(text, chunk):
        yield {"type": f"{family}.delta", **place, "delta": piece, **extra}
    yield {"type": f"{family}.done", **place, field: text, **extra}


def _summary_events(part: Mapping[str, Any], place: Mapping[str, Any], chunk: int) -> Iterator[Event]:
    family = "response.reasoning_summary_part"
    yield {"type": f"{family}.added", **place, "part": {**part, "text": ""}}
    yield from _text_events("response.reasoning_summary_text", "text", part["text"], place, chunk)
    yield {"type": f"{family}.done", **place, "part": dict(part)}


def _part_events(part: Mapping[str, Any], place: Mapping[str, Any], chunk: int) -> Iterator[Event]:
    if part.get("type") not in _PARTS:
        return
    field, family = _PARTS[part["type"]]
    empty = {**part, field: ""}
    annotations = part.get("annotations") or []
    if annotations:
        empty["annotations"] = []
    yield {"type": "response.content_part.added", **place, "part": empty}
    deltas = list(_text_events(family, field, part[field], place, chunk))
    yield from deltas[:-1]
    for index, annotation in enumerate(annotations):
        yield {
            "type": "response.output_text.annotation.added",
            **place,
            "annotation_index": index,
            "annotation": annotation,
        }
    yield deltas[-1]
    yield {"type": "response.content_part.done", **place, "part": dict(part)}
