"""Facts are read leniently, and only names become facts."""

import pytest

from guardproxy.document import Number
from guardproxy.exchange import Exchange
from guardproxy.facts import of_answer, of_document, of_request


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
