"""What the client is told: the guards report, the verdict and receipt headers, the block's message. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from guardproxy import document, prices
from guardproxy.completion import Completer, tells_state
from guardproxy.document import Edits
from guardproxy.errors import Uninspectable, Violation
from guardproxy.exchange import Exchange
from guardproxy.prices import Price
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
    tail = _tail(response_id)
    return [
        {"id": f"guard_{tail}_{index}", "status": "completed", "content": [], **entry}
        for index, entry in enumerate(report)
    ]


def _tail(response_id: str) -> str:
    return response_id.rpartition("_")[2] or "response"


def own_id(exchange: Exchange) -> str:
    """The id of a response that came without one."""
    return f"resp_{_tail(exchange.id)}"


def meta(exchange: Exchange, cost: Decimal | None) -> dict[str, Any]:
    """The output item `opper:meta`: what is known of the call; what is not known is not there."""
    asked, answered, usage = exchange.model, exchange.response_model, exchange.usage
    warnings = None
    if asked is not None and answered is not None:
        same = prices.is_same(asked, answered)
        warnings = [] if same else [f"{answered} answered in the place of {asked}."]
    told = {
        "cost_usd": None if cost is None else float(cost),
        "execution_ms": int(exchange.elapsed() * 1000),
        "models_used": [answered or asked] if exchange.called and (answered or asked) else None,
        "model_warnings": warnings,
        "cache_creation_tokens": usage.get("cache_write_tokens"),
        "cache_read_tokens": usage.get("cached_tokens"),
    }
    item_id = f"meta_{_tail(exchange.response_id or exchange.id)}"
    item = {"type": "opper:meta", "id": item_id, "status": "completed", "content": []}
    return {**item, **{name: value for name, value in told.items() if value is not None}}


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
    """The report of one exchange, in the form that its front door has or that it asked for.

    With `meta` the item `opper:meta` comes behind those of the guards. `completer` gives responses what their
    dialect has besides. `priced` are the prices of a call that has a cost, and `tells_cost` whether a header
    says it.
    """

    def __init__(
        self,
        exchange: Exchange,
        form: Form,
        *,
        asked: bool = False,
        meta: bool = False,
        priced: Mapping[str, Price] | None = None,
        tells_cost: bool = False,
    ) -> None:
        self.exchange = exchange
        self.form = form
        self.completer: Completer | None = None
        self.tells_cost = tells_cost
        self._asked = asked
        self._meta = meta
        self._item: dict[str, Any] | None = None
        self._priced = priced or {}
        rules = [rule for stage in Stage for rule in exchange.policy.stage(stage).values()]
        # Output items of ours come first, so their number must be known before the first event.
        guards = sum(not rule.shadow for rule in rules)
        self.reserved = guards + meta if form is Form.ITEMS else 0

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
        """The output items that come first, as many as are reserved; `opper:meta` is the same each time."""
        if self.form is not Form.ITEMS:
            return []
        found = {(entry["stage"], entry["guard_type"]): entry for entry in self.entries()}
        every = [
            found.get((stage.value, name)) or _entry(name, stage, rule, ())
            for stage in Stage
            for name, rule in self.exchange.policy.stage(stage).items()
            if not rule.shadow
        ]
        told = items(every, self.exchange.response_id or self.exchange.id)
        if not self._meta:
            return told
        if self._item is None:
            self._item = meta(self.exchange, self.cost)
        return [*told, self._item]

    @property
    def finishes(self) -> bool:
        """Whether answers get more than the guards' report."""
        return self._meta or self.completer is not None

    @property
    def cost(self) -> Decimal | None:
        """What the call cost in US dollars, as far as it is known."""
        exchange = self.exchange
        if not self._priced or not exchange.called:
            return None
        return prices.cost(self._priced, exchange.response_model, exchange.model, exchange.usage)

    def finished(self, text: str, event: str = "") -> str:
        """`text` as it is delivered, with what its dialect has besides.

        It is a response, or an `event` of this type that has one; as it was where it is neither.
        """
        if self.completer is None or (event and not tells_state(event)):
            return text
        try:
            value = document.parse(text)
        except Uninspectable:
            return text
        at = ("response",) if event else ()
        for step in at:
            value = value.get(step) if isinstance(value, dict) else None
        edits = Edits()
        if isinstance(value, dict):
            self.completer.complete(value, edits, at, event)
        return edits.apply(text)

    def violation(self, stage: Stage = Stage.OUTPUT) -> Violation:
        """The error of a block."""
        return violation(self.exchange, stage)
