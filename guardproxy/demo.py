"""`guardproxy demo`: a stand-in provider, the proxy, and four exchanges as each side sees them."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from guardproxy import logs
from guardproxy.app import create_app
from guardproxy.config import load_settings
from guardproxy.exchange import Exchange
from guardproxy.hookspecs import hookimpl
from guardproxy.plugins import load_plugins, settings_types
from guardproxy.serve import running
from guardproxy.testing.events import joined_text, output_text, parse_sse
from guardproxy.testing.upstream import FakeUpstream, Script
from guardproxy.types import Step, StepKind

# Fake, and in pieces so that no scanner takes them for real.
CARD = " ".join(("4111", "1111", "1111", "1111"))
KEY = "AKIA" + "Q3EGRTB7" + "ZK4MWX2P"
MODEL = os.environ.get("GUARDPROXY_DEMO_MODEL", "gpt-4.1-mini")
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Scene:
    """One exchange of the demo."""

    title: str
    lesson: str
    text: str
    guards: Mapping[str, str]
    stream: bool = False


SCENES = (
    Scene(
        "flag",
        "Nothing changes; the response says what was found.",
        "I am Ada Lovelace, write to ada@example.org.",
        {"X-Opper-Guard-Input": "pii", "X-Opper-Guard-Action": "flag"},
    ),
    Scene(
        "redact",
        "The provider never sees the card number or the key.",
        f"Charge {CARD}, and use the key {KEY}.",
        {"X-Opper-Guard-Input": "pii,secrets", "X-Opper-Guard-Action": "redact"},
    ),
    Scene(
        "block",
        "The provider is not called at all.",
        f"Deploy with {KEY} please.",
        {"X-Opper-Guard-Input": "secrets", "X-Opper-Guard-Action": "block"},
    ),
    Scene(
        "a stream, redacted as it arrives",
        "The provider sends the number digit by digit; the first digit is held until it is known what it is.",
        f"Please repeat: my card is {CARD}, thank you.",
        {"X-Opper-Guard-Output": "pii", "X-Opper-Guard-Action": "redact"},
        stream=True,
    ),
)


class Witness:
    """A plugin that keeps what was forwarded, and knows when an exchange has ended."""

    def __init__(self) -> None:
        self.forwarded: bytes | None = None
        self.ended = asyncio.Event()

    @hookimpl
    def guardproxy_step(self, step: Step) -> AbstractContextManager[object] | None:
        """Say when an exchange is over and traced: this plugin was entered before `tracing`."""
        return self._end() if step.kind is StepKind.EXCHANGE else None

    @contextlib.contextmanager
    def _end(self) -> Iterator[None]:
        yield
        self.ended.set()

    @hookimpl
    def guardproxy_before_forward(self, exchange: Exchange) -> None:
        """Look at the request as the provider gets it."""
        self.forwarded = exchange.request


def run_demo(upstream: str | None, serve: bool) -> int:
    """Run the four exchanges; the exit code, which is 1 when the provider cannot be reached.

    `upstream` is a real provider, `serve` leaves the proxy running.
    """
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        return asyncio.run(_demo(Console(), upstream, serve))
    return 0


async def _demo(console: Console, upstream: str | None, serve: bool) -> int:
    with contextlib.ExitStack() as stack:
        if upstream is None:
            upstream = stack.enter_context(FakeUpstream(Script(chunk=1))).url
            console.print(f"A stand-in provider that repeats what it is told: {upstream}")
        elif upstream.startswith("https:") and not os.environ.get("OPENAI_API_KEY"):
            console.print("OPENAI_API_KEY is not set: the provider gets no key of yours, and may refuse.")
        witness = Witness()
        manager = load_plugins([("demo", witness)])
        flags = {"upstream": upstream, "log_level": "error"}
        settings = load_settings(None, {}, flags, settings_types(manager))
        logs.configure(settings)
        console.print("Starting guardproxy; its models load in a worker process ...")
        tracing: Any = manager.get_plugin("tracing")
        spans = stack.enter_context(tracing.record())

        def traced() -> Iterator[Tree]:
            yield from tracing.trees(spans)

        async with running(create_app(settings, plugins=manager)) as base:
            console.print(f"guardproxy: {base}/v1\n")
            async with httpx.AsyncClient(base_url=base, timeout=600, trust_env=False) as client:
                for number, scene in enumerate(SCENES, 1):
                    witness.forwarded = None
                    witness.ended.clear()
                    spans.clear()
                    problem = await _play(console, client, number, scene, witness, traced)
                    if problem is not None:
                        console.print(f"The demo stops, for the provider does not answer: {problem}")
                        return 1
            _advise(console, base if serve else None)
            if serve:
                console.print("\nguardproxy goes on serving; Ctrl+C ends it.")
                await asyncio.Event().wait()
    return 0


async def _play(
    console: Console,
    client: httpx.AsyncClient,
    number: int,
    scene: Scene,
    witness: Witness,
    traced: Callable[[], Iterable[Tree]],
) -> str | None:
    """Show one exchange; why the provider was not reached, where it was not."""
    body = {"model": MODEL, "input": scene.text, **({"stream": True} if scene.stream else {})}
    key = os.environ.get("OPENAI_API_KEY", "demo")
    response = await client.post(
        "/v1/responses", json=body, headers={"Authorization": f"Bearer {key}", **scene.guards}
    )
    headers = "\n".join(f"{name}: {value}" for name, value in scene.guards.items())
    console.rule(f"[bold]{number}. {scene.title}", align="left")
    console.print(scene.lesson, style="italic")
    problem = _unreached(response)
    if witness.forwarded is None:
        seen = "(not called)"
    else:
        seen = "(not reached)" if problem else json.loads(witness.forwarded)["input"]
    panels = [
        ("The application sent", f"{headers}\n\n{scene.text}"),
        ("The provider saw", seen),
        ("The client got", _got(response)),
    ]
    _show(console, panels)
    await asyncio.wait_for(witness.ended.wait(), 5)  # the client has its last byte a moment earlier
    for tree in traced():
        console.print(tree)
    console.print()
    return problem


def _show(console: Console, panels: Sequence[tuple[str, str]]) -> None:
    """The panels side by side, or one below the other where a third of the screen breaks lines."""
    beside = console.width >= WIDTH
    width = WIDTH // len(panels) - 1 if beside else console.width
    shown = [Panel(Text(text), title=title, width=width) for title, text in panels]
    console.print(Columns(shown) if beside else Group(*shown))


def _unreached(response: httpx.Response) -> str | None:
    """The message of guardproxy's error that the provider did not answer; its own errors are answers."""
    ours = response.headers.get("x-request-id", "").startswith("req_")
    if response.status_code not in (502, 504) or not ours:
        return None
    error = response.json()["error"]
    return str(error["message"]) if error["code"] in ("upstream_error", "upstream_timeout") else None


