"""What a stream holds back: `uv run python -m tests.bench.holdback` (about a minute).

For each guard and kind of text, in deltas of five characters: how many characters have come before
the first leaves, how many are held on the average and at most; beside it the length of the text, which
is what a proxy holds that buffers the whole.
"""

import asyncio
import base64
import json
from contextlib import nullcontext
from pathlib import Path

from guardproxy.channels import FlowingText
from guardproxy.config import load_settings
from guardproxy.plugins import collect_guards, load_plugins, settings_types
from guardproxy.scanning import Scanner
from guardproxy.stage import StageRun
from guardproxy.types import Action, Rule, Stage
from tests.bench.figures import prose

DELTA = 5
LENGTH = 6000


def texts() -> dict[str, str]:
    """One text of each kind."""
    rows = [
        {"id": i, "name": f"row {i}", "url": f"https://example.org/a%20b?q={i}&amp;x"} for i in range(100)
    ]
    return {
        "prose": prose(LENGTH, 1),
        "code": Path(__file__).with_name("figures.py").read_text()[:LENGTH],
        "JSON with URLs": json.dumps(rows)[:LENGTH],
        "base64": base64.b64encode(bytes((i * i) % 251 for i in range(LENGTH))).decode()[:LENGTH],
    }


async def held(scanner: Scanner, guards: tuple[str, ...], text: str) -> tuple[int, float, int]:
    """Characters before the first that leaves, and those held: on the average, and at most."""
    rules = {name: Rule(Action.REDACT) for name in guards}
    run = StageRun(Stage.OUTPUT, rules, scanner, "[{category}]", lambda _: nullcontext())
    channel = FlowingText(run, run.guards, ("x",))
    first, counts = 0, []
    for start in range(0, len(text), DELTA):
        await channel.push(text[start : start + DELTA])
        if channel.safe and not first:
            first = channel.end
        channel.take(channel.delivered, channel.end)
        counts.append(channel.end - channel.safe)
    return first or len(text), sum(counts) / len(counts), max(counts)


async def measure() -> None:
    """Print the table."""
    manager = load_plugins()
    settings = load_settings(None, {}, {}, settings_types(manager))
    scanner = Scanner(collect_guards(manager, settings), settings)
    await scanner.start()
    print("| guards | text | before the first character | held, average | held, most | buffering |")
    print("|---|---|---|---|---|---|")
    try:
        for guards in (("secrets",), ("pii",), ("toxicity",), ("pii", "secrets", "toxicity")):
            for name, text in texts().items():
                first, average, most = await held(scanner, guards, text)
                print(f"| {', '.join(guards)} | {name} | {first} | {average:.0f} | {most} | {len(text)} |")
    finally:
        await scanner.stop()


if __name__ == "__main__":
    asyncio.run(measure())
