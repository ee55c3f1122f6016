"""What an answer cost."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from guardproxy import LocalReply, hookimpl
from guardproxy.prices import Price, cost, is_same, of_model, plain
from tests.harness import message, proxy, sse, streaming, text_events, whole

GPT, MINI, LLAMA = (
    Price(Decimal(given), Decimal(made)) for given, made in (("2", "8"), ("0.4", "1.6"), ("0", "0"))
)
PRICES = {"gpt-4.1": GPT, "gpt-4.1-mini": MINI, "llama-*": LLAMA, "*": Price(Decimal(9), Decimal(9))}
USAGE = {"input_tokens": 1000, "output_tokens": 100}


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4.1", GPT),
        ("gpt-4.1-2025-04-14", GPT),
        ("gpt-4.1-20250414", GPT),
        ("gpt-4.1-0414", GPT),
        ("gpt-4.1-mini-2025-04-14", MINI),
        ("llama-3.3-70b", LLAMA),
        ("gpt-4.1-nano", PRICES["*"]),
        (None, None),
    ],
)
def test_a_name_counts_before_a_pattern_and_the_first_pattern_before_others(
    model: str | None, price: Price | None
) -> None:
    assert of_model(PRICES, model) is price


@pytest.mark.parametrize(
    ("answered", "asked", "expected"),
    [
        ("gpt-4.1-2025-04-14", "alias", "0.0028"),
        ("unknown", "gpt-4.1-mini", "0.00056"),
        (None, "gpt-4.1", "0.0028"),
        ("unknown", "unknown", None),
        (None, None, None),
    ],
)
def test_the_model_that_answered_counts_or_else_the_one_asked_for(
    answered: str | None, asked: str | None, expected: str | None
) -> None:
    known = {"gpt-4.1": GPT, "gpt-4.1-mini": MINI}
    assert cost(known, answered, asked, USAGE) == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize("usage", [{}, {"input_tokens": 5}, {"output_tokens": 5}, {"total_tokens": 9}])
def test_tokens_that_are_not_known_have_no_cost(usage: dict[str, int]) -> None:
    assert cost(PRICES, "gpt-4.1", None, usage) is None


def test_cached_tokens_have_a_price_of_their_own() -> None:
    cached = {**USAGE, "cached_tokens": 600}
    assert cost({"m": Price(Decimal(2), Decimal(8), Decimal("0.5"))}, "m", None, cached) == Decimal("0.0019")
    assert cost({"m": GPT}, "m", None, cached) == Decimal("0.0028")
    more = {**USAGE, "cached_tokens": 5000}  # of more than there are
    assert cost({"m": Price(Decimal(2), Decimal(8), Decimal(0))}, "m", None, more) == Decimal("0.0008")


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.decimals(0, 1000, places=4))
def test_a_cost_is_exact_and_plain(given: int, made: int, price: Decimal) -> None:
    found = cost({"m": Price(price, price)}, "m", None, {"input_tokens": given, "output_tokens": made})
    assert found is not None
    assert found * 10**6 == price * (given + made)
    assert Decimal(plain(found)) == found
    assert set(plain(found)) <= set("0123456789.")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.00001", "0.00001"),
        ("1E-7", "0.0000001"),
        ("2.500", "2.5"),
        ("1E+2", "100"),
        ("0.0", "0"),
        ("10", "10"),
    ],
)
def test_plain(amount: str, text: str) -> None:
    assert plain(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4.1", "gpt-4.1", True),
        ("gpt-4.1", "gpt-4.1-2025-04-14", True),
        ("gpt-4.1-2025-04-14", "gpt-4.1", True),
        ("claude-latest", "claude-20250101", True),
        ("GPT-4", "gpt-4-0613", True),
        ("gpt-4.1-2025-04-14", "gpt-4.1-2024-01-01", False),
        ("gpt-4.1", "gpt-4.1-mini", False),
        ("gpt-4.1", "gpt-4.1-mini-2025-04-14", False),
    ],
)
def test_a_date_alone_makes_no_other_model(asked: str, answered: str, same: bool) -> None:
    assert is_same(asked, answered) is same


# --- through the proxy

TOKENS = {"input_tokens": 10, "output_tokens": 5}
OPPER = "/v3/compat/openresponses"


@pytest.mark.parametrize("path", ["/v1/responses", OPPER])
@pytest.mark.parametrize("guards", [{}, {"x-opper-guard-output": "tags"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_cost_is_in_the_log_and_on_the_exchange_behind_every_door(
    path: str, guards: dict[str, str], stream: bool
) -> None:
    *events, last = text_events("hi")
    last = {**last, "response": {**last["response"], "usage": TOKENS}}
    upstream = streaming(sse([*events, last])) if stream else whole(message("hi"), usage=TOKENS)
    with capture_logs() as logged:
        async with proxy(upstream, prices={"m": GPT}, made=None if guards else {}) as client:
            got = await client.post({"model": "m", "input": "x", "stream": stream}, guards, path)
            assert client.recorder.exchanges[0].cost_usd == Decimal("0.00006")
    assert logged[-1]["cost_usd"] == 0.00006
    told = path == OPPER and not stream
    assert got.headers.get("x-opper-cost") == ("0.00006" if told else None)


class Local:
    @hookimpl
    def guardproxy_before_forward(self) -> LocalReply:
        return LocalReply(200, {"model": "m", "usage": TOKENS})


@pytest.mark.parametrize(
    ("given", "usage", "request_of"),
    [
        ({}, TOKENS, ("POST", "")),
        ({"prices": {"other": GPT}}, TOKENS, ("POST", "")),
        ({"prices": {"m": GPT}}, None, ("POST", "")),
        ({"prices": {"m": GPT}, "plugins": [Local()]}, TOKENS, ("POST", "")),
        ({"prices": {"m": GPT}}, TOKENS, ("GET", "/resp_1")),  # it was paid for when it was made
    ],
)
async def test_a_cost_that_is_not_known_is_nowhere(
    given: dict[str, object], usage: object, request_of: tuple[str, str]
) -> None:
    method, tail = request_of
    with capture_logs() as logged:
        async with proxy(whole(message("hi"), usage=usage), made={}, **given) as client:  # type: ignore[arg-type]
            body = b"" if tail else {"model": "m", "input": "x"}
            got = await client.post(body, path=OPPER + tail, method=method)
            assert client.recorder.exchanges[0].cost_usd is None
    assert "cost_usd" not in logged[-1]
    assert "x-opper-cost" not in got.headers
    assert b"cost_usd" not in got.body


async def test_an_answer_that_is_compacted_has_a_cost_and_one_that_was_blocked_too() -> None:
    async with proxy(whole(message("TAG-1234"), usage=TOKENS), prices={"m": GPT}) as client:
        await client.post({"model": "m", "input": "x"}, path="/v1/responses/compact")
        blocked = await client.post(
            {"model": "m", "input": "x"}, {"x-opper-guard-output": "tags=block"}, OPPER
        )
        assert blocked.status == 400
        assert [exchange.cost_usd for exchange in client.recorder.exchanges] == [Decimal("0.00006")] * 2
