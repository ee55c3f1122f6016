"""A response gets what its dialect has and its upstream left out; what it has stays, to the byte."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy import document, members
from guardproxy.completion import STATUSES, Completer, text_of
from guardproxy.document import Edits
from guardproxy.members import Completion, Made, OfRequest
from guardproxy.profiles import OPENRESPONSES, OPPER
from tests.harness import message

COMPLETIONS = {
    "opper": members.OPPER,
    "openrouter": members.OPENROUTER,
    "gateway": members.GATEWAY,
    "julep": members.JULEP,
}
THIN = {"id": "resp_9", "output": [message("say TAG-5678")]}
ASK = {"model": "m-1", "input": "hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c_1", "name": "f", "arguments": "{}"}
# What the documents of the dialects say: every member of theirs that is not optional.
REQUIRED = {
    "opper": "completed_at created_at error id incomplete_details model object output status tool_choice",
    "openrouter": "completed_at created_at error frequency_penalty id incomplete_details instructions"
    " metadata model object parallel_tool_calls presence_penalty status temperature tool_choice tools top_p"
    " output output_text",
    "gateway": "id object status output usage",
    "julep": "id object created_at model output output_text status usage",
}


def completed(
    completion: Completion, text: str, request: Any = None, event: str = "", asked: str | None = None
) -> str:
    body = json.dumps(ASK if request is None else request).encode()
    edits = Edits()
    Completer(completion, body, "resp_own", asked).complete(document.parse(text), edits, (), event)
    return edits.apply(text)


# --- the members


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("body", ["{}", '{"id":"resp_9","output":[]}', " {\n } "])
def test_a_thin_answer_gets_every_member_that_its_dialect_has(name: str, body: str) -> None:
    found = json.loads(completed(COMPLETIONS[name], body))
    assert set(found) == set(REQUIRED[name].split())
    assert found["object"] == "response"
    assert found["status"] == "completed"


def test_the_values_of_openrouter() -> None:
    found = json.loads(completed(members.OPENROUTER, json.dumps(THIN)))
    assert {name: found[name] for name in found if name not in ("completed_at", "created_at", "output")} == {
        "id": "resp_9",
        "object": "response",
        "status": "completed",
        "model": "m-1",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "output_text": "say TAG-5678",
    }
    assert 0 <= found["completed_at"] - found["created_at"] <= 1


ASKED = {
    "model": "gpt-4.1",
    "instructions": "be brief",
    "metadata": {"a": "b  c"},
    "tools": [{"type": "function", "name": "f", "parameters": {"maximum": 10**40}}],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "temperature": 0.25,
    "top_p": 0.5,
    "presence_penalty": -1,
    "frequency_penalty": 2,
}


def test_what_was_asked_is_repeated_as_it_was_forwarded() -> None:
    found = json.loads(completed(members.OPENROUTER, "{}", ASKED))
    assert {name: found[name] for name in ASKED} == ASKED


@pytest.mark.parametrize("other", [{"instructions": [message("be brief")]}, {"tool_choice": "none"}])
def test_what_was_asked_is_repeated_in_either_of_its_forms(other: Any) -> None:
    found = json.loads(completed(members.OPENROUTER, "{}", {**ASKED, **other}))
    assert {name: found[name] for name in other} == other


def test_numbers_are_repeated_in_their_own_digits_and_without_blanks_between() -> None:
    edits = Edits()
    request = b'{"model":"m", "temperature": 1e-7, "tools": [ {"a" :\r\n 1.50} ]}'
    Completer(members.OPENROUTER, request, "r").complete({}, edits)
    assert '"temperature":1e-7,' in edits.apply("{}")
    assert '"tools":[{"a":1.50}]' in edits.apply("{}")


@pytest.mark.parametrize(
    "name", [n for n, s in members.OPENROUTER.members.items() if isinstance(s, OfRequest)]
)
@pytest.mark.parametrize("value", [None, "[CREDIT_CARD]", 5, True, [], {}])
def test_a_member_of_another_kind_is_not_repeated(name: str, value: Any) -> None:
    found = json.loads(completed(members.OPENROUTER, "{}", {name: value}))[name]
    default = json.loads(completed(members.OPENROUTER, "{}", {})[0:])[name]
    kinds = {kind.name for kind in members.OPENROUTER.members[name].kinds}  # type: ignore[union-attr]
    kind = {str: "TEXT", int: "NUMBER", bool: "FLAG", list: "LIST", dict: "MAP"}.get(type(value))
    assert found == (value if kind in kinds else default)


@pytest.mark.parametrize(
    "request_body", [b"", b"no JSON", b"[]", b'["model"]', b'{"model":"a","model":"b"}', b"\xff"]
)
def test_a_request_that_cannot_be_read_has_nothing_to_repeat(request_body: bytes) -> None:
    edits = Edits()
    Completer(members.OPPER, request_body, "r").complete({}, edits)
    found = json.loads(edits.apply("{}"))
    assert (found["model"], found["tool_choice"]) == ("", "auto")


def test_only_a_large_request_that_is_needed_has_to_be_read() -> None:
    def asked(completion: Completion, size: int) -> Completer:
        return Completer(completion, b" " * size, "r")

    small, large = asked(members.OPPER, document.LARGE), asked(members.OPPER, document.LARGE + 1)
    repeated = {"model": "m", "tool_choice": "auto"}
    assert (small.reads_much, small.has_to_read({})) == (False, False)
    assert (large.reads_much, large.has_to_read({"model": "m"})) == (True, True)
    assert not large.has_to_read(repeated)
    assert asked(members.JULEP, document.LARGE + 1).has_to_read(repeated)  # whose model is the one asked for
    large.read()
    assert (large.reads_much, large.has_to_read({})) == (False, False)


@pytest.mark.parametrize("name", COMPLETIONS)
def test_what_is_not_stored_here_says_what_the_upstream_said(name: str) -> None:
    assert json.loads(completed(COMPLETIONS[name], '{"store":false}'))["store"] is False


@pytest.mark.parametrize(
    ("given", "status", "is_completed"),
    [
        ({}, "completed", True),
        ({"error": {"message": "x"}}, "failed", False),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "incomplete", False),
        ({"error": None, "incomplete_details": None}, "completed", True),
        ({"status": "in_progress"}, "in_progress", False),
        ({"status": "failed"}, "failed", False),
    ],
)
def test_the_status_and_when_it_was_completed(given: Any, status: str, is_completed: bool) -> None:
    found = json.loads(completed(members.OPPER, json.dumps(given)))
    assert (found["status"], found["completed_at"] is not None) == (status, is_completed)


@pytest.mark.parametrize("name", ["opper", "openrouter"])
def test_usage_is_never_invented(name: str) -> None:
    assert "usage" not in json.loads(completed(COMPLETIONS[name], "{}"))


@pytest.mark.parametrize("text", ['{"error":null}', "{}"])
def test_the_gateway_has_an_error_only_where_the_upstream_gave_one(text: str) -> None:
    found = json.loads(completed(members.GATEWAY, text))
    assert ("error" in found) == ("error" in text)
    assert found["usage"] is None


@pytest.mark.parametrize("text", ['{"object":"response.compaction"}', '{"object":"response.deleted"}'])
def test_what_is_no_response_stays(text: str) -> None:
    assert completed(members.OPPER, text) == text


def test_every_source_of_members_is_used() -> None:
    made = {
        source for of in COMPLETIONS.values() for source in of.members.values() if isinstance(source, Made)
    }
    assert made == set(Made)
    assert (OPENRESPONSES.completion, OPPER.completion) == (None, members.OPPER)


# --- any response


def json_values() -> st.SearchStrategy[Any]:
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=6)
    )
    return st.recursive(
        scalars,
        lambda of: st.lists(of, max_size=2) | st.dictionaries(st.text(max_size=4), of, max_size=2),
        max_leaves=4,
    )


def objects() -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(sorted({*REQUIRED["openrouter"].split(), "usage"} - {"object"})) | st.text(
        max_size=4
    )
    return st.dictionaries(names.filter(lambda name: name != "object"), json_values(), max_size=8)


@settings(max_examples=60)
@given(objects(), objects(), st.sampled_from(sorted(REQUIRED)), st.sampled_from(["", *sorted(STATUSES)]))
def test_completion_adds_and_changes_nothing_that_is_there(
    given: Any, request: Any, name: str, word: str
) -> None:
    completion = COMPLETIONS[name]
    event = f"response.{word}" if word else ""
    text = json.dumps(given)
    made = completed(completion, text, request, event)
    found = json.loads(made)
    status = found["status"] if isinstance(found["status"], str) else STATUSES.get(word)
    later = {"output_text"} if status in ("queued", "in_progress") else set()
    assert {*REQUIRED[name].split(), *given} - later <= found.keys()
    document.parse(made)
    assert completed(completion, made, request, event) == made
    if name != "julep":
        assert made.endswith(text[1:])
        assert {key: found[key] for key in given} == json.loads(text)


@settings(max_examples=40)
@given(objects(), objects())
def test_a_response_of_julep_keeps_what_its_form_does_not_change(given: Any, request: Any) -> None:
    found = json.loads(completed(members.JULEP, json.dumps(given), request))
    assert {key: found[key] for key in given if key not in ("output", "model")} == {
        key: value for key, value in given.items() if key not in ("output", "model")
    }


# --- julep


def test_texts_alone_are_a_string() -> None:
    output = [{"type": "reasoning", "summary": []}, message("one "), message("two")]
    found = json.loads(completed(members.JULEP, json.dumps({"output": output})))
    assert found["output"] == found["output_text"] == "one two"


PART = {"type": "output_text", "text": "x"}


@pytest.mark.parametrize(
    "more",
    [
        CALL,
        {"type": "web_search_call"},
        {"type": "new", "content": [PART]},
        {"type": "reasoning", "summary": [], "encrypted_content": "c2VhbGVk"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "message", "content": [{**PART, "annotations": [{"type": "url_citation"}]}]},
        {"type": "message", "content": [{**PART, "logprobs": [{}]}]},
        {"type": "message", "content": [PART, {"type": "refusal", "refusal": "no"}]},
        {"type": "message", "content": [{"type": "new", "text": "x"}]},
        {"type": "message", "content": [{"type": "output_text"}]},
        {"type": "message", "content": ["x"]},
        {"type": "message", "content": "x"},
        "x",
        5,
    ],
)
def test_what_a_string_could_not_hold_stays_a_list(more: Any) -> None:
    output = [message("one"), more]
    found = json.loads(completed(members.JULEP, json.dumps({"output": output})))
    assert found["output"] == output
    assert found["output_text"].startswith("one")


def test_an_output_of_another_form_stays() -> None:
    assert json.loads(completed(members.JULEP, '{"output":"x"}'))["output_text"] == "x"
    assert json.loads(completed(members.JULEP, '{"output":null}'))["output"] is None
    assert json.loads(completed(members.JULEP, "{}"))["output"] == ""


def test_the_model_is_as_the_client_spelled_it() -> None:
    given = '{"model":"gpt-4o-2024-08-06"}'
    found = json.loads(completed(members.JULEP, given, {"model": "gpt-4o"}, asked="openai@gpt-4o"))
    assert found["model"] == "openai@gpt-4o"
    assert json.loads(completed(members.JULEP, given, {"model": "gpt-4o"}))["model"] == "gpt-4o"
    assert json.loads(completed(members.JULEP, given, {}))["model"] == "gpt-4o-2024-08-06"
    assert json.loads(completed(members.OPPER, given, asked="openai@gpt-4o"))["model"] == "gpt-4o-2024-08-06"


def test_a_model_that_is_spelled_so_already_stays_to_the_byte() -> None:
    assert '"model":"\\u006d-1"' in completed(members.JULEP, '{"model":"\\u006d-1"}')


@pytest.mark.parametrize(
    ("given", "store"), [('{"store":false}', True), ('{"store":null}', True), ("{}", None)]
)
def test_what_is_stored_here_says_so_where_the_upstream_says_otherwise(given: str, store: Any) -> None:
    edits = Edits()
    Completer(members.JULEP, b"{}", "r", stored=True).complete(json.loads(given), edits)
    assert json.loads(edits.apply(given)).get("store") is store


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, ""),
        ([message("a"), CALL, message("b")], "ab"),
        ([{"type": "message", "content": [{"type": "refusal", "refusal": "no"}, PART]}], "x"),
        ([{"type": "new", "content": [PART]}, {"type": "message"}], ""),
        ([{"type": "message", "content": ["a", {"type": "new", "text": "b"}, PART]}], "x"),
        (document.parse("[5]"), ""),
        (document.parse("5"), ""),
        (document.parse('[{"type":"message","content":[{"type":"output_text","text":5}]}]'), ""),
    ],
)
def test_text_of(output: Any, text: str) -> None:
    assert text_of(output) == text


# --- a stream's events


def test_what_an_event_said_later_ones_say_again() -> None:
    completer = Completer(members.OPENROUTER, b'{"model":"m","tools":[{"type":"x"}]}', "resp_own")

    def said(text: str, event: str) -> Any:
        edits = Edits()
        completer.complete(document.parse(text), edits, (), event)
        return json.loads(edits.apply(text))

    first = said('{"id":"resp_1","created_at":5,"model":"m-2025","temperature":0.5}', "response.created")
    last = said("{}", "response.completed")
    for name in ("id", "created_at", "model", "temperature", "tools", "object"):
        assert first[name] == last[name]
    assert (last["id"], last["created_at"], last["model"], last["temperature"]) == (
        "resp_1",
        5,
        "m-2025",
        0.5,
    )
    assert (first["status"], last["status"]) == ("in_progress", "completed")
    assert (first["completed_at"], first["output"]) == (None, [])
    assert last["completed_at"] is not None
    assert "output_text" not in first


def test_of_what_an_event_said_only_single_values_are_said_again() -> None:
    completer = Completer(members.OPENROUTER, json.dumps(ASKED).encode(), "resp_own")
    told: dict[str, Any] = {
        "instructions": None,
        "tools": [{"type": "web"}],
        "metadata": {},
        "parallel_tool_calls": True,
        "status": "in_progress",
        "completed_at": None,
    }
    edits = Edits()
    completer.complete(document.parse(json.dumps(told)), edits, (), "response.created")
    edits = Edits()
    completer.complete({}, edits, (), "response.completed")
    last = json.loads(edits.apply("{}"))
    assert (last["instructions"], last["parallel_tool_calls"]) == (None, True)
    assert (last["tools"], last["metadata"]) == (ASKED["tools"], ASKED["metadata"])
    assert (last["status"], last["completed_at"] is None) == ("completed", False)


def test_a_response_that_waits_has_no_text_yet() -> None:
    found = json.loads(completed(members.OPENROUTER, "{}", event="response.queued"))
    assert (found["status"], found["completed_at"]) == ("queued", None)
    assert "output_text" not in found


@pytest.mark.parametrize("event", ["response.output_text.delta", "response.odd", "error"])
def test_events_that_tell_of_no_state_of_it_stay(event: str) -> None:
    assert completed(members.OPPER, "{}", event=event) == "{}"
