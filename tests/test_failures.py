"""The upstream's errors in the envelope of a front door."""

import json
from typing import Any

import pytest

from guardproxy.failures import told
from guardproxy.profiles import GATEWAY, JULEP, OPENRESPONSES, OPENROUTER, OPPER, Profile

ERROR = {"message": "no", "type": "requests", "code": "slow_down", "param": "model", "more": 1}


@pytest.mark.parametrize("profile", [OPENRESPONSES, OPPER, OPENROUTER])
@pytest.mark.parametrize("status", [400, 500])
def test_elsewhere_they_pass_as_they_came(profile: Profile, status: int) -> None:
    assert told(profile, status, b'{"error": 1}') == (status, b'{"error": 1}')


@pytest.mark.parametrize("profile", [GATEWAY, JULEP])
def test_what_is_no_error_passes_as_it_came(profile: Profile) -> None:
    assert told(profile, 200, b'{"message": "x"}') == (200, b'{"message": "x"}')


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "authentication_error"),
        (429, "rate_limit_exceeded"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_is_that_of_the_status(status: int, kind: str) -> None:
    body = json.dumps({"error": ERROR}).encode()
    got, flat = told(JULEP, status, body)
    assert (got, json.loads(flat)) == (status, {**ERROR, "type": kind})
    got, nested = told(GATEWAY, status, body)
    broken = {"code": "upstream_error"} if status >= 500 else {}
    assert (got, json.loads(nested)) == (
        502 if status >= 500 else status,
        {"error": {**ERROR, "type": kind, **broken}},
    )


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "no"}}, "no", None),
        ({"message": "no", "code": "c"}, "no", "c"),
        ({"error": "no"}, "no", None),
        ({"error": {"code": "c"}}, "The upstream answered with 400.", "upstream_error"),
        ({"error": None}, "The upstream answered with 400.", "upstream_error"),
        ([], "The upstream answered with 400.", "upstream_error"),
        ("<html>", "The upstream answered with 400.", "upstream_error"),
        ('\ufeff{"message": "no"}', "no", None),
        ('{"message": 5}', "The upstream answered with 400.", "upstream_error"),
        ('{"message": "no", "more": NaN}', "The upstream answered with 400.", "upstream_error"),
        ('{"message": "yes", "message": "no"}', "The upstream answered with 400.", "upstream_error"),
    ],
)
def test_all_members_are_there(body: Any, message: str, code: str | None) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    status, flat = told(JULEP, 400, raw)
    assert json.loads(flat) == {
        "message": message,
        "type": "invalid_request_error",
        "code": code,
        "param": None,
    }
    assert status == 400
    assert json.loads(told(GATEWAY, 400, raw)[1])["error"]["message"] == message


def test_numbers_stay_as_they_came() -> None:
    _, flat = told(JULEP, 400, b'{"message": "no", "more": [1e999, 1.50, ' + b"1" * 5000 + b"]}")
    assert b'"more":[1e999,1.50,' + b"1" * 5000 in flat


def test_what_guards_cannot_read_is_not_read_here_either() -> None:
    _, flat = told(JULEP, 400, json.dumps({"message": "no"}).encode("utf-16"))
    assert json.loads(flat)["message"] == "The upstream answered with 400."
