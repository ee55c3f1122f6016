"""What was found: kept once for each place, told at the place of the text as it is delivered."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.findings import MOST_FINDINGS, Findings, Hit
from guardproxy.names import Names
from guardproxy.redaction import Placeholder, splice
from guardproxy.types import Action, Match, Rule, Stage

RULES = {
    "flags": Rule(Action.FLAG),
    "redacts": Rule(Action.REDACT),
    "blocks": Rule(Action.BLOCK),
    "shadow": Rule(Action.BLOCK, shadow=True),
}
PLACEHOLDER = Placeholder("[{category}]", {})


def found(stage: Stage = Stage.OUTPUT) -> Findings:
    return Findings(stage, RULES, PLACEHOLDER)


def hit(guard: str, start: int, end: int) -> Hit:
    return Hit(guard, Match(start, end, "TAG", validated=True))


def test_the_same_hit_counts_once_at_a_place() -> None:
    given = found()
    given.note("/a", [hit("flags", 0, 3)])
    given.note("/a", [hit("flags", 0, 3)])
    given.note("/b", [hit("flags", 0, 3)])
    assert [finding.path for finding in given.findings()] == ["/a", "/b"]


def test_a_flood_of_one_guard_hides_nothing_of_another() -> None:
    given = found()
    given.note("/a", [hit("flags", start, start + 1) for start in range(MOST_FINDINGS + 100)])
    assert given.more
    given.note("/b", [hit("redacts", 0, 3)])
    assert Counter(f.guard for f in given.findings()) == {"flags": MOST_FINDINGS, "redacts": 1}


def test_beyond_the_most_that_are_kept_a_match_still_blocks() -> None:
    given = found()
    given.note("/a", [hit("blocks", start, start + 1) for start in range(MOST_FINDINGS)])
    given.blocked = False
    given.note("/b", [hit("blocks", 0, 3)])
    assert given.blocked


@pytest.mark.parametrize(("guard", "blocks"), [("flags", False), ("redacts", False), ("blocks", True)])
def test_only_a_rule_that_blocks_and_is_no_shadow_blocks(guard: str, blocks: bool) -> None:
    given = found()
    given.note("/a", [hit("shadow", 0, 3), hit(guard, 0, 3)])
    assert given.blocked is blocks


@given(st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.integers(0, 20), st.integers(1, 8)), max_size=6))
def test_a_finding_stands_where_its_text_is_delivered(matches: list[tuple[str, int, int]]) -> None:
    """The range of what was redacted is a placeholder's; that of anything else is still its text."""
    text = "abcdefghijklmnopqrstuvwxyz0123"
    given = found()
    hits = [hit(guard, start, start + length) for guard, start, length in matches]
    given.note("/a", hits)
    delivered = splice(text, given.ranges(hits), PLACEHOLDER)
    replaced = {index for r in given.ranges(hits) for index in range(r.start, r.end)}
    told = {(f.guard, delivered[f.start : f.end]) for f in given.findings()}
    for one in hits:
        match = one.match
        if replaced.isdisjoint(range(match.start, match.end)):
            assert (one.guard, text[match.start : match.end]) in told
        if one.guard in ("redacts", "blocks"):
            assert (one.guard, "[TAG]") in told


def test_keys_that_hold_something_are_in_no_path() -> None:
    given = found()
    assert given.shown("/m/TAG-1/TAG-1") == "/m/TAG-1/TAG-1"
    assert given.note_key("/m/TAG-1", "TAG-1", [hit("flags", 0, 5)], None, Names({"[TAG]"})) == "_2"
    assert given.shown("/m/TAG-1/TAG-1") == "/m/[TAG]_2/TAG-1"
    assert given.shown("/m/TAG-12") == "/m/TAG-12"
