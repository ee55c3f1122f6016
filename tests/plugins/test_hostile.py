"""Texts made to hang a guard: each shipped guard is through with them. The slowest kinds are short here."""

from contextlib import nullcontext

import pytest

from guardproxy.plugins import collect_guards, load_plugins
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.types import Guard, Rule, Stage, TextPart

GUARDS = collect_guards(load_plugins(), Settings(guard_timeout=600.0))
MODELS = ("toxicity", "prompt_injection")  # they take as long for any text: 40 ms for 1,000 characters
TEXTS = {
    "one word": "a" * 1_000_000,
    "one number": "7" * 1_000_000,
    "numbers": "0.1.2.3." * 100_000,
    "capitals": "Aa " * 50_000,
    "one word a line": "Anna\n" * 30_000,
}


def loaded(guard: Guard) -> Guard:
    for detector in guard.detectors:
        detector.load()
        detector.inline_below = 1 << 30
    return guard


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("text", TEXTS)
async def test_no_text_hangs_a_guard(name: str, text: str) -> None:
    guard = loaded(GUARDS[name])
    stage = next(stage for stage in Stage if stage in guard.stages)
    scanner = Scanner({name: guard}, Settings(guard_timeout=600.0))
    run = StageRun(stage, {name: Rule()}, scanner, "", lambda _: nullcontext())
    length = 60_000 if name in MODELS else 1_000_000
    parts = [TextPart(("x",), TEXTS[text][:length])]
    run.apply(parts, await run.hits(parts, run.guards))
    assert run.finish().failed == ()
