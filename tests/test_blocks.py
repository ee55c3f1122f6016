"""Blocks are a function of the text before their end."""

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.blocks import LONGEST, Block, blocks, next_cut
from guardproxy.types import CONTEXT, Match

TEXTS = st.lists(
    st.sampled_from(["word ", "End. ", "\n\n", "\n", "x" * 150, "Yes! ", "longer words come here " * 8]),
    max_size=60,
).map("".join)


@given(TEXTS, st.sampled_from([0, 64, CONTEXT]))
def test_blocks_cover_the_text_once(text: str, context: int) -> None:
    found = blocks(text, context)
    assert "".join(text[b.start : b.end] for b in found) == text
    assert all(b.end - b.start <= LONGEST and b.start - b.seen == min(context, b.start) for b in found)


@given(TEXTS, TEXTS)
def test_what_follows_does_not_move_a_cut(text: str, more: str) -> None:
    cut = next_cut(text, 0)
    if cut is not None:
        assert next_cut(text + more, 0) == cut


@given(TEXTS, st.sampled_from([0, 64, CONTEXT]))
def test_every_match_has_one_owner(text: str, context: int) -> None:
    owned = [0] * len(text)
    for block in blocks(text, context):
        seen = [Match(i - block.seen, i - block.seen + 1, "X") for i in range(block.seen, block.end)]
        inner = seen if len(seen) > 1 else []
        for match in block.own(inner):
            owned[match.start] += 1
    if len(text) > 1 and all(b.end - b.seen > 1 for b in blocks(text, context)):
        assert owned == [1] * len(text)


@given(TEXTS, st.sampled_from([64, CONTEXT]), st.integers(min_value=1, max_value=CONTEXT))
def test_no_end_of_a_match_is_nobodys(text: str, context: int, length: int) -> None:
    every = blocks(text, context)
    for start in range(0, len(text) - length, 37):
        end = start + length
        seen = [(b, Match(max(start, b.seen) - b.seen, min(end, b.end) - b.seen, "X")) for b in every]
        owned = [m for b, match in seen if match.start < match.end for m in b.own([match])]
        covered = {i for m in owned for i in range(m.start, m.end)}
        assert covered >= set(range(start, end))


def test_a_block_owns_the_end_of_a_match_that_the_one_before_did_not_see_end() -> None:
    block = Block(300, 600, last=False)
    assert block.own([Match(20, 210, "X")]) == [Match(200, 310, "X")]
    assert block.own([Match(20, 200, "X")]) == []  # it ends where the block before does


def test_a_match_over_all_that_is_seen_stands_for_the_block() -> None:
    block = Block(300, 600, last=False)
    assert block.own([Match(0, 500, "MOOD")]) == [Match(300, 600, "MOOD")]
    assert block.own([Match(0, 50, "X")]) == []
