"""What the tests of coverage have in common: inspect a document, and search what leaves of it."""

import base64
import json
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import unquote

from guardproxy import inputs, outputs
from guardproxy.errors import GuardProxyError
from guardproxy.exchange import Exchange
from guardproxy.profiles import Form
from guardproxy.report import Reporter
from guardproxy.shapes import RESPONSE
from guardproxy.stage import StageRun
from guardproxy.types import Action, Policy, Rule, Stage
from tests.test_streaming import SCANNER


def in_message(part: Any) -> Any:
    return {"type": "message", "role": "user", "content": [part]}


def annotated(annotation: Any) -> Any:
    return in_message({"type": "output_text", "text": "x", "annotations": [annotation]})


def leaks(data: bytes, tag: str = "7351") -> bool:
    """Whether `data` has the canary's number: as it is, escaped, in base64 or percent-encoded."""
    text = data.decode()
    if tag in text:
        return True
    for line in text.splitlines():
        try:
            value = json.loads(line.removeprefix("data: "))
        except ValueError:
            continue
        if any(tag in form for string in _strings(value) for form in _forms(string)):
            return True
    return False


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from _strings(element)


def _forms(string: str) -> Iterator[str]:
    yield from (string, unquote(string))
    with suppress(ValueError):
        packed = unquote(string.rpartition(",")[2])  # as the most lenient reader takes it
        yield base64.b64decode(packed + "==").decode("utf-8", "replace")
    with suppress(ValueError):
        yield from _strings(json.loads(string))


def stage(side: Stage, action: Action) -> tuple[StageRun, Exchange]:
    rules = {"tags": Rule(action)}
    exchange = Exchange("POST", "/v1/responses", {}, policy=Policy(rules, rules))
    exchange.status = 200
    return StageRun(side, rules, SCANNER, "[{category}]", lambda _: nullcontext()), exchange


async def inspected(side: Stage, action: Action, document: Any) -> tuple[bytes, StageRun]:
    """What leaves of a whole document (nothing, where it is blocked)."""
    run, exchange = stage(side, action)
    body = json.dumps(document).encode()
    try:
        if side is Stage.INPUT:
            forwarded = await inputs.inspect(run, await inputs.read(body), {})
            return b"" if run.blocked else forwarded.body, run
        reporter = Reporter(exchange, Form.NONE)
        return await outputs.inspect(run, body, RESPONSE, {}, {}, reporter, lambda *_: None), run
    except GuardProxyError as error:
        if error.error_code != "guardrail_violation":  # that of an item bound to a sealed copy is the same
            raise
        return b"", run