def _got(response: httpx.Response) -> str:
    told = f"{response.status_code}  {response.headers.get('x-guardproxy-verdict', '')}\n\n"
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        events = parse_sse(response.content)
        deltas = [e["delta"] for e in events if e.get("type") == "response.output_text.delta"]
        shown = " ".join(repr(delta) for delta in deltas if delta)
        return f"{told}{joined_text(events)}\n\n{len(deltas)} deltas: {shown}"
    answer = response.json()
    if answer.get("error"):
        return f"{told}{answer['error']['code']}\n{answer['error']['message']}"
    lines = [told + output_text(answer)]
    for entry in answer.get("guards", []):
        lines += [
            f"{entry['guard_type']}: {found['category']} at {found['path']} {found['start']}-{found['end']}"
            for found in entry["findings"]
        ]
    return "\n".join(lines)


def _advise(console: Console, base: str | None) -> None:
    """How an application uses the proxy: this one at `base`, or one that is yet to start."""
    console.rule("[bold]Your application", align="left")
    start = (
        "Start the proxy, and change one base URL (`pip install openai`):\n\n"
        "  uv run guardproxy serve --upstream https://api.openai.com/v1\n\n"
    )
    console.print(
        Text(
            (start if base is None else "Change one base URL (`pip install openai`):\n\n")
            + "  from openai import OpenAI\n"
            f'  client = OpenAI(base_url="{base or "http://127.0.0.1:8080"}/v1",\n'
            '                  default_headers={"X-Opper-Guard-Input": "pii,secrets",\n'
            '                                   "X-Opper-Guard-Action": "redact"})\n'
        )
    )
