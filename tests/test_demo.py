"""The README's first command: four exchanges, as described."""

import io
from typing import Any

import pytest
from rich.console import Console

from guardproxy import demo


@pytest.mark.slow
def test_the_demo_shows_four_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()

    def console(*_: Any, **__: Any) -> Console:
        return Console(file=out, width=160, color_system=None)

    monkeypatch.setattr(demo, "Console", console)
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
