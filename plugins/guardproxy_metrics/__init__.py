"""The built-in plugin `metrics`: exchanges and guards in numbers, over OTLP and at `/metrics`."""

from guardproxy_metrics.hooks import (
    MetricsSettings,
    guardproxy_check,
    guardproxy_register_routes,
    guardproxy_register_settings,
    guardproxy_shutdown,
    guardproxy_startup,
    guardproxy_step,
)

__all__ = [
    "MetricsSettings",
    "guardproxy_check",
    "guardproxy_register_routes",
    "guardproxy_register_settings",
    "guardproxy_shutdown",
    "guardproxy_startup",
    "guardproxy_step",
]
