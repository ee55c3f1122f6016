"""The names of GenAI guardrail telemetry: not settled in OpenTelemetry yet, so they change here only."""

from typing import Final

APPLY_GUARDRAIL: Final = "apply_guardrail"  # gen_ai.operation.name, and the first word of the span's name
GUARDRAIL_NAME: Final = "gen_ai.guardrail.name"
GUARDRAIL_TARGET: Final = "gen_ai.guardrail.target.type"
TARGETS: Final = {"input": "llm_input", "output": "llm_output"}
GUARDRAIL_ACTION: Final = "gen_ai.guardrail.action"

RESULT_EVENT: Final = "gen_ai.guardrail.result"
RESULT_CATEGORY: Final = "gen_ai.guardrail.category"
RESULT_COUNT: Final = "gen_ai.guardrail.count"
RESULT_SCORE: Final = "gen_ai.guardrail.score"

GUARDRAIL_BLOCKED: Final = "guardrail_blocked"  # error.type of what a guard stopped; not an error
