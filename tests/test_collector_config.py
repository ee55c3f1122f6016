"""otel-collector.yaml: what only a collector could tell for sure, as far as it can be told without one."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
DOCS = "".join((ROOT / f"docs/{page}.md").read_text("utf-8") for page in ("tracing", "spans", "metrics"))
TEXT = (ROOT / "otel-collector.yaml").read_text("utf-8")
REFERENCE = re.compile(r"\$\{env:([A-Z_]+):-([^}]*)\}")
CONFIG: dict[str, Any] = msgspec.yaml.decode(REFERENCE.sub(lambda found: found[2], TEXT))
KINDS = ("receivers", "processors", "exporters", "extensions")
KNOWN = {
    "receivers": {"otlp"},
    "processors": {"memory_limiter", "redaction"},
    "exporters": {"otlp_grpc", "otlp_http", "prometheus", "debug"},
    "extensions": {"health_check"},
}
# Aliases of the two OTLP exporters since 0.144; a processor and exporters that were, or are being, removed.
DEPRECATED = {"exporters": {"otlp", "otlphttp", "logging", "jaeger"}, "processors": {"batch"}}
REDACTION = CONFIG["processors"]["redaction"]
VALUES = [re2.compile(pattern) for pattern in REDACTION["blocked_values"]]
KEYS = [re2.compile(pattern) for pattern in REDACTION["blocked_key_patterns"]]


def used(kind: str) -> set[str]:
    service = CONFIG["service"]
    if kind == "extensions":
        return set(service["extensions"])
    return {name for pipeline in service["pipelines"].values() for name in pipeline[kind]}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_defined_is_used_and_known(kind: str) -> None:
    assert used(kind) == set(CONFIG[kind])
    types = {name.partition("/")[0] for name in CONFIG[kind]}
    assert types <= KNOWN[kind]
    assert not types & DEPRECATED.get(kind, set())


def test_it_has_no_other_part() -> None:
    assert set(CONFIG) == {*KINDS, "service"}


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_memory_is_limited_first_and_batches_are_made_last(signal: str) -> None:
    pipeline = CONFIG["service"]["pipelines"][signal]
    assert pipeline["processors"] == ["memory_limiter", "redaction"]
    for name in pipeline["exporters"]:
        if name.startswith("otlp"):
            assert CONFIG["exporters"][name]["sending_queue"]["batch"]


def test_nothing_listens_or_goes_beyond_the_loopback_unless_the_environment_says_so() -> None:
    def endpoints(value: Any) -> list[str]:
        if not isinstance(value, dict):
            return []
        return [v for k, v in value.items() if k == "endpoint"] + [
            found for inner in value.values() for found in endpoints(inner)
        ]

    found = endpoints(CONFIG)
    assert len(found) == len(set(found)) == 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", one) for one in found)
    assert len(re.findall(r"endpoint: \$\{env:", TEXT)) == len(found)


def test_its_head_names_each_variable_and_no_dollar_sign_stands_alone() -> None:
    head = TEXT.partition("\nextensions:")[0]
    names = {name for name, _ in REFERENCE.findall(TEXT)}
    assert set(re.findall(r"OTELCOL_[A-Z_]+", head)) == names
    assert "$" not in REFERENCE.sub("", TEXT)


HIDDEN = "x9Kd2mQ7vB4nR8sT1wZ5yC3f"


@pytest.mark.parametrize(
    "value",
    [
        "4111" + "1111" + "1111" + "1111",
        "paid with 4111" + " 1111" + " 1111" + " 1111.",
        "5500" + "-0000" + "-0000" + "-0004",
        "3782" + "822463" + "10005",
        "3782" + " 822463" + " 10005",
        "ask ada.lovelace" + "@" + "mail.example.org",
        "Bearer " + HIDDEN,
        "bearer  " + HIDDEN,
        "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxIn0xMjM0" + "." + HIDDEN,
        "https://user:" + HIDDEN + "@api.example.org",
        "sk-" + "proj-" + HIDDEN,
        "sk_" + "live_" + HIDDEN,
        "AK" + "IA" + "Z7QK4M2TP3XW6VNB",
        "gh" + "p_" + HIDDEN + HIDDEN,
        "github" + "_pat_" + HIDDEN,
        "gl" + "pat-" + HIDDEN,
        "xo" + "xb-" + HIDDEN,
        "AI" + "za" + HIDDEN + "AbCdEfGhIjK",
        "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIE\nabcd",
    ],
)
def test_what_must_not_pass_is_masked(value: str) -> None:
    masked = value
    for pattern in VALUES:
        masked = pattern.sub("****", masked)
    assert "****" in masked
    for secret in (HIDDEN, "1111", "0005", "ada", "Z7QK4M2T", "MIIE"):
        assert secret not in masked


@pytest.mark.parametrize(
    "value",
    [
        *("gpt-4.1-mini", "openai/gpt-oss-120b", "claude-opus-4@20250514", "@cf/meta/llama-3.1-8b-instruct"),
        *("ft:gpt-4.1:acme::9abcXYZ", "POST /v1/responses", "/v1/responses/{id}", "guardrail_blocked"),
        *("EMAIL_ADDRESS", "CREDIT_CARD", "billing/summary", "api.openai.com", "127.0.0.1", "llm_output"),
        *("00-6c362b731fae853b59f495ddbfd8be59-9a1b2c3d4e5f6071-01", "2026-11-25T10:00:00.123456Z"),
        *("12345678-1234-8234-9234-123456789012", "41111111-4111-4111-9111-411111111111"),
    ],
)
def test_what_spans_say_passes(value: str) -> None:
    assert not [pattern.pattern for pattern in VALUES if pattern.search(value)]


HEX = "0123456789abcdef"


@given(
    st.uuids().map(str)
    | st.text(HEX, min_size=32, max_size=32)
    | st.text(HEX, min_size=32, max_size=32).map("req_{}".format)
    | st.text(HEX, min_size=48, max_size=64).map("resp_{}".format)
    | st.text("0123456789", min_size=24, max_size=50).map("resp_{}".format)
)
def test_no_id_is_masked(value: str) -> None:
    assert not [pattern.pattern for pattern in VALUES if pattern.search(value)]


@pytest.mark.parametrize(
    ("key", "blocked"),
    [
        ("http.request.header.authorization", True),
        ("http.request.header.x-api-key", True),
        ("http.response.header.set-cookie", True),
        ("Authorization", True),
        ("db.password", True),
        ("app.api_key.value", True),
        ("gen_ai.usage.input_tokens", False),
        ("guardproxy.client", False),
        ("authorized", False),
    ],
)
def test_keys_that_hold_credentials_are_blocked(key: str, blocked: bool) -> None:
    assert any(pattern.search(key) for pattern in KEYS) == blocked


def test_no_attribute_of_ours_is_blocked() -> None:
    names = set(re.findall(r"`\.?((?:guardproxy|gen_ai|http|server|error|openinference)\.[a-z_.]+)`", DOCS))
    assert len(names) > 30
    assert not [name for name in names if any(pattern.search(name) for pattern in KEYS)]
