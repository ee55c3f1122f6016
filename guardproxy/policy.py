"""Floor, key, headers and plugins to a Policy; a Policy and findings to a Verdict. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from guardproxy.errors import InternalError, InvalidRequest
from guardproxy.settings import ClientKey
from guardproxy.types import Action, Finding, Guard, Outcome, Policy, Receipt, Rule, Stage, Verdict

ACTION_HEADER = "x-opper-guard-action"
REPORT_HEADER = "x-opper-guard-report"
STAGE_HEADERS = {Stage.INPUT: "x-opper-guard-input", Stage.OUTPUT: "x-opper-guard-output"}
SPELLED = {
    STAGE_HEADERS[Stage.INPUT]: "X-Opper-Guard-Input",
    STAGE_HEADERS[Stage.OUTPUT]: "X-Opper-Guard-Output",
    ACTION_HEADER: "X-Opper-Guard-Action",
    REPORT_HEADER: "X-Opper-Guard-Report",
}
# What looks like one of these: whoever writes X_Opper_Guard_Input, X-Opper-Guards or, after the response's
# headers, X-Guardproxy-Guard-Input wants a guard, and would believe that it ran.
_ALIKE = re.compile(r"x-opper-guard|(?:.*-)?guards?-(?:input|output|action|report)s?$|x-guardproxy-guard")
_NAME = re.compile(r"[a-z0-9_-]+")
_ACTIONS = ", ".join(action.word for action in Action)


class Asked(NamedTuple):
    """What one origin asks for: the floor, a key, the request's headers, or a plugin."""

    origin: str
    policy: Policy


class Resolved(NamedTuple):
    """The policy of an exchange, and who asked for what."""

    policy: Policy
    asked: tuple[Asked, ...]

    def origins(self, stage: Stage, guard: str) -> list[tuple[str, Rule, bool]]:
        """Who named `guard` at `stage`, with which rule, and whether the policy would be another without it.

        Two who ask for the same both count: it would be another without the two.
        """
        final = self.policy.stage(stage)[guard]
        named = [
            (a.origin, a.policy.stage(stage)[guard]) for a in self.asked if guard in a.policy.stage(stage)
        ]
        found = []
        for origin, rule in named:
            others = [other for _, other in named if other != rule]
            without = join(Policy({guard: other}) for other in others).input.get(guard)
            found.append((origin, rule, without != final))
        return found


def resolve(
    floor: Policy,
    key: ClientKey | None,
    headers: Mapping[str, str],
    plugins: Callable[[Mapping[str, str]], Iterable[tuple[str, Policy]]],
    guards: Mapping[str, Guard],
    remembered: Policy | None = None,
) -> Resolved:
    """The policy of a request: all that is asked for, joined, so that nothing can loosen another.

    `plugins` gives each plugin's name and what it asks for; called when the headers are right.
    `remembered` is the policy of the request that made the response which this one asks for, or what the body
    of a check asks for.

    Raises:
        InvalidRequest: the headers are wrong, as of `from_headers`.
        InternalError: a plugin asks for a guard that does not exist or does not serve the stage.
    """
    asked = [Asked("floor", floor)]
    if key is not None:
        asked.append(Asked(f"key {key.name}", key.policy))
    asked.append(Asked("header", from_headers(headers, guards)))
    for name, policy in plugins(headers):
        for stage in Stage:
            if any(guard not in guards or stage not in guards[guard].stages for guard in policy.stage(stage)):
                raise InternalError(f"The plugin '{name}' asks for a guard that does not serve the {stage}.")
        asked.append(Asked(f"plugin {name}", policy))
    if remembered is not None:
        asked.append(Asked("the response's own request", remembered))
    asked += _companions(join(policy for _, policy in asked), guards)
    return Resolved(join(policy for _, policy in asked), tuple(asked))


