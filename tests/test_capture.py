"""Content for traces: the messages of either side, and nothing that any guard found, whatever its action."""

import asyncio
import json
from contextlib import nullcontext, suppress
from typing import Any

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy import (
    Action,
    ConfigError,
    Exchange,
    Guard,
    Policy,
    Rule,
    hookspecs,
    inputs,
    outputs,
)
from guardproxy.app import create_app
from guardproxy.capture import LONGEST, MOST
from guardproxy.errors import Violation
from guardproxy.plugins import PROJECT
from guardproxy.profiles import Form
from guardproxy.report import Reporter
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.shapes import RESPONSE
from guardproxy.stage import StageRun
from guardproxy.types import Stage
from tests.harness import (
    Answered,
    SampleGuards,
    Upstreaming,
    message,
    proxy,
    sse,
    streaming,
    text_events,
    whole,
)
from tests.samples import Braces, Names, Raises, Tags, Waits

TAG = "TAG-" + "1234"
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
SEALED = {"encrypted_content": "AAAA"}
ARGUMENTS = json.dumps({"to": TAG, "n": 5})
GUARDS = {
    "pii": Guard("pii", (Tags(), Names())),
    "secrets": Guard("secrets", (Braces(),)),
    "raises": Guard("raises", (Raises(),)),
}

SCANNER = Scanner(GUARDS, Settings())


def floor(action: Action = Action.FLAG, **rule: Any) -> Policy:
    rules = {name: Rule(action, **rule) for name in ("pii", "secrets")}
    return Policy(rules, rules)


async def captured(
    body: Any, upstream: Upstreaming, policy: Policy | None = None, **headers: str
) -> tuple[Any, Any, Answered]:
    """The messages of the input and of the output as they are told, and the answer."""
    made, policy = GUARDS, policy or floor()
    async with proxy(upstream, made=made, floor=policy, capture_content="redacted") as client:
        got = await client.post(body, headers)
        told = client.recorder.exchanges[0].content
    answer: list[Any] = [json.loads(told[s].messages) if s in told else None for s in Stage]
    if Stage.INPUT in told and told[Stage.INPUT].instructions is not None:
        answer[0] = (json.loads(told[Stage.INPUT].instructions), answer[0])
    return answer[0], answer[1], got


def text(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text} for text in texts]}


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_found_is_out_whatever_the_action(action: Action, shadow: bool, stream: bool) -> None:
    said = f"hello Zorp and {TAG}, bye"
    upstream = streaming(sse(text_events(said))) if stream else whole(message(said))
    policy = floor(action, shadow=shadow)
    body = {"input": f"my {TAG}", "stream": stream, "metadata": {"a": "not told"}}
    given, answer, _ = await captured(body, upstream, policy)
    assert given == [text("user", "my [TAG]")]
    if action is not Action.BLOCK or shadow:
        assert answer == [text("assistant", "hello [NAME] and [TAG], bye")]
    else:
        assert answer is None  # the input's block left nothing to answer


async def test_the_items_of_both_sides() -> None:
    items = [
        {"role": "system", "content": "be kind"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": f"see {TAG}"}]},
        {
            "type": "message",
            "role": TAG,
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "hmm Zorp"}],
            "encrypted_content": "AAAA",
        },
        {
            "type": "function_call",
            "name": "send",
            "call_id": "c",
            "arguments": json.dumps({"to": TAG, "n": 5}),
        },
        {"type": "function_call_output", "call_id": "c", "output": f"sent to {TAG}"},
        {"type": "unknown", "content": "not told"},
    ]
    refusal = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": f"no {TAG}"}],
    }
    (instructions, given), answer, _ = await captured(
        {"instructions": f"never say {TAG}", "input": items}, whole(refusal)
    )
    assert instructions == [{"type": "text", "content": "never say [TAG]"}]
    assert given == [
        text("system", "be kind"),
        text("user", "see [TAG]"),
        text("user"),
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hmm [NAME]"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "name": "send", "arguments": '{"to": "[TAG]", "n": 5}'}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "result": "sent to [TAG]"}]},
    ]
    assert answer == [text("assistant", "no [TAG]")]


async def test_what_has_been_blocked_is_told_redacted() -> None:
    given, answer, got = await captured({"input": f"a {TAG}"}, whole(), floor(Action.BLOCK))
    assert (got.status, given, answer) == (400, [text("user", "a [TAG]")], None)


