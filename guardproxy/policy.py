"""Headers and floor to a Policy; a Policy and findings to a Verdict. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence

from guardproxy.errors import InvalidRequest
from guardproxy.types import Action, Finding, Guard, Outcome, Policy, Receipt, Rule, Stage, Verdict

ACTION_HEADER = "x-opper-guard-action"
STAGE_HEADERS = {Stage.INPUT: "x-opper-guard-input", Stage.OUTPUT: "x-opper-guard-output"}
_SPELLED = {
    ACTION_HEADER: "X-Opper-Guard-Action",
    STAGE_HEADERS[Stage.INPUT]: "X-Opper-Guard-Input",
    STAGE_HEADERS[Stage.OUTPUT]: "X-Opper-Guard-Output",
}
_NAME = re.compile(r"[a-z0-9_-]+")
_ACTIONS = ", ".join(action.word for action in Action)


def from_headers(headers: Mapping[str, str], guards: Mapping[str, Guard]) -> Policy:
    """The policy that a request's own headers ask for (names in lower case, repeated ones comma-joined).

    Raises:
        InvalidRequest: an unknown guard, a guard at a stage that it does not serve, or an unknown action.
    """
    default = _default_action(headers.get(ACTION_HEADER, ""))
    rules = {
        stage: _stage_rules(headers.get(name, ""), stage, default, guards)
        for stage, name in STAGE_HEADERS.items()
    }
    return Policy(rules[Stage.INPUT], rules[Stage.OUTPUT])


def _default_action(value: str) -> Action:
    words = [word.strip() for word in value.split(",") if word.strip()]
    return max((_action(word, ACTION_HEADER) for word in words), default=Action.FLAG)


def _stage_rules(value: str, stage: Stage, default: Action, guards: Mapping[str, Guard]) -> dict[str, Rule]:
    header = STAGE_HEADERS[stage]
    rules: dict[str, Rule] = {}
    for entry in value.split(","):
        name, given, word = (piece.strip() for piece in entry.partition("="))
        name = name.lower()
        if not name and not given:
            continue
        check_guard(name, stage, guards, header)
        rule = Rule(_action(word, header) if given else default)
        rules[name] = rules[name].join(rule) if name in rules else rule
    return rules


def check_guard(name: str, stage: Stage, guards: Mapping[str, Guard], header: str) -> None:
    """Refuse a guard that does not exist or does not serve `stage`.

    Raises:
        InvalidRequest: names the guards that there are.
    """
    param = _SPELLED[header]
    known = ", ".join(sorted(n for n, guard in guards.items() if stage in guard.stages)) or "none"
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{param}: a guard's name has the characters a-z, 0-9, _ and -. Guards for {stage}: {known}.",
            param=param,
            code="unknown_guard",
        )
    if name not in guards:
        raise InvalidRequest(
            f"{param}: unknown guard '{name[:64]}'. Guards for {stage}: {known}.",
            param=param,
            code="unknown_guard",
        )
    if stage not in guards[name].stages:
        raise InvalidRequest(
            f"{param}: the guard '{name}' does not serve the {stage}. Guards for {stage}: {known}.",
            param=param,
            code="unknown_guard",
        )


def _action(word: str, header: str) -> Action:
    action = Action.parse(word)
    if action is None:
        raise InvalidRequest(
            f"{_SPELLED[header]}: unknown action. Actions: {_ACTIONS}.",
            param=_SPELLED[header],
            code="unknown_action",
        )
    return action


def join(policies: Iterable[Policy]) -> Policy:
    """The policy that is at least as strict as each."""
    joined = Policy()
    for policy in policies:
        joined = joined.join(policy)
    return joined


def verdict(
    stage: Stage,
    rules: Mapping[str, Rule],
    findings: Sequence[Finding],
    failed: Sequence[str],
    receipt: Receipt,
) -> Verdict:
    """What `rules` make of `findings`: the outcome is that of the strictest action that a finding met."""
    enforced = tuple(f for f in findings if not rules[f.guard].shadow)
    shadowed = tuple(f for f in findings if rules[f.guard].shadow)
    strictest = max((rules[f.guard].action for f in enforced), default=None)
    outcome = _OUTCOMES[strictest] if strictest else (Outcome.FLAGGED if failed else Outcome.CLEAN)
    return Verdict(stage, outcome, enforced, shadowed, tuple(failed), receipt)


_OUTCOMES = {
    Action.FLAG: Outcome.FLAGGED,
    Action.REDACT: Outcome.REDACTED,
    Action.BLOCK: Outcome.BLOCKED,
}
