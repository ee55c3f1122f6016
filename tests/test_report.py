"""What the client is told."""

from guardproxy.exchange import Exchange
from guardproxy.profiles import Form
from guardproxy.report import MOST, Reporter, entries, headers, violation
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
