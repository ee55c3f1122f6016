"""What the client is told: the guards report, the verdict and receipt headers, the block's message. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guardproxy.errors import Violation
from guardproxy.exchange import Exchange
from guardproxy.types import Action, Finding, Outcome, Policy, Rule, Stage, Verdict

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


def dumps(value: Any) -> str:
    """`value` as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
    parts, skipped = 0, {}
    for stage, verdict in exchange.verdicts.items():
        if enforced[stage]:
            parts += verdict.receipt.parts
            for reason, count in verdict.receipt.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
    listed = " ".join(f"{reason}:{count}" for reason, count in sorted(skipped.items()))
    out["X-Guardproxy-Receipt"] = f"parts={parts}" + (f", skipped={listed}" if listed else "")
    return out
