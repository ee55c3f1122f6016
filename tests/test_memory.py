"""The memory of policies: by response, for a day, only ever tighter, bounded in bytes."""

import tracemalloc

import pytest

from guardproxy.exchange import Exchange
from guardproxy.memory import ENTRY_BYTES, KEPT, POLICY_BYTES, RULE_BYTES, Past, PolicyMemory
from guardproxy.routes import ROUTES, Route
from guardproxy.types import Action, Policy, Rule

FLAG = Policy(output={"tags": Rule()})
REDACT = Policy(output={"tags": Rule(Action.REDACT)})
NONE = Policy()


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_policy_is_one_response_s_and_its_id_is_not_kept() -> None:
    memory = PolicyMemory()
    memory.remember("resp_1", REDACT)
    assert memory.recall("resp_1") == REDACT
    assert memory.recall("resp_2") == NONE
    assert "resp_1" not in repr(vars(memory))


def test_it_is_kept_for_a_day() -> None:
    clock = Clock()
    memory = PolicyMemory(now=clock)
    memory.remember("resp_1", REDACT)
    clock.seconds += KEPT / 2
    memory.remember("resp_2", FLAG)
    clock.seconds += KEPT / 2 - 1
    assert memory.recall("resp_1") == REDACT
    clock.seconds += 1
    assert memory.recall("resp_1") == NONE
    assert memory.recall("resp_2") == FLAG
    clock.seconds += KEPT
    assert memory.recall("resp_2") == NONE
    assert (len(memory), memory.used) == (0, 0)


def test_a_known_policy_is_only_tightened() -> None:
    memory = PolicyMemory()
    for policy in (FLAG, REDACT, FLAG, Policy(output={"pairs": Rule()})):
        memory.remember("resp_1", policy)
    assert memory.recall("resp_1").output == {"tags": Rule(Action.REDACT), "pairs": Rule()}
    assert memory.used == ENTRY_BYTES + POLICY_BYTES + 2 * RULE_BYTES


def test_equal_policies_are_kept_once_and_the_oldest_response_goes_first() -> None:
    memory = PolicyMemory(POLICY_BYTES + RULE_BYTES + 3 * ENTRY_BYTES)
    for number in range(5):
        memory.remember(f"resp_{number}", Policy(output={"tags": Rule(Action.REDACT)}))
    known = [memory.recall(f"resp_{number}") == REDACT for number in range(5)]
    assert known == [False, False, True, True, True]
    assert memory.used == memory.size


@pytest.mark.parametrize("kinds", [1, 20_000])
def test_the_bytes_are_not_more_than_was_allowed(kinds: int) -> None:
    size = 1024 * 1024
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        memory = PolicyMemory(size)
        for number in range(20_000):
            rules = {f"guard-{number % kinds}-{i}": Rule(Action.BLOCK) for i in range(3)}
            memory.remember(f"resp_{number}", Policy(dict(list(rules.items())[:1]), rules))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory.used > size * 0.99
    assert after - before <= size


def past(route: Route, memory: PolicyMemory, response_id: str | None = None) -> Past:
    return Past(memory, route, response_id)


def made(policy: Policy) -> Exchange:
    return Exchange("POST", "/v1/responses", {}, policy=policy)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.method + route.tail)
def test_what_a_route_remembers(route: Route) -> None:
    memory = PolicyMemory()
    of_route = past(route, memory, "resp_1" if "{id}" in route.tail else None)
    of_route.learned(made(REDACT), "resp_1")
    assert len(memory) == ((route.method, route.tail) in {("POST", ""), ("POST", "/compact")})
    memory.remember("resp_1", REDACT)
    assert of_route.policy() == (REDACT if "{id}" in route.tail else NONE)


def test_what_is_not_worth_remembering() -> None:
    memory = PolicyMemory()
    past(ROUTES[0], memory).learned(made(NONE), "resp_1")
    past(ROUTES[0], memory).learned(made(REDACT), None)
    assert len(memory) == 0
