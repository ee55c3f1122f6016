"""Bring what a gateway's clients send, chat messages or loosely written items, into input items. Pure.

The forms that come are those of OpenAI's chat completions (`messages`) and of role-based input; those that go
on are the input items of Responses. Of every text that moves, the draft notes where it was.
"""

from collections.abc import Collection
from typing import Any

from guardproxy.rules import Draft, refusal
from guardproxy.types import Path, is_text

_ROLES = ("system", "developer", "user", "assistant", "tool")
_OUTER = ("system", "developer")  # whose messages become the instructions
# Fields of interleaved reasoning, and tool calls in the form of chat completions.
_INTERLEAVED = ("reasoning_content", "reasoning_details", "tool_calls", "function_call")
_IN_CHAT = (*_INTERLEAVED, "refusal")
_TEXTS = frozenset(("text", "input_text", "output_text"))
_FILES = frozenset(("file", "input_file"))
_PARTS = _FILES | {"text", "input_text", "image_url", "input_image", "input_audio"}
_SHOWN = frozenset(("content", "output"))  # another key may be a client's own words
_BETWEEN = "\n\n"  # two messages of the instructions


def no_file_ids(draft: Draft) -> None:
    """Refuse files that are named by an id, wherever they stand: there is no store of files here."""
    inside: list[tuple[Any, str]] = [(draft.get(name), name) for name in ("input", "messages", "prompt")]
    while inside:
        value, place = inside.pop()
        if isinstance(value, list):
            # A list of millions of numbers is walked, and not written down once more.
            inside += [(v, f"{place}[{i}]") for i, v in enumerate(value) if isinstance(v, list | dict)]
        elif isinstance(value, dict):
            file = value.get("file") if value.get("type") == "file" else value
            is_file = is_text(kind := value.get("type")) and kind in _FILES
            if is_file and isinstance(file, dict) and file.get("file_id") is not None:
                raise refusal(
                    "input_file.file_id is not supported here; send the file in 'file_data' or 'file_url'.",
                    f"{place}.file_id",
                )
            inside += [
                (member, f"{place}.{key}" if key in _SHOWN else place)
                for key, member in value.items()
                if isinstance(member, list | dict)
            ]


def coerced(draft: Draft) -> None:
    """Make instructions and input items of `messages`, or of `input`.

    Raises:
        InvalidRequest: what has no place there.
    """
    if draft.get("messages") is None:
        draft.drop("messages")
        _items(draft)
    else:
        _messages(draft)


def _messages(draft: Draft) -> None:
    given = draft.value["messages"]
    draft.drop("messages")
    if not isinstance(given, list):
        raise refusal("'messages' must be a list of messages.", "messages")
    texts: list[tuple[str, Path]] = []
    items: list[dict[str, Any]] = []
    for index, message in enumerate(given):
        path, place = ("messages", index), f"messages[{index}]"
        if not isinstance(message, dict):
            raise refusal("A message must be an object with 'role' and 'content'.", place)
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES:
            raise refusal(f"A message's role must be one of {', '.join(_ROLES)}.", f"{place}.role")
        if role in _OUTER:
            texts.append(_instruction(content, (*path, "content"), place))
        elif role == "tool":
            items.append(_result(draft, len(items), message, path))
        else:
            if _has_content(message, path, _IN_CHAT):
                items.append(_message(draft, len(items), message, path))
            _refusals(draft, items, message, path)
            _calls(draft, items, message, path)
    if texts:
        _instruct(draft, texts)
    draft.put("input", items)


def _instruct(draft: Draft, texts: list[tuple[str, Path]]) -> None:
    """Join the texts to the instructions; of one alone it is known where it was."""
    outer = draft.get("instructions")
    if outer is None and len(texts) == 1:
        draft.moved["instructions",] = texts[0][1]
    if not (outer is None or is_text(outer)):
        raise refusal("'instructions' must be a string beside system messages.", "instructions")
    draft.put("instructions", _BETWEEN.join([*([outer] if outer else []), *(text for text, _ in texts)]))


def _instruction(content: Any, path: Path, place: str) -> tuple[str, Path]:
    """The text of a message. Its parts follow each other: what is split over two of them stays one word."""
    if is_text(content):
        return content, path
    if not isinstance(content, list) or not all(_is_text_part(part) for part in content):
        raise refusal("A system or developer message must be text alone.", f"{place}.content")
    return "".join(part["text"] for part in content), (*path, 0, "text") if len(content) == 1 else path


def _is_text_part(part: Any) -> bool:
    if not isinstance(part, dict) or not is_text(kind := part.get("type")):
        return False
    return kind in _TEXTS and is_text(part.get("text"))


def _items(draft: Draft) -> None:
    given = draft.get("input")
    if is_text(given):
        draft.moved["input", 0, "content", 0, "text"] = ("input",)
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}
        draft.put("input", [item])
        return
    if not isinstance(given, list):
        raise refusal("'input' must be a string or a list of items.", "input")
    made: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        path = ("input", index)
        if not isinstance(item, dict):
            raise refusal("An item of 'input' must be an object.", f"input[{index}]")
        kind = item.get("type") or "message"
        rest = {name: value for name, value in item.items() if name not in _INTERLEAVED}
        if is_text(kind) and kind in _PARTS:  # a part on its own
            role = rest.pop("role", "user")
            here = ("input", len(made), "content", 0)
            draft.moved[here] = path
            content = [_part(draft, rest, role, here, path)]
            made.append({"type": "message", "role": role, "content": content})
        elif kind == "message" and rest.get("role") == "tool":
            made.append(_result(draft, len(made), rest, path))
        elif kind == "message":
            if _has_content(item, path, _INTERLEAVED):
                made.append({**rest, **_message(draft, len(made), rest, path)})
        else:
            draft.moved["input", len(made)] = path
            made.append(rest)
    draft.put("input", made)


