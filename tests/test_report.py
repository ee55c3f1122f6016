"""What the client is told."""

from decimal import Decimal
from typing import Any

from guardproxy.exchange import Exchange
from guardproxy.prices import Price
from guardproxy.profiles import Form
from guardproxy.report import MOST, Reporter, entries, headers, meta, violation
from guardproxy.types import Action, Finding, Outcome, Policy, Receipt, Rule, Stage, Verdict

POLICY = Policy(
    input={"pii": Rule(Action.REDACT), "quiet": Rule(Action.BLOCK, shadow=True)},
    output={"tox": Rule(Action.BLOCK)},
)
FOUND = Finding("pii", Stage.INPUT, "/input", 3, 9, "EMAIL_ADDRESS", 0.123456)


def exchange(**verdicts: Verdict) -> Exchange:
    made = Exchange("POST", "/v1/responses", {}, policy=POLICY)
    made.verdicts = {Stage(stage): verdict for stage, verdict in verdicts.items()}
    return made


def verdict(stage: Stage, outcome: Outcome, *findings: Finding, **skipped: int) -> Verdict:
    return Verdict(stage, outcome, findings, receipt=Receipt(3, skipped))


def test_entries_have_what_the_wire_says_and_nothing_of_the_shadow() -> None:
    (entry,) = entries(POLICY, {Stage.INPUT: verdict(Stage.INPUT, Outcome.REDACTED, FOUND)})
    assert entry == {
        "type": "opper:guard",
        "guard_type": "pii",
        "stage": "input",
        "action": "redact",
        "flagged": True,
        "findings": [{"category": "EMAIL_ADDRESS", "path": "/input", "start": 3, "end": 9, "score": 0.1235}],
        "total": 1,
    }


def test_at_most_a_hundred_findings_are_listed_and_all_are_counted() -> None:
    many = [Finding("pii", Stage.INPUT, "/input", i, i + 1, "X") for i in range(MOST + 5)]
    (entry,) = entries(POLICY, {Stage.INPUT: verdict(Stage.INPUT, Outcome.REDACTED, *many)})
    assert (len(entry["findings"]), entry["total"]) == (MOST, MOST + 5)


def test_headers() -> None:
    made = exchange(input=verdict(Stage.INPUT, Outcome.REDACTED, FOUND, image=1, file_id=2))
    assert headers(made) == {
        "X-Guardproxy-Verdict": "input=redacted, output=pending",
        "X-Guardproxy-Receipt": "parts=3, skipped=file_id:2 image:1",
    }


def test_a_policy_of_shadows_is_not_told_of() -> None:
    made = Exchange("POST", "/", {}, policy=Policy(input={"pii": Rule(shadow=True)}))
    assert headers(made) == {}


def test_a_violation_names_guard_stage_categories_and_place() -> None:
    found = Finding("tox", Stage.OUTPUT, "/output/0/content/0/text", 0, 5, "TOXICITY_HATE")
    error = violation(exchange(output=verdict(Stage.OUTPUT, Outcome.BLOCKED, found)), Stage.OUTPUT)
    assert str(error) == "Blocked by guard 'tox' at the output: TOXICITY_HATE."
    assert error.param == "/output/0/content/0/text"
    assert [entry["guard_type"] for entry in error.guards] == ["tox"]


def test_fields_appear_when_something_was_found_or_was_asked_for() -> None:
    clean = exchange(input=verdict(Stage.INPUT, Outcome.CLEAN))
    found = exchange(input=verdict(Stage.INPUT, Outcome.REDACTED, FOUND))
    assert Reporter(clean, Form.FIELDS).field() is None
    assert Reporter(clean, Form.FIELDS, asked=True).field() is not None
    assert Reporter(found, Form.FIELDS).field() is not None
    assert Reporter(found, Form.NONE).field() is None
    assert Reporter(found, Form.NONE).items() == []


def test_items_are_as_many_as_are_reserved() -> None:
    reporter = Reporter(exchange(input=verdict(Stage.INPUT, Outcome.REDACTED, FOUND)), Form.ITEMS)
    items = reporter.items()
    assert len(items) == reporter.reserved == 2
    assert [(i["guard_type"], i["stage"], i["flagged"]) for i in items] == [
        ("pii", "input", True),
        ("tox", "output", False),
    ]
    assert all(
        i["type"] == "opper:guard" and i["content"] == [] and i["status"] == "completed" for i in items
    )
    assert len({i["id"] for i in items}) == 2


def called(**facts: Any) -> Exchange:
    made = Exchange("POST", "/v1/responses", {}, **facts)
    with made.upstream_watch:
        pass
    return made


def test_meta_tells_what_is_known() -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cached_tokens": 4, "cache_write_tokens": 2}
    made = meta(
        called(model="gpt-4.1", response_id="resp_7", response_model="gpt-4.1-2025-04-14", usage=usage),
        Decimal("0.00006"),
    )
    assert made.pop("execution_ms") >= 0
    assert made == {
        "type": "opper:meta",
        "id": "meta_7",
        "status": "completed",
        "content": [],
        "cost_usd": 0.00006,
        "models_used": ["gpt-4.1-2025-04-14"],
        "model_warnings": [],
        "cache_creation_tokens": 2,
        "cache_read_tokens": 4,
    }


def test_meta_leaves_out_what_is_not_known() -> None:
    made = meta(Exchange("POST", "/v1/responses", {}, id="req_9"), None)
    assert sorted(made) == ["content", "execution_ms", "id", "status", "type"]
    assert made["id"] == "meta_9"
    assert meta(called(model="m"), None)["models_used"] == ["m"]
    assert "models_used" not in meta(Exchange("POST", "/", {}, model="m"), None)  # a plugin answered


def test_meta_warns_of_another_model() -> None:
    made = meta(called(model="gpt-4.1", response_model="gpt-4.1-mini-2025-04-14"), None)
    assert made["model_warnings"] == ["gpt-4.1-mini-2025-04-14 answered in the place of gpt-4.1."]


def test_meta_comes_behind_the_items_of_the_guards_and_is_the_same_each_time() -> None:
    reporter = Reporter(called(policy=POLICY), Form.ITEMS, meta=True)
    assert [item["type"] for item in reporter.items()] == ["opper:guard", "opper:guard", "opper:meta"]
    assert reporter.reserved == 3
    assert reporter.items()[-1] is reporter.items()[-1]


def test_guards_in_shadow_leave_meta_alone() -> None:
    reporter = Reporter(called(policy=Policy(input={"pii": Rule(shadow=True)})), Form.ITEMS, meta=True)
    assert ([item["type"] for item in reporter.items()], reporter.reserved) == (["opper:meta"], 1)


def test_a_cost_needs_a_call_and_a_price() -> None:
    priced = {"m": Price(Decimal(2), Decimal(8))}
    facts: dict[str, Any] = {"response_model": "m", "usage": {"input_tokens": 10, "output_tokens": 5}}
    assert Reporter(called(**facts), Form.FIELDS, priced=priced).cost == Decimal("0.00006")
    assert Reporter(called(**facts), Form.FIELDS).cost is None
    assert Reporter(Exchange("POST", "/", {}, **facts), Form.FIELDS, priced=priced).cost is None