async def test_nothing_is_told_of_a_stage_in_which_a_guard_failed() -> None:
    policy = Policy(floor().input, floor().output)
    headers = {"x-opper-guard-input": "raises"}
    given, _, got = await captured({"input": "boom"}, whole(), policy, **headers)
    assert (got.status, given) == (500, None)


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_guards_in_shadow_find_after_the_answer_is_out_or_nothing_is_told(leaves: bool) -> None:
    waits, left, delivered = Waits(), asyncio.Event(), asyncio.Event()
    made = {"pii": Guard("pii", (waits,)), "secrets": GUARDS["secrets"]}
    policy = floor(shadow=True)
    async with proxy(whole(message("ok")), made=made, floor=policy, capture_content="redacted") as client:
        asked = client.post({"input": "hello"}, disconnect=left, delivered=delivered)
        running = asyncio.create_task(asked)
        await waits.asked.wait()
        await delivered.wait()
        if leaves:  # who has the answer may go: the guards go on
            left.set()
            await asyncio.sleep(0)
            waits.go.set()
        else:  # the server ends
            running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        (exchange,) = client.recorder.exchanges
    assert set(exchange.verdicts) == set(Stage)
    if leaves:
        assert {exchange.final_outcome(stage) for stage in Stage} == {"clean"}
        assert {content.messages for content in exchange.content.values()} == {
            json.dumps([text("user", "[ALL]")], separators=(",", ":")),
            json.dumps([text("assistant", "[ALL]")], separators=(",", ":")),
        }
    else:
        assert {exchange.final_outcome(stage) for stage in Stage} == {"interrupted"}
        assert exchange.content == {}
    steps = client.recorder.steps
    assert sum(step[0] == "+" for step in steps) == sum(step[0] == "-" for step in steps)


async def test_nothing_is_told_of_an_answer_whose_block_cut_a_guard_in_shadow_off() -> None:
    last = text_events(f"hello Zorp and {TAG}")[-1]
    made = {**GUARDS, "pii": Guard("pii", (Names(),)), "secrets": Guard("secrets", (Tags(),))}
    rules = {"secrets": Rule(Action.BLOCK), "pii": Rule(shadow=True)}
    policy = Policy(floor().input, rules)
    upstream = streaming(sse([last]))  # nothing has left when it is blocked
    async with proxy(upstream, made=made, floor=policy, capture_content="redacted") as client:
        got = await client.post({"input": "hi", "stream": True})
        (exchange,) = client.recorder.exchanges
    assert got.status == 400
    assert Stage.OUTPUT not in exchange.content


async def test_nothing_is_told_of_a_document_with_something_in_a_key() -> None:
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": json.dumps({TAG: 1})}
    given, _, _ = await captured({"input": [call, {"role": "user", "content": "hi"}]}, whole())
    assert given is None


async def test_a_long_text_is_cut_and_the_oldest_messages_are_left_out() -> None:
    long = "word " * LONGEST
    items = [{"role": "user", "content": f"{n} {long}"} for n in range(8)]
    given, _, _ = await captured({"input": items}, whole())
    assert len(json.dumps(given)) < MOST + 1000
    assert [message["parts"][0]["content"][:2] for message in given] == ["5 ", "6 ", "7 "]
    assert all(len(message["parts"][0]["content"]) == LONGEST + 1 for message in given)


async def test_off_is_the_default() -> None:
    async with proxy(whole(message("hi")), made=GUARDS, floor=floor()) as client:
        await client.post({"input": "hi"})
        assert client.recorder.exchanges[0].content == {}


@pytest.mark.parametrize(
    "policy",
    [Policy(), Policy(floor().input), Policy(floor().input, {"pii": Rule()})],
    ids=["none", "input", "pii"],
)
def test_it_needs_the_guards_that_have_to_see_the_text(policy: Policy) -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(SampleGuards(GUARDS), "samples")
    with pytest.raises(
        ConfigError, match=r"capture_content = 'redacted' needs .* in \[policy\.(input|output)\]"
    ):
        create_app(Settings(floor=policy, capture_content="redacted"), plugins=manager)


WORDS = st.lists(
    st.sampled_from(["fine", TAG, "Zorp", "{{x}}", "{{", "}}", "\\", '"', "\u00e9", "\n"]), max_size=6
)
TEXTS = WORDS.map(" ".join)
# A short word as a key is structure, and no text.
KEYS = st.sampled_from("abc") | TEXTS.filter(lambda text: len(text) > 8 and " " in text)
CONTENTS = TEXTS | st.lists(st.builds(lambda t: {"type": "input_text", "text": t}, TEXTS), max_size=3)
ITEMS = st.one_of(
    st.builds(lambda c: {"role": "user", "content": c}, CONTENTS),
    st.builds(lambda c: {"type": "function_call_output", "call_id": "c", "output": c}, CONTENTS),
    st.builds(
        lambda a: {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps(a)},
        st.dictionaries(KEYS, TEXTS, max_size=3),
    ),
)


@given(st.lists(ITEMS, max_size=4), TEXTS, st.sampled_from(list(Action)), st.sampled_from(list(Stage)))
async def test_no_match_is_ever_told(given: Any, instructions: str, action: Action, stage: Stage) -> None:
    policy = floor(action)
    run = StageRun(stage, policy.stage(stage), SCANNER, "[{category}]", lambda _: nullcontext())
    run.captures = True
    if stage is Stage.INPUT:
        body = json.dumps({"input": given, "instructions": instructions}).encode()
        await inputs.inspect(run, await inputs.read(body), {})
    else:
        reporter = Reporter(Exchange("POST", "/v1/responses", {}, policy=policy), Form.NONE)
        body = json.dumps({"output": given}).encode()
        with suppress(Violation):
            await outputs.inspect(run, body, RESPONSE, {}, {}, reporter, lambda *_: None)
    content = run.content()
    shown = f"{content.messages}{content.instructions}" if content else ""
    assert TAG not in shown
    assert "Zorp" not in shown
    assert "{{x}}" not in shown