def _has_content(message: dict[str, Any], path: Path, instead: Collection[str]) -> bool:
    """Whether a message has content. One of an assistant's may have a member of these names `instead`."""
    if message.get("content") is not None:
        return True
    if message.get("role") == "assistant" and any(message.get(name) is not None for name in instead):
        return False
    raise refusal(
        "A message must have 'content'; an assistant's may have calls of tools instead.",
        f"{path[0]}[{path[1]}].content",
    )


def _message(draft: Draft, index: int, message: dict[str, Any], path: Path) -> dict[str, Any]:
    """The input item of a message that was at `path`."""
    here: Path = ("input", index)
    draft.moved[here] = path
    role, content = message.get("role"), message["content"]
    if is_text(content) and role == "assistant":
        draft.moved[*here, "content", 0, "text"] = (*path, "content")
        content = [{"type": "output_text", "text": content}]
    elif isinstance(content, list):
        content = _parts(draft, content, role, (*here, "content"), (*path, "content"))
    said = {"role": role} if "role" in message else {}
    return {"type": "message", **said, "content": content}


def _parts(draft: Draft, parts: list[Any], role: Any, here: Path, path: Path) -> list[Any]:
    return [
        _part(draft, part, role, (*here, index), (*path, index)) if isinstance(part, dict) else part
        for index, part in enumerate(parts)
    ]


def _part(draft: Draft, part: dict[str, Any], role: Any, here: Path, path: Path) -> dict[str, Any]:
    """A content part, which was at `path`, in the form that Responses has for it."""
    kind = part.get("type")
    rest = {name: value for name, value in part.items() if name not in _INTERLEAVED}
    if is_text(kind) and kind in _TEXTS:
        return {**rest, "type": "output_text" if role == "assistant" else "input_text"}
    if kind == "image_url":
        image = rest.pop("image_url", None)
        if isinstance(image, dict):
            draft.moved[*here, "image_url"] = (*path, "image_url", "url")
            draft.moved[*here, "detail"] = (*path, "image_url", "detail")
            rest |= {name: value for name, value in image.items() if name != "url"}
            image = image.get("url")
        return {**rest, "type": "input_image", "image_url": image}
    if kind == "file" and isinstance(file := rest.get("file"), dict):
        del rest["file"]
        for name in file:
            draft.moved[*here, name] = (*path, "file", name)
        return {**rest, **file, "type": "input_file"}
    return rest


def _result(draft: Draft, index: int, message: dict[str, Any], path: Path) -> dict[str, Any]:
    """The output of a call, of a message with the role `tool`."""
    here: Path = ("input", index)
    place = f"{path[0]}[{path[1]}]"
    name = "call_id" if message.get("tool_call_id") is None else "tool_call_id"
    where = "output" if message.get("content") is None else "content"
    if not is_text(call := message.get(name)):
        raise refusal("A tool message must name its call in 'tool_call_id'.", f"{place}.tool_call_id")
    content = message.get(where)
    draft.moved[*here, "call_id"] = (*path, name)
    draft.moved[*here, "output"] = (*path, where)
    if isinstance(content, list):
        content = _parts(draft, content, "tool", (*here, "output"), (*path, where))
    return {"type": "function_call_output", "call_id": call, "output": "" if content is None else content}


def _refusals(draft: Draft, items: list[dict[str, Any]], message: dict[str, Any], path: Path) -> None:
    """Add what an assistant's chat message says beside its content, or in its place, when it refuses."""
    if message["role"] == "assistant" and (said := message.get("refusal")):
        draft.moved["input", len(items), "content", 0, "refusal"] = (*path, "refusal")
        content = [{"type": "refusal", "refusal": said}]
        items.append({"type": "message", "role": message["role"], "content": content})


def _calls(draft: Draft, items: list[dict[str, Any]], message: dict[str, Any], path: Path) -> None:
    """Add the calls of tools that an assistant's chat message made."""
    calls = [] if message.get("tool_calls") is None else message["tool_calls"]
    if not isinstance(calls, list):
        raise refusal("'tool_calls' must be a list of calls.", f"{path[0]}[{path[1]}].tool_calls")
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not is_text(call.get("id")):
            raise refusal(
                "A call of a tool must have an 'id', and a 'function' with 'name' and 'arguments'.",
                f"{path[0]}[{path[1]}].tool_calls[{index}]",
            )
        here: Path = ("input", len(items))
        was = (*path, "tool_calls", index)
        draft.moved[*here, "call_id"] = (*was, "id")
        for name in ("name", "arguments"):
            draft.moved[*here, name] = (*was, "function", name)
        arguments = function.get("arguments", "{}")
        items.append(
            {
                "type": "function_call",
                "call_id": call["id"],
                "name": function.get("name"),
                "arguments": arguments,
            }
        )
