"""The README's first command: four exchanges, as described."""

import io
import socket
from typing import Any

import pytest
from rich.console import Console

from guardproxy import demo


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the demo prints."""
    out = io.StringIO()

    def console(*_: Any, **__: Any) -> Console:
        return Console(file=out, width=160, color_system=None)

    monkeypatch.setattr(demo, "Console", console)
    return out


@pytest.mark.slow
def test_a_provider_that_cannot_be_reached_ends_the_demo(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and nobody listens
        port = silent.getsockname()[1]
        assert demo.run_demo(f"https://127.0.0.1:{port}/v1", serve=False) == 1
    text = " ".join(out.getvalue().split())
    for shown in ("OPENAI_API_KEY is not set", "(not reached)", "The demo stops, for the provider does not"):
        assert shown in text, shown
    assert "2. redact" not in text


@pytest.mark.parametrize(
    ("base", "url", "starts"),
    [(None, "http://127.0.0.1:8080/v1", True), ("http://127.0.0.1:5", "http://127.0.0.1:5/v1", False)],
)
def test_the_advice_names_the_proxy_that_serves(base: str | None, url: str, starts: bool) -> None:
    out = io.StringIO()
    demo._advise(Console(file=out, width=160, color_system=None), base)
    assert f'base_url="{url}"' in out.getvalue()
    assert ("uv run guardproxy serve" in out.getvalue()) is starts


@pytest.mark.parametrize(("width", "beside"), [(80, False), (109, False), (110, True), (200, True)])
def test_a_narrow_screen_has_the_panels_one_below_the_other(width: int, beside: bool) -> None:
    line = "secrets: AWS_ACCESS_KEY at /input 44-64"
    out = io.StringIO()
    panels = [("one", "1"), ("two", "2"), ("three", line)]
    demo._show(Console(file=out, width=width, color_system=None), panels)
    first = out.getvalue().splitlines()[0]
    assert ("three" in first) is beside
    assert beside or line in out.getvalue()


@pytest.mark.slow
def test_the_demo_shows_four_exchanges(out: io.StringIO) -> None:
    assert demo.run_demo(None, serve=False) == 0
    text = " ".join(out.getvalue().split())
    for shown in (
        "input=flagged",
        "EMAIL_ADDRESS at /input",
        "[CREDIT_CARD]",
        "[AWS_ACCESS_KEY].",
        "(not called)",
        "guardrail_violation",
        "'[CREDIT_CARD]'",
        "apply_guardrail pii",
        "guardproxy.guard output",
        "base_url=",
    ):
        assert shown in text, shown
