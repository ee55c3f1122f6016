"""The cache of matches: bounded in bytes, oldest use out first, safe from its callers."""

import tracemalloc
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.cache import ENTRY_BYTES, MATCH_BYTES, MatchCache
from guardproxy.types import Match

SOME = Match(0, 3, "PERSON", 0.5)

keys = st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"b", b"c", b"d"]))
uses = st.lists(st.tuples(keys, st.one_of(st.none(), st.integers(0, 6))), max_size=60)


@given(size=st.integers(0, 6 * ENTRY_BYTES), uses=uses)
def test_it_forgets_what_was_used_longest_ago_and_nothing_else(
    size: int, uses: list[tuple[tuple[int, bytes], int | None]]
) -> None:
    cache = MatchCache(size)
    model: OrderedDict[tuple[int, bytes], int] = OrderedDict()

    def cost() -> int:
        return sum(ENTRY_BYTES + MATCH_BYTES * count for count in model.values())

    for (index, digest), count in uses:
        key = (index, digest)
        if count is None:
            expected = (SOME,) * model[key] if key in model else None
            assert cache.get(index, digest) == expected
            if key in model:
                model.move_to_end(key)
        else:
            cache.put(index, digest, [SOME] * count)
            model.pop(key, None)
            if ENTRY_BYTES + MATCH_BYTES * count <= size:
                model[key] = count
            while cost() > size:
                model.popitem(last=False)
        assert cache.used == cost() <= size
        assert len(cache) == len(model)


def test_a_detector_does_not_see_what_another_found() -> None:
    cache = MatchCache(10_000)
    cache.put(0, b"digest", [SOME])
    assert cache.get(1, b"digest") is None


def test_nothing_found_is_known_too() -> None:
    cache = MatchCache(10_000)
    cache.put(0, b"digest", [])
    assert cache.get(0, b"digest") == ()


def test_callers_cannot_change_what_is_remembered() -> None:
    cache = MatchCache(10_000)
    given = [SOME]
    cache.put(0, b"digest", given)
    given.clear()
    assert cache.get(0, b"digest") == (SOME,)


def test_the_bytes_are_not_more_than_was_allowed() -> None:
    size = 1024 * 1024
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = MatchCache(size)
        for number in range(20_000):
            matches = [Match(1000 + i, 2000 + number + i, "PERSON", 0.1 + i / 10) for i in range(number % 4)]
            cache.put(0, number.to_bytes(16, "big"), matches)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.used > size * 0.99
    assert after - before <= size
