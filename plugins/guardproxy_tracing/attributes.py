"""What a finished step says on its span: facts from closed sets, counts, and names that fit the grammar.

No text, no header, no key, no query string and no exception's message ever becomes an attribute.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from guardproxy import Exchange, Finding, Outcome, Stage, Step
from guardproxy_tracing.names import APPLY_GUARDRAIL, GUARDRAIL_BLOCKED, Names
from guardproxy_tracing.recorder import Attributes, Value

KIND: Final = "openinference.span.kind"
ERROR_TYPE: Final = "error.type"
OPERATION: Final = "gen_ai.operation.name"
MODEL: Final = "gen_ai.request.model"
COST: Final = "llm.cost.total"  # OpenInference's: the GenAI conventions have none
# As everywhere in guardproxy: what does not look like a name could be a text that nobody inspected.
_GRAMMAR = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_ROUTE = re.compile(r"/[A-Za-z0-9._:/@{}-]{0,255}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
_NOT_ERRORS = frozenset({"guardrail_violation", GUARDRAIL_BLOCKED, "cancelled", "client_disconnected"})


def label(value: str | None) -> str | None:
    """`value` where it fits the grammar of names."""
    return value if value is not None and _GRAMMAR.fullmatch(value) else None


def method(exchange: Exchange) -> str:
    """The request's method, `_OTHER` for one that HTTP does not know."""
    return exchange.method if exchange.method in _METHODS else "_OTHER"


def route(exchange: Exchange) -> str | None:
    """The path without a query string, where it fits the grammar of paths."""
    return _route(exchange.path)


@lru_cache(maxsize=256)  # templates
def _route(path: str) -> str | None:
    bare = path.partition("?")[0]
    return bare if _ROUTE.fullmatch(bare) else None


def model(exchange: Exchange) -> str | None:
    """The model asked for: where it fits the grammar, and no guard found something in it."""
    return label(exchange.told_model)


def _add_label(found: Attributes, name: str, value: str | None) -> None:
    if value is not None and _GRAMMAR.fullmatch(value):
        found[name] = value


def _present(values: Mapping[str, Value | None]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}


def of_exchange(exchange: Exchange, step: Step) -> Attributes:
    """The whole exchange, when it is over."""
    found: Attributes = {
        KIND: "CHAIN",
        "http.request.method": method(exchange),
        "url.scheme": "http",
        "guardproxy.stream": exchange.stream,
        "guardproxy.overhead.seconds": exchange.overhead_seconds,
        "guardproxy.verdict.input": str(exchange.final_outcome(Stage.INPUT)),
        "guardproxy.verdict.output": str(exchange.final_outcome(Stage.OUTPUT)),
    }
    if (path := route(exchange)) is not None:
        # The path, too, is the template: whatever stands for an id in it, a client chose it.
        found["http.route"] = found["url.path"] = path
    if (status := exchange.status if step.status is None else step.status) is not None:
        found["http.response.status_code"] = status
    if exchange.called:
        found["guardproxy.upstream.seconds"] = exchange.upstream_seconds
    _add_label(found, "guardproxy.outcome", exchange.outcome)
    _add_label(found, "guardproxy.exchange.id", exchange.id)
    _add_label(found, "guardproxy.client", exchange.client)
    _add_label(found, "guardproxy.client.id", exchange.client_id)
    _add_label(found, "guardproxy.name", exchange.told_name)
    if (session := exchange.told_session_id) is not None:
        found["session.id"] = session
    for name, told in exchange.told_trace_members.items():
        found[f"guardproxy.trace.{name}"] = told
    if exchange.events:
        found["guardproxy.events"] = exchange.events
        found["guardproxy.events_delivered"] = exchange.events_delivered
    if exchange.terminal_added:
        found["guardproxy.terminal_added"] = True
    if exchange.outcome == "blocked":
        found[ERROR_TYPE] = GUARDRAIL_BLOCKED
    elif exchange.broke:
        code = label(step.error_type) or label(exchange.error_code)
        found[ERROR_TYPE] = code or str(exchange.status or 500)
    elif step.error_type or exchange.error_code:
        _add_label(found, ERROR_TYPE, step.error_type or exchange.error_code)
    return found


def of_stage(step: Step) -> Attributes:
    """A stage's verdict and receipt."""
    found: Attributes = {KIND: "GUARDRAIL"}
    if step.verdict is not None:
        verdict = step.verdict
        found = {
            KIND: "GUARDRAIL",
            "guardproxy.verdict.outcome": str(verdict.outcome),
            "guardproxy.verdict.findings": len(verdict.findings),
            "guardproxy.verdict.shadowed": len(verdict.shadowed),
            "guardproxy.receipt.parts": verdict.receipt.parts,
        }
        if verdict.receipt.allowed:
            found["guardproxy.receipt.allowed"] = verdict.receipt.allowed
        if verdict.failed:
            found["guardproxy.verdict.failed"] = [name for name in verdict.failed if label(name)]
        for reason, count in verdict.receipt.skipped.items():
            if label(reason):
                found[f"guardproxy.receipt.skipped.{reason}"] = count
        if verdict.outcome is Outcome.BLOCKED:
            found[ERROR_TYPE] = GUARDRAIL_BLOCKED
    return _with_error(found, step)


