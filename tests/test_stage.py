"""One stage at work: failures, shadows, findings and steps."""

import base64
import json
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from structlog.testing import capture_logs

from guardproxy.allow import AllowList
from guardproxy.errors import GuardFailed, Overloaded, Uninspectable
from guardproxy.findings import Hit
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.types import (
    Action,
    Detector,
    Guard,
    Match,
    OnError,
    Outcome,
    PathMark,
    Rule,
    Stage,
    Step,
    StepKind,
    TextPart,
)
from guardproxy.window import Window
from tests.samples import guards

SCANNER = Scanner(guards(), Settings())


def stage(stage: Stage = Stage.INPUT, **rules: Rule) -> tuple[StageRun, list[Step]]:
    steps: list[Step] = []

    @contextmanager
    def opened(step: Step) -> Any:
        yield
        steps.append(step)

    return StageRun(stage, rules, SCANNER, "[{category}]", opened), steps


async def look(run: StageRun, *texts: str) -> None:
    parts = [TextPart(("input", index), text) for index, text in enumerate(texts)]
    run.apply(parts, await run.hits(parts, run.guards))


async def test_steps_close_with_their_facts_in_reverse() -> None:
    run, steps = stage(tags=Rule(), pairs=Rule(shadow=True))
    await look(run, "TAG-1234 xyx TAG-1234")
    verdict = run.finish()
    assert run.finish() is verdict
    assert [step.name for step in steps] == ["pairs", "tags", "input"]
    assert [step.findings for step in steps] == [{"XY": 1}, {"TAG": 2}, {}]
    assert (len(verdict.findings), len(verdict.shadowed)) == (2, 1)


