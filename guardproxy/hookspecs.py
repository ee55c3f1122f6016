"""The hooks, in the order in which they are called: the life of an exchange.

Plugins return values; the core alone decides, rewrites, blocks and holds back. Nothing depends on
the order of registration. `docs/hooks.md` explains each with an example.
"""

from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import msgspec
import pluggy

from guardproxy.exchange import Exchange
from guardproxy.types import Guard, LocalReply, Policy, Step, Verdict

if TYPE_CHECKING:
    from guardproxy.settings import Settings

hookspec = pluggy.HookspecMarker("guardproxy")
hookimpl = pluggy.HookimplMarker("guardproxy")


@hookspec
def guardproxy_register_settings() -> type[msgspec.Struct]:  # type: ignore[empty-body]
    """Say which settings the plugin has, as a msgspec Struct with defaults.

    Called at startup. The table `[plugins.NAME]` (for a plugin that brings the guard NAME also
    `[guards.NAME]`) is validated against it; unknown keys are errors. The instance is
    `settings.of_plugin("NAME", ITS_CLASS)`. Sync.
    """


@hookspec
def guardproxy_register_guards(settings: "Settings") -> Iterable[Guard]:  # type: ignore[empty-body]
    """Bring guards.

    Called at startup, in every process; must be cheap (models load in `Detector.load`). All results
    are taken; two guards of one name are an error. A ConfigError says what settings name and is not there:
    `guardproxy config check` calls this, and loads no model. Sync.
    """


@hookspec
def guardproxy_register_routes(settings: "Settings") -> Iterable[Any]:  # type: ignore[empty-body]
    """Bring Litestar route handlers.

    Called at startup. All results are taken; a path and method that exists already is an error. Sync.
    """


@hookspec
def guardproxy_check(settings: "Settings") -> Iterable[str] | None:
    """Say what is wrong outside of the settings, such as in the environment. Open nothing.

    Called by `guardproxy config check`, and wherever `guardproxy_startup` is, before any of those. A
    ConfigError stops either; sentences that are returned are warnings: printed there, and logged here. Sync.
    """


@hookspec
def guardproxy_startup(settings: "Settings") -> None:
    """Begin: open exporters, connections, files.

    Called in each serving process before its first exchange; an error stops the startup. `scan` and `eval`
    call it, too, of the plugins whose guards look: they serve nothing. Sync.
    """


@hookspec
def guardproxy_step(exchange: Exchange, step: Step) -> AbstractContextManager[object] | None:
    """Surround a step of the exchange: the whole, each stage, each guard, the call, each attempt.

    Called when the step begins, `step.parent` being the step around it. The context managers are
    entered in call order and left in reverse; the step's facts are complete when they are left.
    A step may be left in another task than it was entered in: do not use context variables.
    An error raised here is logged and changes nothing. Sync.
    """


@hookspec
def guardproxy_resolve_policy(headers: Mapping[str, str], settings: "Settings") -> Policy | None:
    """Ask for more guards, or stricter actions.

    Called once per exchange, before any text is read. All results are joined with the floor, the
    key's and the headers' policy: a plugin can only tighten. Sync.
    """


@hookspec
def guardproxy_verdict(exchange: Exchange, verdict: Verdict) -> Awaitable[None] | None:
    """Observe the verdict of a stage.

    Called after each stage that had a guard on. All observe; the return value is not used. May be async.
    """


@hookspec
def guardproxy_before_forward(exchange: Exchange) -> Awaitable[LocalReply | None] | LocalReply | None:
    """Answer in the upstream's place.

    Called when the input is allowed and the upstream not yet called, plugin by plugin in the order
    of their names. Stops at the first LocalReply; the output guards inspect it like an answer of
    the upstream. May be async.
    """


@hookspec
def guardproxy_after_forward(exchange: Exchange) -> Awaitable[None] | None:
    """Observe the end of the exchange.

    Called exactly once, after the last byte or the failure, whatever the outcome. All observe; the
    return value is not used. May be async.
    """


@hookspec
def guardproxy_shutdown() -> None:
    """End: flush and close what `guardproxy_startup` opened, within a bounded time.

    Called wherever `guardproxy_startup` was, after the last exchange; all are called, whatever one raises.
    Sync.
    """