def _companions(policy: Policy, guards: Mapping[str, Guard]) -> Iterator[Asked]:
    """What guards ask for that bring others along."""
    for name, guard in guards.items():
        stages: dict[Stage, dict[str, Rule]] = {}
        for stage in Stage:
            rule = policy.stage(stage).get(name)
            stages[stage] = {
                other: Rule(max(rule.action, action), rule.shadow, rule.on_error)
                for other, action in guard.companions.items()
                if rule is not None
            }
        if any(stages.values()):
            yield Asked(f"guard {name}", Policy(stages[Stage.INPUT], stages[Stage.OUTPUT]))


def present(policy: Policy, guards: Mapping[str, Guard]) -> Policy:
    """`policy`, which was kept, less what is not here any more: it has seen what it was to see."""
    found = (
        {
            name: rule
            for name, rule in policy.stage(stage).items()
            if name in guards and stage in guards[name].stages
        }
        for stage in (Stage.INPUT, Stage.OUTPUT)
    )
    return Policy(*found)


def from_headers(headers: Mapping[str, str], guards: Mapping[str, Guard]) -> Policy:
    """The policy that a request's own headers ask for (names in lower case, repeated ones comma-joined).

    Raises:
        InvalidRequest: an unknown guard, a guard at a stage that it does not serve, or an unknown action;
            or a header that looks like one of these and is none.
    """
    _check_spelling(headers)
    default = _default_action(headers.get(ACTION_HEADER, ""))
    rules = {
        stage: _stage_rules(headers.get(name, ""), stage, default, guards)
        for stage, name in STAGE_HEADERS.items()
    }
    return Policy(rules[Stage.INPUT], rules[Stage.OUTPUT])


def _check_spelling(headers: Mapping[str, str]) -> None:
    for name in headers:
        if name not in SPELLED and _ALIKE.match(name.strip().replace("_", "-")):
            shown = re.sub(r"[^a-z0-9_-]", "", name)[:64]
            raise InvalidRequest(
                f"'{shown}' is no header of guardproxy's. Known: {', '.join(SPELLED.values())}.",
                code="unknown_header",
            )


def _default_action(value: str) -> Action:
    words = [word.strip() for word in value.split(",") if word.strip()]
    return max((_action(word, ACTION_HEADER) for word in words), default=Action.FLAG)


def _stage_rules(value: str, stage: Stage, default: Action, guards: Mapping[str, Guard]) -> dict[str, Rule]:
    header = STAGE_HEADERS[stage]
    rules: dict[str, Rule] = {}
    for entry in dict.fromkeys(value.split(",")):  # a header may be long; each entry is judged once
        name, given, word = (piece.strip() for piece in entry.partition("="))
        name = name.lower()
        if not name and not given:
            continue
        check_guard(name, stage, guards, header)
        rule = Rule(_action(word, header, f" for '{name}'") if given else default)
        rules[name] = rules[name].join(rule) if name in rules else rule
    return rules


def check_guard(name: str, stage: Stage, guards: Mapping[str, Guard], header: str) -> None:
    """Refuse a guard that does not exist or does not serve `stage`.

    Raises:
        InvalidRequest: names the guards that there are.
    """
    param = SPELLED[header]
    known = ", ".join(sorted(n for n, guard in guards.items() if stage in guard.stages)) or "none"
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{param}: a guard's name has the characters a-z, 0-9, _ and -, and commas separate guards. "
            f"Guards for {stage}: {known}.",
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


def _action(word: str, header: str, where: str = "") -> Action:
    action = Action.parse(word)
    if action is None:
        raise InvalidRequest(
            f"{SPELLED[header]}: unknown action{where}. Actions: {_ACTIONS}.",
            param=SPELLED[header],
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
    let_go = any(not rules[name].shadow for name in failed)
    outcome = OUTCOMES[strictest] if strictest else (Outcome.FLAGGED if let_go else Outcome.CLEAN)
    return Verdict(stage, outcome, enforced, shadowed, tuple(failed), receipt)


OUTCOMES = {  # what an action makes of findings
    Action.FLAG: Outcome.FLAGGED,
    Action.REDACT: Outcome.REDACTED,
    Action.BLOCK: Outcome.BLOCKED,
}