@pytest.mark.parametrize("enforced", [True, False])
async def test_a_guard_in_shadow_is_over_when_it_has_looked(
    enforced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with the exchange, whose end it waits for; nor is a stage that holds up nothing."""
    run, steps = stage(pairs=Rule(shadow=True), tags=Rule(shadow=not enforced))
    run.watch([TextPart(("input",), "a text")])
    await run.settle()
    then = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: then + 4.0)
    run.finish()
    ended = {step.name: step.ended for step in steps}
    assert ended["pairs"] is not None
    assert time.time_ns() - ended["pairs"] >= 3e9
    assert (ended["input"] is None) is enforced


def outcomes(steps: list[Step]) -> dict[str, str | None]:
    return {step.name: step.outcome for step in steps if step.kind is StepKind.GUARD}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("shadow", [True, False])
async def test_what_becomes_of_a_guard(action: Action, shadow: bool) -> None:
    run, steps = stage(tags=Rule(action, shadow), pairs=Rule(action, shadow))
    await look(run, "TAG-1234")
    run.finish("guardrail_violation" if run.blocked else None)
    word = {Action.FLAG: "flagged", Action.REDACT: "redacted", Action.BLOCK: "blocked"}[action]
    assert outcomes(steps) == {"tags": word, "pairs": "clean"}


async def test_what_becomes_of_guards_when_one_fails() -> None:
    run, steps = stage(
        tags=Rule(), mood=Rule(shadow=True), names=Rule(), raises=Rule(), pairs=Rule(), braces=Rule()
    )
    with pytest.raises(GuardFailed):
        await look(run, "boom TAG-1234")
    run.finish("guardrail_failed")
    assert outcomes(steps) == {
        "tags": "interrupted",
        "mood": "interrupted",
        "names": "interrupted",
        "raises": "failed",
        "pairs": "not_run",
        "braces": "not_run",
    }
    assert {step.name: step.failure for step in steps if step.failure} == {"raises": "raised"}


async def test_a_guard_that_fails_beside_the_traffic_leaves_the_others_alone() -> None:
    run, steps = stage(tags=Rule(), raises=Rule(on_error=OnError.FLAG))
    await look(run, "boom")
    run.finish()
    assert outcomes(steps) == {"tags": "clean", "raises": "failed"}


async def test_guards_in_shadow_that_are_given_up_are_the_only_ones_interrupted() -> None:
    run, steps = stage(tags=Rule(), pairs=Rule(shadow=True))
    await look(run, "hello")
    run.give_up("cancelled")
    assert run.finish().outcome is Outcome.INTERRUPTED
    assert outcomes(steps) == {"tags": "clean", "pairs": "interrupted"}


async def test_where_no_guard_is_in_shadow_none_is_given_up() -> None:
    run, steps = stage(tags=Rule())
    await look(run, "hello")
    run.give_up("cancelled")
    assert run.finish().outcome is Outcome.CLEAN
    assert outcomes(steps) == {"tags": "clean"}


class Everything(Detector):
    """Matches all of a text."""

    reach = 64
    inline_below = 1 << 30

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches in each text."""
        return [[Match(0, len(text), "ALL")] for text in texts]


async def test_what_an_allow_list_has_is_let_be_and_counted() -> None:
    settings = Settings(allow={"tags": AllowList(["TAG-1234", "re:TAG-99+"])})
    run = StageRun(
        Stage.INPUT,
        {"tags": Rule(Action.BLOCK), "pairs": Rule(Action.REDACT)},
        Scanner(guards(), settings),
        "[{category}]",
        lambda _: nullcontext(),
    )
    parts = [
        TextPart(("a",), "TAG-1234, ＴＡＧ-1234, TAG-9999, &#84;AG-1234 and tag-1234"),
        TextPart(("b",), "TAG-1234 TAG-12345 \u0422AG-1234 xyx"),
    ]
    hits = await run.hits(parts, run.guards)
    assert run.apply(parts, hits).texts == {("b",): "TAG-1234 [TAG] [TAG] [XY]"}
    verdict = run.finish()
    assert verdict.outcome is Outcome.BLOCKED
    assert verdict.receipt.allowed == 4
    assert str(verdict.receipt) == "parts=0, allowed=4"


@pytest.mark.parametrize("hide", [bytes.hex, lambda data: base64.b64encode(data).decode()])
async def test_what_base64_or_hex_holds_is_let_be_by_no_pattern_that_these_fit(hide: Any) -> None:
    settings = Settings(allow={"tags": AllowList(["re:[0-9A-Za-z+/=]+"])})
    for flood in ("", "\u200b" * 99):  # behind the latter the text is squeezed
        run = StageRun(
            Stage.INPUT,
            {"tags": Rule(Action.REDACT)},
            Scanner(guards(), settings),
            "-",
            lambda _: nullcontext(),
        )
        parts = [TextPart(("a",), f"{flood} {hide(b'see TAG-1234 and more')}")]
        edits = run.apply(parts, await run.hits(parts, run.guards))
        assert edits.texts[("a",)].count("-") == 1
        window = Window(run, run.guards)
        assert len([*await window.push(parts[0].text), *await window.close()]) == 1


async def test_half_a_surrogate_pair_in_a_match_fails_no_pattern_of_an_allow_list() -> None:
    own = {"all": Guard("all", (Everything(),))}
    settings = Settings(allow={"all": AllowList(["re:ab+", "re:x\ufffdy"])})
    run = StageRun(
        Stage.INPUT, {"all": Rule(Action.REDACT)}, Scanner(own, settings), "-", lambda _: nullcontext()
    )
    parts = [TextPart(("a",), "a\ud800"), TextPart(("b",), "x\ud800y"), TextPart(("c",), "abb")]
    assert run.apply(parts, await run.hits(parts, run.guards)).texts == {("a",): "-"}


async def test_a_value_over_two_parts_may_be_allowed() -> None:
    settings = Settings(allow={"tags": AllowList(["TAG-123456"])})
    run = StageRun(
        Stage.INPUT, {"tags": Rule(Action.REDACT)}, Scanner(guards(), settings), "", lambda _: nullcontext()
    )
    for first, second, left in (("TAG-", "123456", True), ("TAG-", "1234567", False)):
        path = ("input", 0, "content")
        parts = [TextPart((*path, i, "text"), text) for i, text in enumerate((first, second))]
        hits = await run.hits(parts, run.guards, joined=True)
        assert (hits == [[], []]) is left


async def test_a_failure_that_is_tolerated_is_told_of() -> None:
    run, steps = stage(raises=Rule(on_error=OnError.FLAG), tags=Rule())
    await look(run, "boom TAG-1234")
    verdict = run.finish()
    assert (verdict.failed, verdict.outcome) == (("raises",), Outcome.FLAGGED)
    assert {step.name: step.error_type for step in steps}["raises"] == "guardrail_failed"
    assert {step.name: step.failure for step in steps} == {"input": None, "raises": "raised", "tags": None}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GuardFailed("x", kind="timeout", detector="d"), "timeout"),
        (GuardFailed("x", kind="died", detector="d"), "died"),
        (GuardFailed("x", detector="d"), "raised"),
        (Overloaded("x", detector="d"), "overloaded"),
    ],
)
async def test_step_and_log_say_how_a_guard_failed(error: GuardFailed | Overloaded, kind: str) -> None:
    run, _ = stage(tags=Rule())
    run.step.parent = Step(StepKind.EXCHANGE, "POST")
    with pytest.raises(type(error)), capture_logs() as logged:
        run.fail(run.guards[0], error)
    assert (run.guards[0].step.failure, run.guards[0].step.detector) == (kind, "d")
    facts = {"guard": "tags", "stage": "input", "detector": "d", "failure": kind}
    assert logged == [{"event": "guard_failed", "log_level": "warning", **facts}]


