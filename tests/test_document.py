"""Where text lives, and that putting text back changes nothing else."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.document import (
    MAX_DEPTH,
    Edits,
    dumps,
    keys_at,
    member,
    members,
    outer,
    parse,
    quote,
    spans,
    walk,
    with_members,
    without,
)
from guardproxy.errors import Uninspectable
from guardproxy.shapes import EVENT, FREE, PART, REQUEST, RESPONSE
from guardproxy.types import Number, PathMark

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def texts(document: Any, shape: Any = REQUEST) -> dict[str, str]:
    """Pointers (as tuples of strings) of all text parts that are no names."""
    from guardproxy.types import pointer

    return {
        pointer(p.path): p.text for p in walk(parse(json.dumps(document)), shape).parts if not p.structural
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"a":1,"a":2}', "a key occurs twice"),
        ('{"a":1,"\\u0061":2}', "a key occurs twice"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "Infinity is not JSON"),
        ("[1,]", "not valid JSON"),
        ("[" * 100_000, "nested deeper"),
    ],
)
def test_what_is_not_json_is_named(body: str, message: str) -> None:
    with pytest.raises(Uninspectable, match=message):
        parse(body)


def deep(opening: str, levels: int) -> str:
    return opening * levels + "1" + ("]" if opening == "[" else "}") * levels


def called_from(frames: int, document: Any) -> Any:
    return called_from(frames - 1, document) if frames else walk(document, FREE)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("frames", [0, 400])
def test_depth_over_500_is_refused_by_the_walk_whoever_calls(opening: str, frames: int) -> None:
    with pytest.raises(Uninspectable, match="nested deeper than 500"):
        called_from(frames, parse(deep(opening, MAX_DEPTH + 1)))
    assert called_from(frames, parse(deep(opening, MAX_DEPTH))).parts == []


def test_numbers_stay_as_they_were_written() -> None:
    assert parse("[1e400, 12345678901234567890, 1.50]") == ["1e400", "12345678901234567890", "1.50"]
    assert all(isinstance(value, Number) for value in parse("[1e400, 2]"))


def test_every_text_of_a_request_is_found() -> None:
    request = {
        "model": "gpt-4.1",
        "instructions": "be kind",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"to": {"x": "ada"}}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "it rains"},
            {"type": "never_heard_of", "note": "unknown items are text", "name": "so is this"},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "sends", "parameters": {"title": "T one"}}
        ],
        "metadata": {"who": "ada"},
        "user": "ada lovelace",
        "shiny_new_field": {"deep": ["text"]},
        "prompt": {"id": "pmpt_1", "variables": {"city": "Paris"}},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"description": "a schema"}}},
    }
    found = texts(request)
    for pointer, text in {
        "/instructions": "be kind",
        "/input/0/content/0/text": "hello",
        "/input/1/arguments#/to/x": "ada",
        "/input/2/output": "it rains",
        "/input/3/note": "unknown items are text",
        "/input/3/name": "so is this",
        "/tools/0/description": "sends",
        "/tools/0/parameters/title": "T one",
        "/metadata/who": "ada",
        "/user": "ada lovelace",
        "/shiny_new_field/deep/0": "text",
        "/prompt/variables/city": "Paris",
        "/text/format/schema/description": "a schema",
    }.items():
        assert found.get(pointer) == text, pointer
    assert "/model" not in found
    assert "/input/1/call_id" not in found


def test_a_name_that_does_not_look_like_one_is_text() -> None:
    assert texts({"model": "call me on 555 0100"}) == {"/model": "call me on 555 0100"}


@pytest.mark.parametrize(
    "request_",
    [
        {"previous_response_id": "see it here"},
        {"input": [{"content": [{"type": "input_file", "file_id": "see it here"}]}]},
    ],
)
def test_an_id_of_several_words_is_text(request_: Any) -> None:
    assert list(texts(request_).values()) == ["see it here"]


def test_structure_is_looked_at_for_validated_matches() -> None:
    (part,) = walk(
        parse('{"input": [{"type": "function_call_output", "call_id": "ghp_abcdefg1"}]}'), REQUEST
    ).parts
    assert (part.text, part.structural) == ("ghp_abcdefg1", True)


def test_long_numbers_and_keys_are_text() -> None:
    found = walk(parse('{"input": [{"x": 4111111111111111}], "a key with words": 1}'), REQUEST).parts
    assert [(p.text, p.path[-1]) for p in found] == [
        ("4111111111111111", "x"),
        ("a key with words", PathMark.KEY),
    ]


@pytest.mark.parametrize("value", ["data:text/plain;base64,", "data:text/plain,", ""])
def test_text_inside_of_files_is_decoded_and_put_back(value: str) -> None:
    inside = "my file says TAG"
    packed = base64.b64encode(inside.encode()).decode()
    data = value + (inside.replace(" ", "%20") if value.endswith("plain,") else packed)
    text = json.dumps({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": data}]}]})
    (part,) = [p for p in walk(parse(text), REQUEST).parts if p.path[-1] is PathMark.DATA]
    assert part.text == inside
    new = Edits({part.path: "my file says [X]"}).apply(text)
    (again,) = [p for p in walk(parse(new), REQUEST).parts if p.path[-1] is PathMark.DATA]
    assert again.text == "my file says [X]"


PACKED = base64.b64encode(b"see TAG-1234").decode()


def told(value: str) -> tuple[str, list[Any]]:
    text = json.dumps({"file_data": value})
    return text, [part for part in walk(parse(text), PART).parts if not part.structural]


def sent(value: str, changed: dict[Any, str]) -> str:
    text, _ = told(value)
    found: str = json.loads(Edits(changed).apply(text))["file_data"]
    return found


@pytest.mark.parametrize(
    ("value", "head"),
    [
        (f"DATA:text/plain;BASE64,{PACKED}", "DATA:text/plain;BASE64,"),
        (f"data:text/plain;charset=utf-8;base64,{PACKED}", "data:text/plain;charset=utf-8;base64,"),
        (f"data:text/plain;base64,%63{PACKED[1:]}", "data:text/plain;base64,"),
        (f"data:image/svg+xml;base64,{PACKED}", "data:image/svg+xml;base64,"),
        (f"data:;base64,{PACKED}", "data:;base64,"),
        ("data:,see%20TAG-1234", "data:;base64,"),
        (f"{PACKED[:4]} {PACKED[4:]}", ""),
    ],
)
def test_what_is_spelled_as_usual_keeps_its_head(value: str, head: str) -> None:
    _, (part,) = told(value)
    assert part.text == "see TAG-1234"
    assert sent(value, {part.path: "[X]"}) == head + base64.b64encode(b"[X]").decode()


@pytest.mark.parametrize(
    ("value", "stands", "head"),
    [
        (f" data:text/csv;base64,{PACKED}", " data:text/csv;base64", "data:text/plain;base64,"),
        (f"d\nata:text/csv;bas\te64,{PACKED}", "d\nata:text/csv;bas\te64", "data:text/plain;base64,"),
        (f"data:text/csv; base64,{PACKED}", "data:text/csv; base64", "data:text/csv;base64,"),
        (f"data:text/csv;n=TAG;base64,{PACKED}", "data:text/csv;n=TAG;base64", "data:text/csv;base64,"),
        ("data:TAG,see%20TAG-1234", "data:TAG", "data:text/plain;base64,"),
        (f"data:text/csv;base64,{PACKED[:4]}!{PACKED[4:]}", "", "data:text/csv;base64,"),
        (f"data:text/csv;base64;n=TAG,{PACKED}", "", "data:text/csv;base64,"),
        (f"data:base64,{PACKED}", "", "data:text/plain;base64,"),
        (f"{PACKED[:4]}!{PACKED[4:]}", "", ""),
    ],
)
def test_of_what_is_spelled_otherwise_only_the_data_stay(value: str, stands: str, head: str) -> None:
    _, (first, inside) = told(value)
    assert (first.text, inside.text) == (stands or value, "see TAG-1234")
    changed = {first.path: first.text.replace("TAG", "[X]"), inside.path: "[X]"}
    assert sent(value, changed) == head + base64.b64encode(b"[X]").decode()


def test_the_head_of_an_image_is_a_text() -> None:
    value = "data:image/png;name=TAG;base64,/+8="
    _, (head,) = told(value)
    assert head.text == "data:image/png;name=TAG;base64"
    assert sent(value, {head.path: "data:image/png;name=[X];base64"}) == "data:image/png;base64,/+8="


def test_a_usual_head_is_looked_at_as_a_name() -> None:
    parts = walk(parse(json.dumps({"image_url": "data:text/ghp_1234;base64,/+8="})), PART).parts
    assert ("data:text/ghp_1234;base64", True) in [(part.text, part.structural) for part in parts]


def test_a_number_of_any_length_can_be_redacted() -> None:
    assert Edits({("a",): "[X]"}).apply('{"a": ' + "1" * 5000 + "}") == '{"a": "[X]"}'


@pytest.mark.parametrize("kind", ["function_call_output", "custom_tool_call_output", "mcp_call"])
@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (' {"a": ["\\u0054AG-1234"]}', {"#/a/0": "TAG-1234"}),
        ('["x y"]', {"#/0": "x y"}),
        ('"x y"', {"": '"x y"'}),
        ("12345678", {"": "12345678"}),
        ("[info] x", {"": "[info] x"}),
        (r'{"a": "\d"}', {"": r'{"a": "\d"}'}),
        ([{"type": "output_text", "text": "x y"}], {"/0/text": "x y"}),
    ],
)
def test_a_result_that_is_json_is_decoded(kind: str, output: Any, expected: dict[str, str]) -> None:
    found = texts({"input": [{"type": kind, "output": output}]})
    assert found == {f"/input/0/output{path}": text for path, text in expected.items()}


def test_what_cannot_be_read_is_named() -> None:
    parts = [
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_data": base64.b64encode(b"\xff\xfe\x00").decode()},
    ]
    request = {"previous_response_id": "resp_1", "input": [{"role": "user", "content": parts}]}
    skipped = walk(parse(json.dumps(request)), REQUEST).skipped
    assert skipped == {"previous_response_id": 1, "image": 1, "file_id": 1, "file": 1}


def test_sealed_content_of_a_response() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "encrypted_content": "gAAA",
        "summary": [{"type": "summary_text", "text": "hm"}],
    }
    walked = walk(parse(json.dumps({"output": [item]})), RESPONSE)
    assert walked.skipped == {"encrypted": 1}
    assert [p.text for p in walked.parts if not p.structural] == ["hm"]


def test_padding_is_passed_over_and_tokens_are_not() -> None:
    event = {"type": "x", "delta": "a", "obfuscation": "xyz", "logprobs": [{"token": "a b"}]}
    assert [p.text for p in walk(parse(json.dumps(event)), EVENT).parts] == ["a", "a b"]


@given(JSONS, st.sampled_from([None, 1]), st.booleans())
def test_spans_are_those_of_the_values(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for path, start, end in spans(text):
        found: Any = value
        if path[-1:] == (PathMark.KEY,):
            found = path[-2]
        else:
            for step in path:
                found = found[step]
        if not isinstance(found, dict | list):
            assert json.loads(text[start:end]) == found


@given(JSONS, st.sampled_from([None, 1]), st.data())
def test_the_spans_of_wanted_paths_are_those_among_all(value: Any, indent: int | None, data: Any) -> None:
    text = json.dumps(value, indent=indent)
    every = list(spans(text))
    wanted = data.draw(st.sets(st.sampled_from([path for path, _, _ in every]), max_size=3))
    wanted |= {("no", "such", 7), (PathMark.KEY,)}
    some = list(spans(text, wanted))
    assert [span for span in some if span[0] in wanted] == [span for span in every if span[0] in wanted]
    assert set(some) <= set(every)


@given(JSONS, st.text(max_size=10))
def test_edits_change_their_texts_and_nothing_else(value: Any, new: str) -> None:
    text = json.dumps({"a": value, "b": value}, indent=1)
    parts = [p for p in walk(parse(text), FREE).parts if p.path[-1] is not PathMark.KEY and p.path[0] == "a"]
    edited = Edits({part.path: new for part in parts[::2]}).apply(text)
    expected = json.loads(text)
    for part in parts[::2]:
        holder = expected
        for step in part.path[:-1]:
            holder = holder[step]
        holder[part.path[-1]] = new
    assert json.loads(edited) == expected
    assert edited.endswith(text[text.rindex('"b": ') :])


def test_arguments_stay_json_when_they_are_redacted() -> None:
    text = '{"arguments" : "{\\"a\\": \\"x \\\\u0054AG\\", \\"n\\": 1e5}"}'
    edits = Edits({("arguments", PathMark.PARSED, "a"): 'say "hi"'})
    assert json.loads(json.loads(edits.apply(text))["arguments"]) == {"a": 'say "hi"', "n": 1e5}
    assert "1e5" in edits.apply(text)


def test_a_redacted_key() -> None:
    assert Edits({("a", PathMark.KEY): "[X]"}).apply('{"a": 1, "b": "a"}') == '{"[X]": 1, "b": "a"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{}", '{"x":1}'), ('{ "a": 2}', '{"x":1, "a": 2}'), ("[ ]", None)],
)
def test_insert_into_objects(text: str, expected: str | None) -> None:
    edits = Edits(insert={(): '"x":1' if text[0] == "{" else "1"})
    assert edits.apply(text) == (expected or "[1 ]")


def test_members() -> None:
    text = '{"a": {"x": [1, "]"]}, "b": 2}'
    assert member(text, ("a",)) == '{"x": [1, "]"]}'
    assert member(text, ("c",)) is None
    assert json.loads(with_members(text, {"a": "0", "c": "[3]"})) == {"a": 0, "b": 2, "c": [3]}


@pytest.mark.parametrize(
    ("gone", "left"), [([0], "[ 2 , 3 ]"), ([2], "[1,2]"), ([0, 1, 2], "[]"), ([], None)]
)
def test_without_elements(gone: list[int], left: str | None) -> None:
    text = '{"input": [ 1 , 2 , 3 ], "b": [1]}'
    expected = [v for i, v in enumerate([1, 2, 3]) if i not in gone]
    assert json.loads(without(text, ("input",), gone)) == {"input": expected, "b": [1]}


@given(st.text())
def test_quoted_texts_can_be_sent(text: str) -> None:
    assert json.loads(quote(text)) == text
    assert json.loads(dumps({"a": text}).encode()) == {"a": text}


def test_lone_surrogates_stay_escaped() -> None:
    assert quote("\ud800") == '"\\ud800"'


def test_paths_for_people() -> None:
    path = ("input", 0, "arguments", PathMark.PARSED, "a/b", PathMark.KEY)
    assert outer(path) == ("input", 0, "arguments")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ((), {"a"}),
        (("a",), {"b", "c"}),
        (("a", "b", PathMark.PARSED), {"d"}),
        (("a", "c"), set()),
        (("a", "c", 0), set()),
        (("a", "b", PathMark.DATA), set()),
    ],
)
def test_keys_at(path: Any, keys: set[str]) -> None:
    assert keys_at({"a": {"b": '{"d": 1}', "c": [1]}}, path, {}) == keys


def test_members_are_taken_as_they_stand_but_for_blanks() -> None:
    text = '{"a" : [ 1.0, {"b" :\r\n "x  \\" y"} ], "c":1e5, "d":{"a":2}, "\\u0065":true}'
    found = members(text, {"a", "c", "e", "z"})
    assert found == {"a": '[1.0,{"b":"x  \\" y"}]', "c": "1e5", "e": "true"}
