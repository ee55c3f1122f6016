"""guardproxy: a guardrail and tracing proxy for Responses APIs; these names are its public API."""

from guardproxy.auth import Client, identify
from guardproxy.errors import BodyTooLarge, ConfigError, InvalidRequest, NotFound
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
    "BodyTooLarge",
    "Client",
    "ConfigError",
    "Detector",
    "Exchange",
    "Finding",
    "Guard",
    "InvalidRequest",
    "LocalReply",
    "Match",
    "NotFound",
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
    "identify",
]
