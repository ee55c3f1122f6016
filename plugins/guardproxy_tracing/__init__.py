"""The built-in plugin `tracing`: a span tree of every exchange, for any OpenTelemetry backend."""

from guardproxy_tracing.drawing import trees
from guardproxy_tracing.hooks import (
    TracingSettings,
    guardproxy_check,
    guardproxy_register_settings,
    guardproxy_shutdown,
    guardproxy_startup,
    guardproxy_step,
    record,
    tracer,
)
from guardproxy_tracing.ids import OpperIdGenerator
from guardproxy_tracing.propagator import OpperPropagator

__all__ = [
    "OpperIdGenerator",
    "OpperPropagator",
    "TracingSettings",
    "guardproxy_check",
    "guardproxy_register_settings",
    "guardproxy_shutdown",
    "guardproxy_startup",
    "guardproxy_step",
    "record",
    "tracer",
    "trees",
]
