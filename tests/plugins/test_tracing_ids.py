import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from guardproxy_tracing.ids import OpperIdGenerator, expand, key_of, parent_of, uuid_of

KEYS = st.integers(0, 2**60 - 1)
SPAN_IDS = st.integers(0, 2**62 - 1).map(lambda low: 2 << 62 | low)
UUIDS = st.integers(1, 2**128 - 1).filter(lambda value: value & (2**64 - 1) > 0)


def spelled(value: int) -> str:
    return str(uuid.UUID(int=value))


@given(KEYS, SPAN_IDS)
def test_a_returned_uuid_leads_back_to_its_span(key: int, span_id: int) -> None:
    assert parent_of(uuid_of(expand(key), span_id)) == (expand(key), span_id)


@given(KEYS, SPAN_IDS)
def test_a_returned_uuid_is_a_legal_version_8(key: int, span_id: int) -> None:
    found = uuid.UUID(uuid_of(expand(key), span_id))
    assert found.version == 8
    assert found.variant == uuid.RFC_4122


@given(KEYS)
def test_a_key_survives_its_trace_id(key: int) -> None:
    assert key_of(expand(key)) == key
    assert 0 < expand(key) < 2**128


@given(UUIDS)
def test_any_uuid_is_a_parent_with_its_last_digits_as_span_id(value: int) -> None:
    found = parent_of(spelled(value))
    assert found is not None
    trace_id, span_id = found
    assert span_id == value & (2**64 - 1)
    assert trace_id == expand(key_of(trace_id))


@given(UUIDS)
def test_spelling_does_not_matter(value: int) -> None:
    text = spelled(value)
    assert parent_of(text) == parent_of(text.upper()) == parent_of(text.replace("-", ""))


@given(UUIDS, SPAN_IDS)
def test_a_chain_of_any_depth_stays_in_the_trace_of_its_first_parent(value: int, span_id: int) -> None:
    first = parent_of(spelled(value))
    assert first is not None
    second = parent_of(uuid_of(first[0], span_id))
    assert second == (first[0], span_id)
    third = parent_of(uuid_of(second[0], span_id ^ 1))
    assert third == (first[0], span_id ^ 1)


def test_a_chain_of_a_thousand_is_one_trace() -> None:
    of = OpperIdGenerator()
    trace_id = of.generate_trace_id()
    sent = uuid_of(trace_id, of.generate_span_id())
    seen = set()
    for _ in range(1000):
        found = parent_of(sent)
        assert found is not None
        assert found[0] == trace_id
        seen.add(found[1])
        sent = uuid_of(found[0], of.generate_span_id())
    assert len(seen) == 1000


@given(st.lists(st.integers(0, 2**74 - 1), min_size=2, max_size=50, unique=True), st.integers(0, 2**48 - 1))
def test_clumped_uuids_of_version_7_do_not_collide(rest: list[int], clock: int) -> None:
    made = [clock << 80 | 7 << 76 | low >> 62 << 64 | 2 << 62 | low & (1 << 62) - 1 for low in rest]
    assert len({parent_of(spelled(value)) for value in made}) == len(rest)
    assert len({found[0] for value in made if (found := parent_of(spelled(value)))}) == len(rest)


@given(st.integers(1, 2**128 - 1), SPAN_IDS)
def test_children_of_a_trace_begun_elsewhere_stay_together(trace_id: int, span_id: int) -> None:
    one, other = parent_of(uuid_of(trace_id, span_id)), parent_of(uuid_of(trace_id, span_id ^ 1))
    assert one is not None
    assert other is not None
    assert one[0] == other[0] == expand(key_of(trace_id))


def test_uuids_of_one_millisecond_get_traces_of_their_own() -> None:
    clock = 0x0190F5F011117000 << 64
    traces = {parent_of(spelled(clock | 0x8000000000000000 | n)) for n in range(1000)}
    assert len({found[0] >> 68 for found in traces if found}) == 1000


def test_what_stands_for_no_span() -> None:
    for text in (
        "",
        "x",
        "0190f5f0",
        spelled(0),
        spelled(5 << 64),
        spelled(2**127)[:-1],
        "{" + spelled(7) + "}",
    ):
        assert parent_of(text) is None, text


def test_documented_example() -> None:
    assert parent_of("0190f5f0-1111-7222-8333-444455556666") == (
        0x6C362B731FAE853B59F495DDBFD8BE59,
        0x8333444455556666,
    )


def test_documented_example_of_a_child() -> None:
    trace_id, _ = parent_of("0190f5f0-1111-7222-8333-444455556666") or (0, 0)
    answered = uuid_of(trace_id, 0x9A1B2C3D4E5F6071)
    assert answered == "6c362b73-1fae-853b-9a1b-2c3d4e5f6071"
    assert parent_of(answered) == (trace_id, 0x9A1B2C3D4E5F6071)


def test_new_ids_fit_the_scheme_and_do_not_follow_the_shared_seed() -> None:
    first, second = OpperIdGenerator(), OpperIdGenerator()
    random.seed(1)
    made = first.generate_trace_id()
    random.seed(1)
    assert second.generate_trace_id() != made
    for _ in range(200):
        trace_id, span_id = first.generate_trace_id(), first.generate_span_id()
        assert expand(key_of(trace_id)) == trace_id
        assert span_id >> 62 == 2
    assert first.is_trace_id_random()
