"""A real engine behind guardproxy, read by the OpenAI SDK: what it says comes out redacted in every mode."""

import pytest

from tests.engine.conftest import GUARDED, Connect
from tests.engine.forcing import say

pytestmark = pytest.mark.engine

TEXT = "Card 4111 1111 1111 1111, mail ada@example.org, thanks."
SAFE = "Card [CREDIT_CARD], mail [EMAIL_ADDRESS], thanks."
CLEAN = "The quick brown fox has nothing to hide."


@pytest.mark.parametrize(("said", "told"), [(TEXT, SAFE), (CLEAN, CLEAN)])
def test_whole(proxy_url: str, connect: Connect, said: str, told: str) -> None:
    answer = connect(proxy_url, GUARDED).responses.with_raw_response.create(**say(said))
    assert answer.parse().output_text == told
    outcome = "clean" if said == told else "redacted"
    assert answer.headers["x-guardproxy-verdict"] == f"input=off, output={outcome}"


@pytest.mark.parametrize(("said", "told"), [(TEXT, SAFE), (CLEAN, CLEAN)])
def test_streamed(proxy_url: str, connect: Connect, said: str, told: str) -> None:
    with connect(proxy_url, GUARDED).responses.create(**say(said), stream=True) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) == len(said)
    assert "".join(deltas) == told
    assert [event.text for event in events if event.type == "response.output_text.done"] == [told]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == told
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize(("said", "told"), [(TEXT, SAFE), (CLEAN, CLEAN)])
def test_stream_helper(proxy_url: str, connect: Connect, said: str, told: str) -> None:
    with connect(proxy_url, GUARDED).responses.stream(**say(said)) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == told
    assert final.output_text == told


def test_reasoning_and_message_are_both_redacted(proxy_url: str, connect: Connect) -> None:
    said = f"<think>\n{TEXT}\n</think>\n\n{TEXT}"
    with connect(proxy_url, GUARDED).responses.stream(**say(said)) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert not [event for event in events if "4111" in repr(event) or "ada@" in repr(event)]
    thought = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(thought).strip() == SAFE
    assert final.output_text == SAFE
    message = final.output[1]
    assert message.type == "message"
    told = [event for event in events if event.type == "response.output_text.delta"]
    assert {(event.item_id, event.output_index) for event in told} == {(message.id, 1)}


def test_without_guards_the_engine_is_heard_as_it_is(proxy_url: str, connect: Connect) -> None:
    assert connect(proxy_url).responses.create(**say(TEXT)).output_text == TEXT


def test_block(proxy_url: str, connect: Connect) -> None:
    import openai

    client = connect(proxy_url, GUARDED | {"X-Opper-Guard-Action": "block"})
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**say(TEXT))
    assert refused.value.code == "guardrail_violation"
    assert "4111" not in str(refused.value)
