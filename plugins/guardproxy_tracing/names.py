"""The names of GenAI guardrail telemetry, which still move: every one of them stands here and nowhere else.

OpenTelemetry has no settled names for guardrails. `SETTLED` are ours and stay as they are; `LATEST` are
those of the proposal that is under review (open-telemetry/semantic-conventions-genai, pull request 427),
for whoever asks for them by the standard variable, and change as it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST_WORD: Final = "gen_ai_latest_experimental"

APPLY_GUARDRAIL: Final = "apply_guardrail"  # gen_ai.operation.name, and the first word of the span's name
RESULT_EVENT: Final = "gen_ai.guardrail.result"
GUARDRAIL_BLOCKED: Final = "guardrail_blocked"  # error.type of what a guard stopped; not an error


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """The attributes of a guard's span and of its results."""

    guard: str
    target: str
    targets: Mapping[str, str]  # the target by stage
    action: str
    category: str
    score: str
    count: str
    of_action: Mapping[str, str] = field(default_factory=dict)  # what stands beside the action


SETTLED: Final = Names(
    guard="gen_ai.guardrail.name",
    target="gen_ai.guardrail.target.type",
    targets={"input": "llm_input", "output": "llm_output"},
    action="gen_ai.guardrail.action",
    category="gen_ai.guardrail.category",
    score="gen_ai.guardrail.score",
    count="gen_ai.guardrail.count",
)
LATEST: Final = Names(
    guard="gen_ai.guardrail.component.name",
    target="gen_ai.guardrail.source",
    targets={"input": "input", "output": "output"},
    action="gen_ai.guardrail.result.value",
    category="gen_ai.guardrail.risk.category",
    score="gen_ai.guardrail.risk.score",
    count="guardproxy.result.count",
    of_action={"gen_ai.guardrail.result.type": "action"},
)


def chosen(environ: Mapping[str, str]) -> Names:
    """The names that `OTEL_SEMCONV_STABILITY_OPT_IN` asks for; what it says of other signals is not ours."""
    return LATEST if LATEST_WORD in _words(environ) else SETTLED


def unknown(environ: Mapping[str, str]) -> list[str]:
    """The words about GenAI in `OTEL_SEMCONV_STABILITY_OPT_IN` that mean nothing here."""
    return [word for word in _words(environ) if word.lower().startswith("gen_ai") and word != LATEST_WORD]


def _words(environ: Mapping[str, str]) -> list[str]:
    return [word.strip() for word in environ.get(OPT_IN, "").split(",")]
