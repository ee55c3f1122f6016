"""Facts are read leniently, and only names become facts."""

import pytest

from guardproxy.exchange import Exchange
from guardproxy.facts import of_answer, of_request


def exchange() -> Exchange:
    return Exchange("POST", "/v1/responses", {})


@pytest.mark.parametrize(
    ("body", "model", "stream", "background"),
    [
        (b'{"model":"gpt-4.1","stream":true}', "gpt-4.1", True, False),
        (b'{"model":"my secret words","background":true}', None, False, True),
        (b'{"model":5,"stream":"yes"}', None, False, False),
        (b"not json", None, False, False),
        (b"[" * 5000, None, False, False),
        (b"\xff", None, False, False),
    ],
)
def test_requests(body: bytes, model: str | None, stream: bool, background: bool) -> None:
    made = exchange()
    assert of_request(made, body) is background
    assert (made.model, made.stream) == (model, stream)


def test_answers() -> None:
    made = exchange()
    of_answer(
        made, b'{"id":"resp_1","model":"m","usage":{"input_tokens":3,"output_tokens":"x","total_tokens":9}}'
    )
    assert (made.response_id, made.response_model) == ("resp_1", "m")
    assert made.usage == {"input_tokens": 3, "total_tokens": 9}
    of_answer(made, b"<html>")
    assert made.response_id == "resp_1"