async def test_a_guard_that_fails_twice_is_told_of_once() -> None:
    run, _ = stage(tags=Rule(on_error=OnError.FLAG))
    run.step.parent = Step(StepKind.EXCHANGE, "POST")
    with capture_logs() as logged:
        run.fail(run.guards[0], GuardFailed("x", detector="d", raised="ValueError"))
        run.fail(run.guards[0], GuardFailed("y", kind="timeout", detector="e"))
    assert [(line["failure"], line["detector"], line["error"]) for line in logged] == [
        ("raised", "d", "ValueError")
    ]
    assert (run.guards[0].step.failure, run.guards[0].step.detector) == ("raised", "d")


@pytest.mark.parametrize("shadow", [False, True])
async def test_a_failure_stops_the_exchange_unless_it_is_a_shadow(shadow: bool) -> None:
    run, _ = stage(raises=Rule(shadow=shadow))
    if shadow:
        await look(run, "boom")
    else:
        with pytest.raises(GuardFailed):
            await look(run, "boom")


async def test_the_same_hit_in_another_copy_counts_once() -> None:
    run, _ = stage(Stage.OUTPUT, tags=Rule(Action.REDACT))
    for _ in range(3):
        await look(run, "TAG-1234")
    assert len(run.verdict().findings) == 1


async def test_output_offsets_are_those_of_the_delivered_text() -> None:
    run, _ = stage(Stage.OUTPUT, tags=Rule(Action.REDACT), names=Rule(Action.FLAG))
    await look(run, "TAG-12345 met Zorp")
    text = "[TAG] met Zorp"
    assert [text[f.start : f.end] for f in run.verdict().findings] == ["[TAG]", "Zorp"]


KEY = ("metadata", "TAG-1234", PathMark.KEY)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
async def test_a_key_that_any_guard_found_is_in_no_path(order: list[int]) -> None:
    run, _ = stage(Stage.OUTPUT, tags=Rule(), braces=Rule(Action.REDACT))
    parts = [TextPart(KEY, "TAG-1234"), TextPart(("metadata", "TAG-1234", "a#b"), "{{x}}")]
    for guard in order:
        run.apply(parts, await run.hits(parts, [run.guards[guard]]))
    assert {f.path for f in run.verdict().findings} == {"/metadata/[TAG]", "/metadata/[TAG]/a#b"}
    assert run.found.shown("/metadata/TAG-1234/TAG-1234") == "/metadata/[TAG]/TAG-1234"
    assert run.found.shown("/metadata/TAG-12345") == "/metadata/TAG-12345"


async def test_hidden_keys_are_not_judged() -> None:
    run, _ = stage(Stage.OUTPUT, tags=Rule(Action.BLOCK))
    parts = [TextPart(KEY, "TAG-1234")]
    run.hide(parts, await run.hits(parts, run.guards), lambda path: path)
    assert not run.blocked
    assert run.verdict().findings == ()
    assert run.found.shown("/metadata/TAG-1234/x") == "/metadata/[TAG]/x"


async def test_the_ranges_of_a_key_are_not_those_of_its_value() -> None:
    run, _ = stage(Stage.OUTPUT, tags=Rule(Action.REDACT))
    parts = [TextPart(KEY, "TAG-1234"), TextPart(KEY[:2], "see TAG-5678")]
    run.apply(parts, await run.hits(parts, run.guards))
    assert [(r.start, r.end) for r in run.found.ranges_at(KEY[:2])] == [(4, 12)]


async def test_a_redacted_key_takes_no_name_that_is_there() -> None:
    run, _ = stage(tags=Rule(Action.REDACT))
    document = {"a": {"TAG-1234": 1, "[TAG]": 2, "TAG-5678": 3}}
    parts = [TextPart(("a", key, PathMark.KEY), key) for key in document["a"]]
    edits = run.apply(parts, await run.hits(parts, run.guards), document=document)
    assert list(edits.texts.values()) == ["[TAG]_2", "[TAG]_3"]
    assert {f.path for f in run.verdict().findings} == {"/a/[TAG]_2", "/a/[TAG]_3"}


