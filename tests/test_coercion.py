"""Chat messages and loosely written items become input items, and it stays known where each text was."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy import document, inputs
from guardproxy.coercion import coerced, no_file_ids
from guardproxy.document import walk
from guardproxy.errors import InvalidRequest
from guardproxy.rules import Draft
from guardproxy.shapes import REQUEST
from guardproxy.types import pointer

REFUSAL = {"type": "refusal", "refusal": "no"}
FILE = {"type": "input_file", "file_id": "f"}
NEW = {"type": "new", "file": {"filename": "n"}}
HI = {"type": "input_text", "text": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"to": "Ada"}'}}
NO_CALLS: list[Any] = [
    {"id": "a"},
    {"id": "a", "function": "f"},
    {"function": {}},
    {**CALL, "id": 5},
    "a",
]
MESSAGES: list[tuple[str, Any, Any]] = [
    ("a text stays one", {"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
    (
        "parts get the API's types",
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    ),
    (
        "an image",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "low"}]},
    ),
    (
        "an image by its URL alone",
        {"role": "user", "content": [{"type": "image_url", "image_url": "u"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "u"}]},
    ),
    (
        "a file",
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "d", "filename": "n"}, "m": 1}]},
        {"role": "user", "content": [{"type": "input_file", "file_data": "d", "filename": "n", "m": 1}]},
    ),
    (
        "what an assistant said",
        {"role": "assistant", "content": "hi", "reasoning_content": "x", "refusal": None, "audio": None},
        {"role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
    ),
    (
        "in parts",
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "hi"}, {"type": "refusal", "refusal": "no"}],
        },
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hi"}, {"type": "refusal", "refusal": "no"}],
        },
    ),
    (
        "in parts of the user's form",
        {"role": "assistant", "content": [HI, {"type": "output_text", "text": "ho"}]},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hi"}, {"type": "output_text", "text": "ho"}],
        },
    ),
    (
        "parts of an assistant's form",
        {"role": "user", "content": [{"type": "output_text", "text": "hi"}]},
        {"role": "user", "content": [HI]},
    ),
    (
        "a refusal",
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ),
    (
        "a refusal that is nobody's to give",
        {"role": "user", "content": "hi", "refusal": "no"},
        {"role": "user", "content": "hi"},
    ),
    (
        "a refusal of no known form",
        {"role": "assistant", "refusal": ["no"]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": ["no"]}]},
    ),
    (
        "parts of no known form",
        {"role": "user", "content": [{"type": "file", "file": "n"}, {"type": ["text"]}, NEW, "a"]},
        {"role": "user", "content": [{"type": "file", "file": "n"}, {"type": ["text"]}, NEW, "a"]},
    ),
    (
        "a call",
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"to": "Ada"}'},
    ),
    (
        "a call without arguments",
        {"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "f"}}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
    ),
    (
        "its result",
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
        {"type": "function_call_output", "call_id": "call_1", "output": "found"},
    ),
    (
        "its result in parts",
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "found"}]},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "found"}],
        },
    ),
]


def made(request: Any) -> Draft:
    draft = Draft(document.parse(json.dumps(request)))
    coerced(draft)
    return draft


def plain(value: Any) -> Any:
    return json.loads(document.rendered(value))


@pytest.mark.parametrize(("message", "item"), [m[1:] for m in MESSAGES], ids=[m[0] for m in MESSAGES])
def test_a_message_becomes_an_item(message: Any, item: Any) -> None:
    found = plain(made({"messages": [message]}).value)
    assert found == {"input": [{"type": "message", **item}]}


def test_a_message_with_text_and_calls_becomes_several_items_in_order() -> None:
    message = {"role": "assistant", "content": "I look", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
    items = made({"messages": [message]}).value["input"]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call"]
    assert [item.get("call_id") for item in items] == [None, "call_1", "call_2"]


def test_a_refusal_beside_a_text_is_a_message_of_its_own() -> None:
    messages = [{"role": "assistant", "content": "first", "refusal": ""}]
    messages.append({"role": "assistant", "content": "I", "refusal": "cannot"})
    found = made({"messages": messages})
    assert [item["content"] for item in found.value["input"]] == [
        [{"type": "output_text", "text": "first"}],
        [{"type": "output_text", "text": "I"}],
        [{"type": "refusal", "refusal": "cannot"}],
    ]
    assert found.moved["input", 2, "content", 0, "refusal"] == ("messages", 1, "refusal")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning_details", "tool_calls", "function_call"])
def test_an_assistants_message_may_have_what_is_taken_out_in_place_of_content(name: str) -> None:
    said = {"role": "assistant", name: [] if name == "tool_calls" else "x"}
    for request in ({"messages": [said]}, {"input": [said]}):
        assert made(request).value == {"input": []}


@pytest.mark.parametrize("name", ["messages", "input"])
@pytest.mark.parametrize("content", [{}, {"content": None}], ids=["left out", "null"])
@pytest.mark.parametrize(
    "message",
    [
        {"role": "user"},
        {"role": "user", "tool_calls": [CALL]},
        {"role": "user", "refusal": "no"},
        {"role": "assistant"},
        {"role": "assistant", "tool_calls": None, "name": "n"},
    ],
)
def test_a_message_must_have_content(message: Any, content: Any, name: str) -> None:
    said = {"role": "user", "content": "hi"}
    with pytest.raises(InvalidRequest, match="A message must have 'content'") as raised:
        made({name: [said, said, {**message, **content}]})
    assert raised.value.param == f"{name}[2].content"


@pytest.mark.parametrize("name", ["messages", "input"])
def test_the_result_of_a_call_may_be_empty(name: str) -> None:
    found = made({name: [{"role": "tool", "tool_call_id": "c"}]})
    assert found.value["input"] == [{"type": "function_call_output", "call_id": "c", "output": ""}]


def test_system_messages_become_the_instructions() -> None:
    system = {"role": "system", "content": "Be brief."}
    developer = {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}
    user = {"role": "user", "content": "hi"}
    found = made({"messages": [system, user]})
    assert plain(found.value)["instructions"] == "Be brief."
    assert found.moved["instructions",] == ("messages", 0, "content")
    several = made({"messages": [system, user, developer], "instructions": "First."})
    assert plain(several.value) == {
        "instructions": "First.\n\nBe brief.\n\nBe kind.",
        "input": [{"type": "message", **user}],
    }
    two = made({"messages": [system, developer]})
    beside = made({"messages": [system], "instructions": "First."})
    assert two.value["instructions"] == "Be brief.\n\nBe kind."
    assert beside.value["instructions"] == "First.\n\nBe brief."
    for found in (several, two, beside):  # several texts are in one place
        assert ("instructions",) not in found.moved
    found = made({"messages": [developer], "instructions": ""})
    assert found.value["instructions"] == "Be kind."
    assert made({"messages": [developer]}).moved["instructions",] == ("messages", 0, "content", 0, "text")


def test_what_is_split_over_the_parts_of_a_system_message_is_one_word() -> None:
    content = [{"type": "text", "text": "of TAG-"}, {"type": "text", "text": "1234"}]
    found = made({"messages": [{"role": "system", "content": content}]})
    assert found.value["instructions"] == "of TAG-1234"
    assert found.moved["instructions",] == ("messages", 0, "content")


INPUTS: list[tuple[str, Any, Any]] = [
    (
        "a text",
        "hi",
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
    ),
    (
        "an item without a type",
        [{"role": "user", "content": "hi"}],
        [{"type": "message", "role": "user", "content": "hi"}],
    ),
    ("an item without a role", [{"content": "hi"}], [{"type": "message", "content": "hi"}]),
    (
        "an assistant's",
        [{"role": "assistant", "content": "hi", "id": "msg_1"}],
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "hi"}],
                "id": "msg_1",
            }
        ],
    ),
    (
        "fields of interleaved reasoning",
        [
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "hi", "reasoning_details": [1]}],
                "reasoning_content": "x",
                "reasoning_details": [],
                "tool_calls": [CALL],
                "function_call": {"name": "f"},
            }
        ],
        [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}],
    ),
    ("nothing but such fields", [{"role": "assistant", "content": None, "tool_calls": [CALL]}], []),
    (
        "parts on their own",
        [{"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "u", "role": "system"}],
        [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "message", "role": "system", "content": [{"type": "input_image", "image_url": "u"}]},
        ],
    ),
    (
        "parts of other forms on their own",
        [
            {"type": "text", "text": "hi"},
            {"type": "image_url", "image_url": {"url": "u"}},
            {"type": "input_audio", "input_audio": {}},
            {"type": "file", "file": {"file_data": "d"}},
            {"type": "input_file", "file_data": "d"},
        ],
        [
            {"type": "message", "role": "user", "content": [part]}
            for part in (
                HI,
                {"type": "input_image", "image_url": "u"},
                {"type": "input_audio", "input_audio": {}},
                {"type": "input_file", "file_data": "d"},
                {"type": "input_file", "file_data": "d"},
            )
        ],
    ),
    (
        "a tool's message",
        [{"role": "tool", "call_id": "call_1", "output": "found"}],
        [{"type": "function_call_output", "call_id": "call_1", "output": "found"}],
    ),
    (
        "other items",
        [
            {"type": "function_call_output", "call_id": "c", "output": "x", "function_call": 1},
            {"type": "new", "role": "tool"},
            {"type": ["text"]},
        ],
        [
            {"type": "function_call_output", "call_id": "c", "output": "x"},
            {"type": "new", "role": "tool"},
            {"type": ["text"]},
        ],
    ),
]


def test_behind_an_item_that_is_taken_out_it_is_known_where_each_was() -> None:
    gone = {"role": "assistant", "tool_calls": [CALL]}
    found = made({"input": [gone, {"type": "new"}, {"role": "user", "content": "a"}, HI]}).moved
    assert [found["input", index] for index in (0, 1)] == [("input", 1), ("input", 2)]
    assert found["input", 2, "content", 0] == ("input", 3)


def test_of_what_leaves_its_object_it_is_known_where_it_was() -> None:
    image = {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}
    file = {"type": "file", "file": {"filename": "n"}}
    user = {"role": "user", "content": [image, file]}
    result = {"role": "tool", "call_id": "c", "output": "x"}
    calling = {"role": "assistant", "tool_calls": [CALL, CALL]}
    shown = {"role": "tool", "tool_call_id": "c", "content": [image]}
    said = {"role": "assistant", "content": "hi"}
    moved = made({"messages": [user, calling, result, shown, said]}).moved
    part, calls = ("messages", 0, "content"), ("messages", 1, "tool_calls")
    assert {path: moved[path] for path in moved if len(path) > 2} == {
        ("input", 0, "content", 0, "image_url"): (*part, 0, "image_url", "url"),
        ("input", 0, "content", 0, "detail"): (*part, 0, "image_url", "detail"),
        ("input", 0, "content", 1, "filename"): (*part, 1, "file", "filename"),
        ("input", 1, "call_id"): (*calls, 0, "id"),
        ("input", 1, "name"): (*calls, 0, "function", "name"),
        ("input", 1, "arguments"): (*calls, 0, "function", "arguments"),
        ("input", 2, "call_id"): (*calls, 1, "id"),
        ("input", 2, "name"): (*calls, 1, "function", "name"),
        ("input", 2, "arguments"): (*calls, 1, "function", "arguments"),
        ("input", 3, "call_id"): ("messages", 2, "call_id"),
        ("input", 3, "output"): ("messages", 2, "output"),
        ("input", 4, "call_id"): ("messages", 3, "tool_call_id"),
        ("input", 4, "output"): ("messages", 3, "content"),
        ("input", 4, "output", 0, "image_url"): ("messages", 3, "content", 0, "image_url", "url"),
        ("input", 4, "output", 0, "detail"): ("messages", 3, "content", 0, "image_url", "detail"),
        ("input", 5, "content", 0, "text"): ("messages", 4, "content"),
    }


def test_messages_that_are_null_count_as_left_out() -> None:
    assert made({"input": [], "messages": None}).value == {"input": []}


@pytest.mark.parametrize(("given_", "items"), [i[1:] for i in INPUTS], ids=[i[0] for i in INPUTS])
def test_input_gets_the_form_of_items(given_: Any, items: Any) -> None:
    assert plain(made({"input": given_}).value)["input"] == items


@pytest.mark.parametrize(
    ("request_", "param", "why"),
    [
        ({"messages": "hi"}, "messages", "a list of messages"),
        ({"messages": ["hi"]}, "messages[0]", "an object with 'role' and 'content'"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "x"}]},
            "messages[1].role",
            "one of system",
        ),
        ({"messages": [{"content": "a"}]}, "messages[0].role", "one of system"),
        ({"messages": [{"role": "system"}]}, "messages[0].content", "must be text alone"),
        *(
            (
                {"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}, part]}]},
                "messages[0].content",
                "must be text alone",
            )
            for part in (
                {"type": "image_url"},
                {"type": ["text"], "text": "a"},
                {"type": "image_url", "text": "a"},
                {"type": "text", "text": 5},
                {"type": "text"},
                "a",
            )
        ),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id", "tool_call_id"),
        (
            {"messages": [{"role": "assistant", "content": "a", "tool_calls": {}}]},
            "messages[0].tool_calls",
            "must be a list",
        ),
        *(
            (
                {"messages": [{"role": "assistant", "tool_calls": [CALL, call]}]},
                "messages[0].tool_calls[1]",
                "'function'",
            )
            for call in NO_CALLS
        ),
        (
            {"messages": [{"role": "system", "content": "a"}], "instructions": [1]},
            "instructions",
            "must be a string",
        ),
        ({"input": 5}, "input", "a string or a list"),
        ({"input": ["a"]}, "input[0]", "must be an object"),
        ({"input": [{}]}, "input[0].content", "must have 'content'"),
        ({"input": [{"role": "system"}]}, "input[0].content", "must have 'content'"),
        ({"input": [{"role": "assistant", "refusal": "a"}]}, "input[0].content", "must have 'content'"),
        ({"input": [{"role": "tool", "output": "a"}]}, "input[0].tool_call_id", "tool_call_id"),
    ],
)
def test_what_has_no_place(request_: Any, param: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as raised:
        made(request_)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"input": [{"type": "input_file", "file_id": "f"}]}, "input[0].file_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": [{"output": [FILE]}]}, "input[0].output[0].file_id"),
        ({"input": [[FILE]]}, "input[0][0].file_id"),
        (
            {"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "messages[0].content[0].file_id",
        ),
        ({"prompt": {"variables": {"a": {"type": "input_file", "file_id": "f"}}}}, "prompt.file_id"),
    ],
)
def test_files_named_by_an_id_are_refused_wherever_they_are(request_: Any, param: str) -> None:
    with pytest.raises(InvalidRequest, match=r"input_file\.file_id is not supported") as raised:
        no_file_ids(Draft(request_))
    assert raised.value.param == param


def test_files_that_are_sent_are_not() -> None:
    no_file_ids(Draft({"input": [{"content": [{"type": "input_file", "file_data": "x", "file_id": None}]}]}))
    no_file_ids(Draft({"input": "hi"}))
    no_file_ids(Draft({"input": [{"type": ["input_file"], "file_id": "f"}, {"type": {}}]}))  # no type at all
    no_file_ids(Draft({"input": [{"type": "input_image", "file_id": "f"}]}))
    no_file_ids(Draft({"input": [{"type": "file", "file": "f"}, {"type": "file"}]}))


def test_looking_for_files_takes_no_memory_for_what_is_none() -> None:
    draft = Draft({"input": [{"content": ["x"] * 100_000, **dict.fromkeys(map(str, range(1000)), "x")}]})
    tracemalloc.start()
    try:
        no_file_ids(draft)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=12, max_size=20)
CHAT_PARTS = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, WORDS),
    st.builds(lambda t: {"type": "input_text", "text": t}, WORDS),
    st.builds(lambda t: {"type": "image_url", "image_url": {"url": f"https://{t}"}}, WORDS),
    st.builds(lambda t: {"type": "file", "file": {"filename": t}}, WORDS),
)
CONTENT = WORDS | st.lists(CHAT_PARTS, max_size=3)
CHAT = st.lists(
    st.one_of(
        st.builds(lambda c: {"role": "user", "content": c}, CONTENT),
        st.builds(lambda c: {"role": "assistant", "content": c}, CONTENT),
        st.builds(lambda c: {"role": "tool", "tool_call_id": "c", "content": c}, CONTENT),
        st.builds(
            lambda n, a: {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "function": {"name": n, "arguments": json.dumps({"a": a})}}],
            },
            WORDS,
            WORDS,
        ),
        st.builds(lambda c, r: {"role": "assistant", "content": c, "refusal": r}, CONTENT, WORDS),
        st.builds(lambda c: {"role": "system", "content": c}, WORDS),
    ),
    max_size=5,
)
PARTS = st.builds(lambda t: {"type": "input_text", "text": t}, WORDS)


def texts(value: Any) -> dict[str, str]:
    return {pointer(part.path): part.text for part in walk(value, REQUEST).parts}


@given(CHAT | st.lists(PARTS, max_size=4) | WORDS, st.booleans())
async def test_every_text_is_forwarded_and_known_by_where_it_was(said: Any, as_messages: bool) -> None:
    if not isinstance(said, str) and any("type" in m for m in said):
        as_messages = False
    request = {"messages" if as_messages and isinstance(said, list) else "input": said}
    asked = await inputs.read(json.dumps(request).encode(), (coerced,))
    value = document.parse(json.dumps(request))
    before, after = texts(value), walk(asked.value, REQUEST).parts
    systems = sum(m.get("role") == "system" for m in said) if isinstance(said, list) else 0
    for part in after:
        if part.path[0] == "instructions" and systems > 1:
            continue
        at = pointer(asked.as_sent(part.path))
        assert before.get(at) == part.text, (at, part)
    if request.get("messages") is not None:
        joined = " ".join(part.text for part in after)
        assert all(text in joined for text in before.values())
