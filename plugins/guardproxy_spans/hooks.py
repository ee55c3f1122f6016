"""The plugin's hooks, and the spans that they share in a process."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from guardproxy import Settings, hookimpl
from guardproxy_spans.keeper import Keeper
from guardproxy_spans.routes import handlers
from guardproxy_spans.table import Family, Table
from guardproxy_tracing import TracingSettings, environment


class SpansSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[plugins.spans]`."""

    time_limit: Annotated[float, msgspec.Meta(gt=0)] = 3600.0  # seconds that a span may be open
    max_spans: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # that are kept at a time


@dataclass(slots=True)
class _Process:
    """What one serving process has."""

    keeper: Keeper | None = None


_process = _Process()


@hookimpl
def guardproxy_register_settings() -> type[msgspec.Struct]:
    """The plugin's settings."""
    return SpansSettings


@hookimpl
def guardproxy_register_routes(settings: Settings) -> Iterable[Any]:
    """`/v3/spans` and `/v3/traces`."""
    trust = settings.of_plugin("tracing", TracingSettings).trust_inbound
    return handlers(settings, lambda: _process.keeper, trust)


@hookimpl
def guardproxy_startup(settings: Settings) -> None:
    """Open the table of spans.

    Raises:
        ConfigError: several workers have no folder to share.
    """
    guardproxy_shutdown()
    own = settings.of_plugin("spans", SpansSettings)
    # `tracing` starts after this plugin. Without it nothing is kept, and no folder is needed.
    shared = settings.workers > 1 and bool(environment.wanted(os.environ, "TRACES"))
    table = Table(own.max_spans, own.time_limit, Family() if shared else None)
    _process.keeper = Keeper(table, own.time_limit)


@hookimpl
def guardproxy_shutdown() -> None:
    """End the spans that are open. The plugin `tracing` sends them: its name comes after this one's."""
    keeper, _process.keeper = _process.keeper, None
    if keeper is not None:
        keeper.close()
