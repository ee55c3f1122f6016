"""The error tree and its envelope."""

import pytest

from guardproxy import errors
from guardproxy.errors import GuardProxyError, Overloaded, Violation

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, GuardProxyError)]
FINAL = [c for c in CLASSES if c.status in (500, 502, 504) and c.code != "internal_error"]


@pytest.mark.parametrize("kind", [c for c in CLASSES if c not in (GuardProxyError, Violation)])
def test_envelopes(kind: type[GuardProxyError]) -> None:
    error = kind("what was wrong")
    assert error.envelope["error"]["message"] == "what was wrong"
    assert error.envelope["error"]["code"] == kind.code
    assert 400 <= kind.status < 600
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", FINAL)
def test_what_was_paid_for_is_not_retried(kind: type[GuardProxyError]) -> None:
    assert kind("x").headers["x-should-retry"] == "false"


def test_a_violation_has_its_report() -> None:
    error = Violation("no", param="/input", guards=[{"guard_type": "pii"}])
    assert error.envelope["error"]["guards"] == [{"guard_type": "pii"}]


def test_overload_says_when_to_come_back() -> None:
    assert Overloaded("busy").headers == {"retry-after": "1"}
