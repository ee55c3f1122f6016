"""guardproxy: a guardrail and tracing proxy for Responses APIs; these names are its public API."""

from guardproxy.errors import ConfigError
from guardproxy.exchange import Exchange
from guardproxy.hookspecs import hookimpl
from guardproxy.settings import Settings
from guardproxy.types import (
    Action,
    Detector,
    Finding,
    Guard,
    LocalReply,
    Match,
    Outcome,
    Policy,
    Rule,
    Stage,
    Step,
    StepKind,
    TextPart,
    Verdict,
)

__all__ = [
    "Action",
    "ConfigError",
    "Detector",
    "Exchange",
    "Finding",
    "Guard",
    "LocalReply",
    "Match",
    "Outcome",
    "Policy",
    "Rule",
    "Settings",
    "Stage",
    "Step",
    "StepKind",
    "TextPart",
    "Verdict",
    "hookimpl",
]
