"""Call the plugins' hooks: in the order of the plugins' names, one by one, so that none stops another."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pluggy
import structlog

from guardproxy import plugins
from guardproxy.errors import ConfigError, InternalError
from guardproxy.exchange import Exchange
from guardproxy.logs import failure
from guardproxy.settings import Settings
from guardproxy.types import LocalReply, Policy, Step, Verdict

Impl = tuple[str, Callable[..., Any]]
_NOTHING = nullcontext()
_log = structlog.stdlib.get_logger("guardproxy")


class Hooks:
    """The plugins' hook implementations, by hook."""

    def __init__(self, manager: pluggy.PluginManager, settings: Settings) -> None:
        """Collect the implementations.

        Raises:
            ConfigError: a plugin uses a wrapper; results are values, there is nothing to wrap.
        """
        self._manager = manager
        self._settings = settings
        self._startup = _impls(manager, "startup")
        self._step = _impls(manager, "step")
        self._resolve_policy = _impls(manager, "resolve_policy")
        self._verdict = _impls(manager, "verdict")
        self._before_forward = _impls(manager, "before_forward")
        self._after_forward = _impls(manager, "after_forward")
        self._shutdown = _impls(manager, "shutdown")

    def startup(self) -> None:
        """`guardproxy_check` of every plugin, then `guardproxy_startup`.

        Raises:
            ConfigError: a plugin raised.
        """
        for name, doubt in plugins.check(self._manager, self._settings):
            _log.warning("doubtful", plugin=name, problem=doubt)
        for name, function in self._startup:
            problem = ""
            try:
                function(self._settings)
            except ConfigError as error:  # said to be shown, unlike other exceptions' messages
                problem = f": {error}"
            except Exception as error:
                problem = f" raised {type(error).__name__} in guardproxy_startup."
            if problem:
                raise ConfigError(f"The plugin '{name}'{problem}")

    def shutdown(self) -> None:
        """`guardproxy_shutdown` of every plugin, whatever one raises."""
        for name, function in self._shutdown:
            try:
                function()
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="shutdown")

    def step(self, exchange: Exchange, step: Step) -> AbstractContextManager[object]:
        """The context managers of every plugin around `step`, as one."""
        around = []
        for name, function in self._step:
            try:
                if (manager := function(exchange, step)) is not None:
                    around.append((name, manager))
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="step")
        return _Around(around) if around else _NOTHING

    def resolve_policy(self, headers: Mapping[str, str]) -> list[tuple[str, Policy]]:
        """What plugins ask for, by name. One that fails stops the exchange: what it wanted is not known.

        Raises:
            InternalError: a plugin raised, or returned no Policy.
        """
        policies: list[tuple[str, Policy]] = []
        for name, function in self._resolve_policy:
            found: object = None
            try:
                found = function(headers, self._settings)
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="resolve_policy")
                found = False  # not the error: it knows this frame
            if isinstance(found, Policy):
                policies.append((name, found))
            elif found is not None:
                raise InternalError(f"The plugin '{name}' failed to resolve the policy.")
        return policies

    async def verdict(self, exchange: Exchange, verdict: Verdict) -> None:
        """Let every plugin observe `verdict`."""
        for name, function in self._verdict:
            try:
                await _awaited(function(exchange, verdict))
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="verdict")

    async def before_forward(self, exchange: Exchange) -> LocalReply | None:
        """The first local reply.

        Raises:
            InternalError: a plugin raised, or returned something else.
        """
        for name, function in self._before_forward:
            found: object = None
            try:
                found = await _awaited(function(exchange))
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="before_forward")
                found = False  # not the error: it knows this frame
            if isinstance(found, LocalReply):
                return found
            if found is not None:
                raise InternalError(f"The plugin '{name}' failed before the request was forwarded.")
        return None

    async def after_forward(self, exchange: Exchange) -> None:
        """Let every plugin observe the end of `exchange`."""
        for name, function in self._after_forward:
            try:
                await _awaited(function(exchange))
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="after_forward")


class _Around:
    """Context managers entered in order and left in reverse; their errors change nothing."""

    __slots__ = ("_managers",)

    def __init__(self, managers: list[tuple[str, AbstractContextManager[object]]]) -> None:
        self._managers = managers

    def __enter__(self) -> None:
        entered = []
        for name, manager in self._managers:
            try:
                manager.__enter__()
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="step")
            else:
                entered.append((name, manager))
        self._managers = entered

    def __exit__(self, *_: object) -> None:
        # Errors of the exchange are facts of the step; an exception would carry its text along.
        for name, manager in reversed(self._managers):
            try:
                manager.__exit__(None, None, None)
            except Exception as error:
                failure("plugin failed", error, plugin=name, hook="step")


def _impls(manager: pluggy.PluginManager, hook: str) -> list[Impl]:
    found: list[Impl] = []
    caller = getattr(manager.hook, f"guardproxy_{hook}")
    for impl in caller.get_hookimpls():
        if impl.hookwrapper or impl.wrapper:
            raise ConfigError(
                f"The plugin '{impl.plugin_name}' wraps guardproxy_{hook}; return a value instead."
            )
        function = _with_known(impl.function, impl.argnames, caller.spec.argnames)
        found.append((impl.plugin_name, function))
    return sorted(found, key=lambda impl: impl[0])


def _with_known(
    function: Callable[..., Any], names: tuple[str, ...], given: tuple[str, ...]
) -> Callable[..., Any]:
    """`function`, called with all of the hook's arguments in their order, of which it takes those `names`."""
    # By position, as pluggy does: a decorator may take no keywords.
    if names == given:
        return function
    places = [given.index(name) for name in names]

    def call(*arguments: Any) -> Any:
        return function(*[arguments[place] for place in places])

    return call


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
