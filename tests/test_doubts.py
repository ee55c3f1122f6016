"""What in the settings can work but is hardly meant, and what is not doubtful."""

from typing import Any

import pytest

from guardproxy.doubts import doubts
from guardproxy.settings import ClientKey, Settings, UpstreamSettings

KEYS = (ClientKey("a", "ab" * 32),)
PUBLIC, NEAR = "https://api.example.com/v1", "http://127.0.0.1:11434/v1"
BASE = "set the base URL, such as https://api.openai.com/v1."
NO_CREDENTIAL = ": where there are [[keys]], the client's is one of those and is not passed on. Set "


def upstream(name: str, url: str = PUBLIC, **given: Any) -> UpstreamSettings:
    times = dict.fromkeys(("connect_timeout", "upstream_timeout", "stream_idle_timeout"), 1.0)
    return UpstreamSettings(name=name, url=url, **{**times, **given})


def found(**settings: Any) -> list[str]:
    return list(doubts(Settings(**settings)))


def test_nothing_is_doubtful_by_default() -> None:
    assert found() == []


@pytest.mark.parametrize("endpoint", ["/responses", "/chat/completions", "/completions", "/models"])
@pytest.mark.parametrize("base", [PUBLIC, NEAR])
def test_a_url_that_is_an_endpoint(base: str, endpoint: str) -> None:
    told = f"ends in {endpoint}, and requests would go below that: {BASE}"
    assert found(upstream=base + endpoint) == [f"The URL of the upstream {told}"]
    assert found(upstreams=(upstream("x"), upstream("y", base + endpoint.title()))) == [
        f'The URL of the 2nd [[upstreams]] ("y") {told}'
    ]


def test_a_url_without_a_path() -> None:
    told = f"has no path, and most providers' ends in /v1: {BASE}"
    assert found(upstream="https://openrouter.ai") == [f"The URL of the upstream {told}"]
    for near in ("http://127.0.0.1:8000", "http://[::1]:1", "http://10.1.2.3", "http://vllm:8000"):
        assert found(upstream=near) == []
    assert found(upstream="https://openrouter.ai/api/v1") == []


def test_keys_beside_an_upstream_without_one() -> None:
    assert found(keys=KEYS, upstream=PUBLIC) == [
        f"No credential is sent to the upstream{NO_CREDENTIAL}upstream_api_key."
    ]
    assert found(keys=KEYS, upstream=PUBLIC, upstream_api_key="x") == []
    several = (upstream("x", api_key="x"), upstream("y"), upstream("to-be-set", api_key=""))
    assert found(keys=KEYS, upstreams=several) == [
        f'No credential is sent to the 2nd [[upstreams]] ("y"){NO_CREDENTIAL}its api_key.'
    ]
    assert found(upstreams=several) == []
    assert found(keys=KEYS, upstream=NEAR) == []  # a model server there seldom asks for one
    assert found(keys=KEYS, upstreams=(upstream("azure", headers={"x-goog-api-key": "x"}),)) == []


def test_a_pattern_that_two_upstreams_have() -> None:
    several = (
        upstream("x", models=("a-*", "b", "a-*")),
        upstream("y", models=("c", "b", "a-*")),
        upstream("z"),  # by its name alone
    )
    assert found(upstreams=several) == [
        f'No model by "{pattern}" goes to the 2nd [[upstreams]] ("y"): the 1st [[upstreams]] ("x") has the '
        "same pattern."
        for pattern in ("b", "a-*")
    ]
