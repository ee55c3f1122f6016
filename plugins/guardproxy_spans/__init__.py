"""The built-in plugin `spans`: `/v3/spans` and `/v3/traces`, where clients open and close their own spans."""

from guardproxy_spans.hooks import (
    SpansSettings,
    guardproxy_register_routes,
    guardproxy_register_settings,
    guardproxy_shutdown,
    guardproxy_startup,
)

__all__ = [
    "SpansSettings",
    "guardproxy_register_routes",
    "guardproxy_register_settings",
    "guardproxy_shutdown",
    "guardproxy_startup",
]