def of_guard(step: Step, names: Names) -> Attributes:
    """A guard's rule, what became of it, and its time."""
    rule = step.rule
    word, shadow = (None, False) if rule is None else (rule.action.word, rule.shadow)
    found = _of_rule(names, step.name, step.stage, word, shadow).copy()
    found["guardproxy.guard.seconds"] = step.seconds
    found["guardproxy.guard.scanned"] = step.scanned
    found["guardproxy.guard.cached"] = step.cached
    found["guardproxy.guard.findings"] = sum(step.findings.values())
    if step.outcome is not None:
        found["guardproxy.guard.outcome"] = str(step.outcome)
    if step.failure is not None:
        found["guardproxy.guard.failure"] = step.failure
        _add_label(found, "guardproxy.guard.detector", step.detector)
    if step.findings and word == "block" and not shadow:
        found[ERROR_TYPE] = GUARDRAIL_BLOCKED
    return _with_error(found, step)


@lru_cache(maxsize=1024)  # names of guards are few
def _of_rule(names: Names, guard: str, stage: Stage | None, action: str | None, shadow: bool) -> Attributes:
    """What is known of a guard's span before it begins."""
    found: Attributes = {KIND: "GUARDRAIL", names.guard: guard, OPERATION: APPLY_GUARDRAIL}
    if stage is not None:
        found[names.target] = names.targets[stage]
    if action is not None:
        found[names.action] = action
        found |= names.of_action
        found["guardproxy.guard.shadow"] = shadow
    return found


def results(step: Step, names: Names) -> Iterator[Attributes]:
    """One result of a guard for each category that it found; others than well-formed ones are `OTHER`."""
    scores = _scores(step)
    for category, count in step.findings.items():
        result: Attributes = {
            names.category: label(category) or "OTHER",
            names.count: count,
        }
        if category in scores:
            result[names.score] = scores[category]
        if step.rule is not None:
            result[names.action] = step.rule.action.word
            result |= names.of_action
        yield result


def _scores(step: Step) -> dict[str, float]:
    """The highest score of each category."""
    if len(step.findings) == 1 and step.score is not None:
        return dict.fromkeys(step.findings, step.score)
    verdict = step.parent.verdict if step.parent is not None else None
    scores: dict[str, float] = {}
    findings: tuple[Finding, ...] = (*verdict.findings, *verdict.shadowed) if verdict is not None else ()
    for finding in findings:
        if finding.guard == step.name:
            scores[finding.category] = max(scores.get(finding.category, 0.0), finding.score)
    return scores


def of_call(exchange: Exchange, step: Step) -> Attributes:
    """The model asked for; the upstream's answer: its model, its id, its tokens, and what may be told of it.

    With `capture_content` also of what was asked.
    """
    found: Attributes
    if exchange.creates:
        found = {
            KIND: "LLM",
            OPERATION: "chat",
            # The dialect that is spoken, whoever answers: the conventions use it to tell formats apart.
            "gen_ai.provider.name": "openai",
            "gen_ai.request.stream": exchange.stream,
        }
        _add_label(found, MODEL, model(exchange))
    else:
        found = {KIND: "CHAIN"}
    _add_label(found, "gen_ai.response.id", exchange.told_response_id)
    _add_label(found, "gen_ai.response.model", exchange.told_response_model)
    _add_label(found, "guardproxy.response.status", exchange.response_status)
    if exchange.stream and exchange.first_chunk_seconds is not None:
        found["gen_ai.response.time_to_first_chunk"] = exchange.first_chunk_seconds
    if step.status is not None and step.status >= 400:
        found[ERROR_TYPE] = str(step.status)
    elif exchange.response_failed:
        found[ERROR_TYPE] = "response_failed"
    for name, count in exchange.usage.items():
        if name in _USAGE:
            found[_USAGE[name]] = count
    if exchange.cost_usd is not None:
        found[COST] = float(exchange.cost_usd)
    if exchange.content:
        found |= of_content(exchange)
    return _with_error(found, step)


def call_name(found: Attributes) -> str:
    """The name of the call's span, by its attributes: `chat` and the model, where that may be told."""
    if OPERATION not in found:
        return "guardproxy.call"
    return f"chat {found[MODEL]}" if MODEL in found else "chat"


def of_content(exchange: Exchange) -> Attributes:
    """What may be told of the texts (`capture_content`): as JSON."""
    given, answer = (exchange.content.get(stage) for stage in (Stage.INPUT, Stage.OUTPUT))
    return _present(
        {
            "gen_ai.system_instructions": given.instructions if given else None,
            "gen_ai.input.messages": given.messages if given else None,
            "gen_ai.output.messages": answer.messages if answer else None,
        }
    )


def of_attempt(exchange: Exchange, step: Step, before: int) -> Attributes:
    """Where it went, after how many others, and the status that came back."""
    found: Attributes = {KIND: "CHAIN", "http.request.method": method(exchange)}
    if before:
        found["http.request.resend_count"] = before
    if step.url is not None:
        found.update(_of_url(step.url))
    if step.status is not None:
        found["http.response.status_code"] = step.status
        if step.status >= 400:
            found[ERROR_TYPE] = str(step.status)
    _add_label(found, "guardproxy.upstream.name", exchange.upstream)
    if step.failure is not None:
        found["guardproxy.upstream.failure"] = step.failure
    return _with_error(found, step)


@lru_cache(maxsize=256)  # templates: one for each route
def _of_url(url: str) -> Mapping[str, Value]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _present({"url.full": url, "server.address": parts.hostname, "server.port": port})


def _with_error(found: Attributes, step: Step) -> Attributes:
    if step.error_type is not None and step.error_type not in _NOT_ERRORS:
        found[ERROR_TYPE] = label(step.error_type) or "_OTHER"
    return found


def is_error(found: Attributes) -> bool:
    """Whether the span of an inner step has the status ERROR: it names an error that is not a block."""
    return found.get(ERROR_TYPE, GUARDRAIL_BLOCKED) != GUARDRAIL_BLOCKED
