"""Facts are read leniently, and only names become facts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.exchange import Exchange
from guardproxy.facts import of_answer, of_document, of_request, of_response, of_stream, of_trace
from guardproxy.types import Number


def exchange() -> Exchange:
    return Exchange("POST", "/v1/responses", {})


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model":"gpt-4.1","stream":true}', "gpt-4.1", True),
        (b'{"model":"my secret words"}', None, False),
        (b'{"model":5,"stream":"yes"}', None, False),
        (b"not json", None, False),
        (b"[" * 5000, None, False),
        (b"\xff", None, False),
    ],
)
def test_requests(body: bytes, model: str | None, stream: bool) -> None:
    made = exchange()
    of_request(made, body)
    assert (made.model, made.stream) == (model, stream)


@pytest.mark.parametrize(
    ("model", "fact"), [("m", "m"), ("two words", None), (Number("5"), None), (None, None)]
)
def test_documents(model: object, fact: str | None) -> None:
    made = exchange()
    of_document(made, {"model": model, "stream": True})
    assert (made.model, made.stream) == (fact, True)


def test_answers() -> None:
    made = exchange()
    of_answer(
        made, b'{"id":"resp_1","model":"m","usage":{"input_tokens":3,"output_tokens":"x","total_tokens":9}}'
    )
    assert (made.response_id, made.response_model) == ("resp_1", "m")
    assert made.usage == {"input_tokens": 3, "total_tokens": 9}
    of_answer(made, b"<html>")
    assert made.response_id == "resp_1"


@pytest.mark.parametrize(
    ("usage", "known"),
    [
        (
            {"input_tokens_details": {"cached_tokens": 2}, "input_tokens": 3},
            {"cached_tokens": 2, "input_tokens": 3},
        ),
        ({"output_tokens_details": {"reasoning_tokens": 4, "other": 5}}, {"reasoning_tokens": 4}),
        ({"output_tokens_details": [1], "input_tokens_details": None}, {}),
        ({"input_tokens": Number("12"), "output_tokens": "x"}, {"input_tokens": 12}),
        # Digits in the place of a count could be a text: a card's, a telephone's.
        ({"input_tokens": 4111_1111_1111_1111, "output_tokens": "5551234567", "total_tokens": -1}, {}),
        ({"input_tokens": True, "output_tokens": 1.5, "total_tokens": "٣"}, {}),
    ],
)
def test_tokens(usage: dict[str, object], known: dict[str, int]) -> None:
    made = exchange()
    of_response(made, {"usage": usage})
    assert made.usage == known


HEX = "4bf92f3577b34da6a3ce929d0e0e4736"
UUID = "0190f5f0-1111-7222-8333-444455556666"


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (f'{{"trace":{{"trace_id":"{HEX}","parent_span_id":"{UUID}","a":1}}}}', [HEX, UUID]),
        (f'{{"input":"x","trace":{{"parent_span_id":"{UUID}"}}}}', [None, UUID]),
        ('{"trace":{"trace_id":"my secret words","parent_span_id":5}}', ["", ""]),
        ('{"trace":{"trace_id":null}}', [None, None]),
        ('{"trace":"words"}', [None, None]),
        (f'{{"metadata":{{"trace":{{"trace_id":"{HEX}"}}}}}}', [None, None]),
        (f'{{"trace":{{"trace_id":"{HEX}"', [None, None]),
    ],
)
def test_ids_of_a_trace(body: str, ids: list[str | None]) -> None:
    made = exchange()
    of_trace(made, body.encode())
    assert [made.trace.get("trace_id"), made.trace.get("parent_span_id")] == ids


def told(*events: dict[str, Any] | str) -> bytes:
    datas = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return b"".join(f"event: x\ndata: {data}\n\n".encode() for data in datas)


DELTA = {"type": "response.output_text.delta", "delta": "x"}
COMPLETED = {
    "type": "response.completed",
    "response": {"id": "resp_1", "model": "m", "status": "completed", "usage": {"input_tokens": 3}},
}


@pytest.mark.parametrize(
    ("tail", "ends"),
    [
        (told(DELTA, COMPLETED), True),
        (told(DELTA, COMPLETED, "[DONE]"), True),
        (told(DELTA, COMPLETED).replace(b"\n", b"\r\n"), True),
        (b'"half":"a line"}\n\n' + told(COMPLETED), True),
        (told(DELTA), False),
        (told(DELTA, "[DONE]"), True),
        (told(DELTA)[:-20], True),  # nobody knows
        (told({"type": "error", "message": "no"}), True),
        (told({"type": ["response."]}), True),
        (told({"type": "message_stop"}), True),
        (told("[DONE]"), True),
        (b"", True),
        (b"\x1f\x8b\x08 packed", True),
        (b"data: " + b"[" * 100_000, True),
    ],
)
def test_the_last_event_of_a_stream_says_how_it_ended(tail: bytes, ends: bool) -> None:
    exchange = Exchange("POST", "/v1/responses", {})
    assert of_stream(exchange, tail) is ends
    known = b'"usage"' in tail
    assert exchange.usage == ({"input_tokens": 3} if known else {})
    assert exchange.response_status == ("completed" if known else None)
    assert exchange.response_failed is (b'"error"' in tail)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_stream(tail: bytes) -> None:
    of_stream(Exchange("POST", "/v1/responses", {}), b"data: " + tail)
