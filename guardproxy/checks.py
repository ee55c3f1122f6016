"""`POST /v1/guard/check`: what a check asks for, what its guards make of it, and what it is told.

A check is a text, or the items of a conversation, on its way nowhere: its guards look at it as they look
at a request's `input` (or, at the stage `output`, at what a response says), and the upstream is not called.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from guardproxy import document, inputs, outputs, report
from guardproxy.document import dumps
from guardproxy.errors import InvalidRequest, Uninspectable, Violation
from guardproxy.exchange import Exchange
from guardproxy.policy import ACTION_HEADER, SPELLED, STAGE_HEADERS, from_headers
from guardproxy.profiles import Form
from guardproxy.report import Reporter
from guardproxy.shapes import ITEM, VOCABULARY, Shape
from guardproxy.stage import StageRun
from guardproxy.types import Guard, Policy, Stage, is_text

SHAPE = Shape({"input": ITEM})
_FIELDS = ("input", "guards", "action", "stage")
_INPUT = ("input",)


class Asked(NamedTuple):
    """What a check asks for: the stage, the guards of that stage, and `{"input": …}` as it was sent."""

    stage: Stage
    policy: Policy
    body: bytes


def read(body: bytes, guards: Mapping[str, Guard]) -> Asked:
    """The check that `body` asks for.

    Raises:
        InvalidRequest: a field that is unknown, missing or of a wrong type; an unknown guard or action.
        Uninspectable: not JSON.
    """
    if not body:
        raise InvalidRequest("The request has no body; send a JSON object with 'input'.")
    text = document.decode(body)
    fields = document.parse(text)
    if not isinstance(fields, dict):
        raise Uninspectable("The body is no JSON object; send one with 'input'.")
    for name in fields:
        if name not in _FIELDS:
            shown = f"'{name}'" if VOCABULARY.fullmatch(name) else "a field"
            raise InvalidRequest(
                f"The body has {shown}, which is not known here. Known: {', '.join(_FIELDS)}."
            )
    if not (isinstance(fields.get("input"), list) or is_text(fields.get("input"))):
        raise _wrong("input", "a string, or a list of items as in a Responses request")
    stage = _stage(fields.get("stage", Stage.INPUT.value))
    value = document.member(text, _INPUT)
    return Asked(stage, _policy(fields, stage, guards), f'{{"input":{value}}}'.encode())


def policy_at(stage: Stage, whole: Policy, guards: Mapping[str, Guard]) -> Policy:
    """The part of the policy `whole` that a check at `stage` meets.

    Raises:
        InvalidRequest: no guard is on: an answer would look as if the text was clean.
    """
    rules = whole.stage(stage)
    part = Policy(input=rules) if stage is Stage.INPUT else Policy(output=rules)
    if not part.enforced():
        known = ", ".join(sorted(name for name, guard in guards.items() if stage in guard.stages))
        raise InvalidRequest(
            f"No guard is on; name some in 'guards'. Guards for {stage}: {known or 'none'}.",
            param="guards",
            code="unknown_guard",
        )
    return part


async def judge(
    run: StageRun, exchange: Exchange, asked: Asked, label: str | None, unscannable: Mapping[str, str]
) -> bytes | None:
    """Have the guards look, as at that stage of an exchange; `{"input": …}` as it may go on, None: blocked.

    Raises:
        GuardProxyError: a guard failed, or what was sent cannot be inspected.
    """
    exchange.name = await inputs.clean_label(run, "X-Opper-Name", label)
    judged = asked.body
    if asked.stage is Stage.INPUT:
        judged = (await inputs.inspect(run, await inputs.read(judged), unscannable)).body
    else:
        reporter = Reporter(exchange, Form.NONE)
        with suppress(Violation):  # an answer about a text is no exchange that was stopped
            judged = await outputs.inspect(run, judged, SHAPE, {}, unscannable, reporter, lambda *_: None)
    return None if run.blocked else judged


def answer(exchange: Exchange, stage: Stage, judged: bytes | None) -> bytes:
    """What the client is told; `judged` is what `judge` gave."""
    verdict = exchange.verdicts[stage]
    told: dict[str, Any] = {
        "object": "guard.check",
        "verdict": {"stage": stage.value, "outcome": verdict.outcome.value},
        "receipt": msgspec.to_builtins(verdict.receipt),
        "guards": report.entries(exchange.policy, exchange.verdicts),
    }
    head = dumps(told)
    if judged is None:
        return head.encode()
    return f'{head[:-1]},"input":{document.member(judged.decode(), _INPUT)}}}'.encode()


def _wrong(field: str, right: str) -> InvalidRequest:
    return InvalidRequest(f"'{field}' must be {right}.", param=field)


def _stage(word: Any) -> Stage:
    if not is_text(word) or word not in set(Stage):
        raise _wrong("stage", " or ".join(f"'{stage}'" for stage in Stage))
    return Stage(word)


def _policy(fields: Mapping[str, Any], stage: Stage, guards: Mapping[str, Guard]) -> Policy:
    """`guards` and `action`, which are spelled as in the headers."""
    names, action = fields.get("guards", ""), fields.get("action", "")
    if isinstance(names, list) and all(map(is_text, names)):
        names = ",".join(names)
    if not is_text(names):
        raise _wrong("guards", "guards separated by commas, or a list of them")
    if not is_text(action):
        raise _wrong("action", "a string")
    header = STAGE_HEADERS[stage]
    try:
        return from_headers({header: names, ACTION_HEADER: action}, guards)
    except InvalidRequest as error:
        field = "guards" if error.param == SPELLED[header] else "action"
        message = error.message.removeprefix(f"{error.param}: ")
        raise InvalidRequest(f"'{field}': {message}", param=field, code=error.error_code) from None