async def test_many_keys_that_become_the_same_name() -> None:
    """Each search for a free name goes on where the last one ended; from the start, this takes hours."""
    run, _ = stage(tags=Rule(Action.REDACT))
    many = 20_000
    odd = {f"[TAG]_{number}": 0 for number in range(2, many, 2)}  # every other name is there already
    found = [f"TAG-{number:06}" for number in range(many)]
    document = {"a": {**odd, **dict.fromkeys(found, 1)}}
    parts = [TextPart(("a", key, PathMark.KEY), key) for key in found]
    hits = [[Hit("tags", Match(0, len(key), "TAG", validated=True))] for key in found]
    edits = run.apply(parts, hits, document=document)
    names = list(edits.texts.values())
    assert names[:3] == ["[TAG]", "[TAG]_3", "[TAG]_5"]
    assert len(set(names)) == many
    assert not odd.keys() & set(names)


async def test_too_much_new_text() -> None:
    text = "many words here. " * 70_000
    holding, _ = stage(names=Rule(Action.BLOCK))
    with pytest.raises(Uninspectable, match="inspects at most"):
        await look(holding, text)
    flagging, _ = stage(names=Rule(Action.FLAG))
    await look(flagging, text)
    assert flagging.verdict().receipt.skipped == {"too_large": 1}
    assert flagging.verdict().outcome is Outcome.CLEAN


@pytest.mark.parametrize(("word", "outcome"), [("pass", Outcome.CLEAN), ("flag", Outcome.FLAGGED)])
async def test_too_much_new_text_may_pass(word: str, outcome: Outcome) -> None:
    run, _ = stage(names=Rule(Action.BLOCK))
    run._too_large = word
    await look(run, "many words here. " * 70_000)
    assert (run.verdict().outcome, run.verdict().receipt.skipped) == (outcome, {"too_large": 1})


@pytest.mark.parametrize(
    ("action", "word", "outcome"),
    [
        (Action.FLAG, "block", Outcome.FLAGGED),
        (Action.REDACT, "flag", Outcome.FLAGGED),
        (Action.REDACT, "pass", Outcome.CLEAN),
    ],
)
def test_what_cannot_be_scanned(action: Action, word: str, outcome: Outcome) -> None:
    run, _ = stage(tags=Rule(action))
    run.unscannable({"image": 1}, {"image": word})
    assert run.verdict().outcome is outcome


def test_what_cannot_be_scanned_blocks_where_it_should() -> None:
    run, _ = stage(tags=Rule(Action.REDACT))
    with pytest.raises(Uninspectable, match="cannot be inspected here: image"):
        run.unscannable({"image": 1}, {"image": "block"})


async def test_a_value_split_over_neighbours_is_found_in_both() -> None:
    run, _ = stage(Stage.INPUT, tags=Rule(Action.REDACT))
    parts = [
        TextPart(("input", 0, "content", i, "text"), text) for i, text in enumerate(("a TAG-", "1234 b"))
    ]
    hits = await run.hits(parts, run.guards, joined=True)
    edits = run.apply(parts, hits)
    assert list(edits.texts.values()) == ["a [TAG]", "[TAG] b"]
    assert await run.hits(parts, run.guards) == [[], []]


async def test_a_neighbours_word_is_no_piece_of_a_whole_value() -> None:
    run, _ = stage(Stage.INPUT, braces=Rule(Action.REDACT), tags=Rule(Action.REDACT))
    parts = [
        TextPart(("input", 0, "content", i, "text"), text) for i, text in enumerate(("a TAG-1234", "5678 b"))
    ]
    edits = run.apply(parts, await run.hits(parts, run.guards, joined=True))
    assert list(edits.texts.values()) == ["a [TAG]"]


async def test_thousands_of_short_neighbours_take_their_time_once() -> None:
    run, _ = stage(Stage.INPUT, tags=Rule(Action.REDACT))
    parts = [TextPart(("input", 0, "content", i, "text"), "x") for i in range(50_000)]
    assert not any(await run.hits(parts, run.guards, joined=True))


async def test_arguments_with_thousands_of_objects_are_parsed_once() -> None:
    """Parsed anew for each object, this takes many minutes."""
    run, _ = stage(tags=Rule(Action.REDACT))
    inside = json.dumps([{f"TAG-{number:06}": 1} for number in range(20_000)])
    document = {"arguments": inside}
    keys = [(number, f"TAG-{number:06}") for number in range(20_000)]
    parts = [TextPart(("arguments", PathMark.PARSED, *key, PathMark.KEY), key[1]) for key in keys]
    hits = [[Hit("tags", Match(0, 10, "TAG"))] for _ in keys]
    assert set(run.apply(parts, hits, document=document).texts.values()) == {"[TAG]"}
