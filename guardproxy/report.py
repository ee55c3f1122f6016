"""What the client is told: the guards report, the verdict and receipt headers, the block's message. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guardproxy.errors import Violation
from guardproxy.exchange import Exchange
from guardproxy.profiles import Form
from guardproxy.types import Action, Finding, Outcome, Policy, Receipt, Rule, Stage, Verdict

MOST = 100  # findings listed in one entry; `total` counts all


def entries(policy: Policy, verdicts: Mapping[Stage, Verdict]) -> list[dict[str, Any]]:
    """The report: one entry for each guard and stage that ran; guards in shadow are not told of."""
    report = []
    for stage, verdict in verdicts.items():
        by_guard: dict[str, list[Finding]] = {}
        for finding in verdict.findings:
            by_guard.setdefault(finding.guard, []).append(finding)
        for name, rule in policy.stage(stage).items():
            if not rule.shadow:
                report.append(_entry(name, stage, rule, by_guard.get(name, ())))
    return report


def _entry(name: str, stage: Stage, rule: Rule, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "type": "opper:guard",
        "guard_type": name,
        "stage": stage.value,
        "action": rule.action.word,
        "flagged": bool(findings),
        "findings": [
            {
                "category": f.category,
                "path": f.path,
                "start": f.start,
                "end": f.end,
                "score": round(f.score, 4),
            }
            for f in findings[:MOST]
        ],
        "total": len(findings),
    }


def items(report: Iterable[dict[str, Any]], response_id: str) -> list[dict[str, Any]]:
    """The report as output items of type `opper:guard`."""
    tail = response_id.rpartition("_")[2] or "response"
    return [
        {"id": f"guard_{tail}_{index}", "status": "completed", "content": [], **entry}
        for index, entry in enumerate(report)
    ]


def violation(exchange: Exchange, stage: Stage) -> Violation:
    """The error of a block: guard, stage and categories, and the first place."""
    rules = exchange.policy.stage(stage)
    findings = exchange.verdicts[stage].findings
    blocking = [f for f in findings if rules[f.guard].action is Action.BLOCK]
    guards = ", ".join(dict.fromkeys(f"'{f.guard}'" for f in blocking))
    categories = ", ".join(sorted({f.category for f in blocking}))
    return Violation(
        f"Blocked by guard {guards} at the {stage}: {categories}.",
        param=blocking[0].path,
        guards=entries(exchange.policy, {stage: exchange.verdicts[stage]}),
    )


def headers(exchange: Exchange) -> dict[str, str]:
    """`X-Guardproxy-Verdict` and `X-Guardproxy-Receipt`, when a guard is on that the client may know of."""
    enforced = {
        stage: any(not rule.shadow for rule in exchange.policy.stage(stage).values()) for stage in Stage
    }
    if not any(enforced.values()):
        return {}
    words = {stage: exchange.stage_outcome(stage) if enforced[stage] else Outcome.OFF for stage in Stage}
    out = {"X-Guardproxy-Verdict": ", ".join(f"{stage}={words[stage]}" for stage in Stage)}
    receipts = (verdict.receipt for stage, verdict in exchange.verdicts.items() if enforced[stage])
    out["X-Guardproxy-Receipt"] = str(sum(receipts, Receipt()))
    return out


class Reporter:
    """The report of one exchange, in the form that its front door has or that it asked for."""

    def __init__(self, exchange: Exchange, form: Form, *, asked: bool = False) -> None:
        self.exchange = exchange
        self.form = form
        self._asked = asked
        rules = [rule for stage in Stage for rule in exchange.policy.stage(stage).values()]
        # Output items of ours come first, so their number must be known before the first event.
        self.reserved = sum(not rule.shadow for rule in rules) if form is Form.ITEMS else 0

    def field(self, *, items_fit: bool = True) -> list[dict[str, Any]] | None:
        """The value of the response's `guards`; None when there is nothing to tell there.

        `items_fit`: the response's `output` can take items; where it is none that the API knows, the field
        stands in for them.
        """
        if self.form is Form.NONE or (self.form is Form.ITEMS and items_fit):
            return None
        report = self.entries()
        return report if self._asked or any(entry["flagged"] for entry in report) else None

    def entries(self) -> list[dict[str, Any]]:
        """The report as far as it is known."""
        return entries(self.exchange.policy, self.exchange.verdicts)

    def items(self) -> list[dict[str, Any]]:
        """The output items that come first; as many as are reserved."""
        if self.form is not Form.ITEMS:
            return []
        found = {(entry["stage"], entry["guard_type"]): entry for entry in self.entries()}
        every = [
            found.get((stage.value, name)) or _entry(name, stage, rule, ())
            for stage in Stage
            for name, rule in self.exchange.policy.stage(stage).items()
            if not rule.shadow
        ]
        return items(every, self.exchange.response_id or self.exchange.id)

    def violation(self, stage: Stage = Stage.OUTPUT) -> Violation:
        """The error of a block."""
        return violation(self.exchange, stage)
