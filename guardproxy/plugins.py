"""The plugin manager: entry points found and checked, and what plugins bring, collected."""

import importlib.metadata
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import pluggy
from litestar import Controller, Router
from litestar.handlers import BaseRouteHandler

from guardproxy import hookspecs
from guardproxy.entries import entry
from guardproxy.errors import ConfigError
from guardproxy.routes import check_doors
from guardproxy.settings import Settings
from guardproxy.types import CONTEXT, Detector, Guard, Policy, Stage
from guardproxy.values import GUARD_NAME

PROJECT = "guardproxy"
NEEDED_TO_CAPTURE = ("pii", "secrets")  # the guards that must have seen whatever traces tell
_TYPED = re.compile(r":\w+\}")  # the end of a parameter in a path of Litestar's: {id:str}


def load_plugins(extra: Iterable[tuple[str, object]] = ()) -> pluggy.PluginManager:
    """The manager, with the plugins of the entry-point group `guardproxy` and then `extra` (name, plugin).

    Raises:
        ConfigError: a plugin does not import, has the name of another, or implements an unknown hook.
    """
    manager = _empty()
    for point in sorted(importlib.metadata.entry_points(group=PROJECT), key=lambda point: point.name):
        try:
            plugin = point.load()
        except Exception as error:
            raise ConfigError(
                f"The plugin {point.name!r} ({point.value}) does not import: "
                f"{type(error).__name__}: {error}. Repair it, or uninstall its distribution."
            ) from error
        _register(manager, point.name, plugin)
    for name, plugin in extra:
        _register(manager, name, plugin)
    return manager


def bringing(manager: pluggy.PluginManager) -> pluggy.PluginManager:
    """The plugins of `manager` that bring guards, and no other: what scans need of them."""
    found = _empty()
    for name, plugin in by_name(manager):
        if any(hook.name == "guardproxy_register_guards" for hook in manager.get_hookcallers(plugin) or ()):
            _register(found, name, plugin)
    return found


def _empty() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _register(manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    if not GUARD_NAME.fullmatch(name):
        raise ConfigError(f"The plugin {name!r}: a plugin's name has the characters a-z, 0-9, _ and -.")
    if manager.has_plugin(name):
        raise ConfigError(f"Two plugins have the name {name!r}. Uninstall one of their distributions.")
    try:
        if manager.register(plugin, name) is None:
            raise ConfigError(f"The plugin {name!r} is blocked.")
        manager.check_pending()
    except (ValueError, pluggy.PluginValidationError) as error:
        raise ConfigError(f"The plugin {name!r} does not fit guardproxy's hooks: {error}.") from error


def by_name(manager: pluggy.PluginManager) -> list[tuple[str, object]]:
    """The plugins and their names, sorted by name: the order of `guardproxy_before_forward`."""
    return sorted(
        ((name, plugin) for name, plugin in manager.list_name_plugin() if plugin), key=lambda p: p[0]
    )


def call(manager: pluggy.PluginManager, name: str, hook: str, **arguments: object) -> Any:
    """What the plugin `name` returns for `hook`, or None when it does not implement it.

    Raises:
        ConfigError: it raised.
    """
    plugin = manager.get_plugin(name)
    others = [other for _, other in by_name(manager) if other is not plugin]
    try:
        results = manager.subset_hook_caller(hook, others)(**arguments)
    except ConfigError as error:
        raise ConfigError(f"The plugin {name!r}: {error}") from error
    except Exception as error:
        # The message is left out: it may quote a setting's value.
        raise ConfigError(f"The plugin {name!r} raised {type(error).__name__} in {hook}.") from error
    return results[0] if results else None


def distributions() -> dict[str, str]:
    """Name and version of the distribution that brings each plugin, by plugin name."""
    points = importlib.metadata.entry_points(group=PROJECT)
    return {point.name: f"{point.dist.name} {point.dist.version}" for point in points if point.dist}


def hooks_of(manager: pluggy.PluginManager, name: str) -> list[str]:
    """The names of the hooks that the plugin `name` implements, sorted."""
    callers = manager.get_hookcallers(manager.get_plugin(name)) or []
    return sorted(caller.name for caller in callers)


def settings_types(manager: pluggy.PluginManager) -> dict[str, type[msgspec.Struct]]:
    """The plugins' own settings, by plugin name.

    Raises:
        ConfigError: a plugin returned something else than a msgspec Struct class.
    """
    types: dict[str, type[msgspec.Struct]] = {}
    for name, _ in by_name(manager):
        struct = call(manager, name, "guardproxy_register_settings")
        if struct is None:
            continue
        if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
            raise ConfigError(
                f"The plugin {name!r}: guardproxy_register_settings must return a subclass of msgspec.Struct."
            )
        types[name] = struct
    return types


def collect_guards(manager: pluggy.PluginManager, settings: Settings) -> dict[str, Guard]:
    """The guards of all plugins, by guard name, sorted.

    Raises:
        ConfigError: names the plugin, and what is wrong with its guard; or an allow-list of none.
    """
    guards = {guard.name: guard for _, guard in guards_by_plugin(manager, settings)}
    for guard in guards.values():
        for other in guard.companions:
            if other not in guards or not guard.stages <= guards[other].stages or guards[other].companions:
                raise ConfigError(
                    f"The guard {guard.name!r}: its companion {other!r} must be a guard without companions, "
                    "and serve the same stages."
                )
    for name in settings.allow:
        if name not in guards:
            raise ConfigError(
                f"[guards.{name}]: there is no guard {name!r}. Guards: {', '.join(sorted(guards))}."
            )
    return dict(sorted(guards.items()))


def guards_by_plugin(manager: pluggy.PluginManager, settings: Settings) -> list[tuple[str, Guard]]:
    """Each guard with the name of the plugin that brings it.

    Raises:
        ConfigError: names the plugin, and what is wrong with its guard.
    """
    guards: list[tuple[str, Guard]] = []
    owners: dict[str, str] = {}
    for plugin, guard in _results(manager, "guardproxy_register_guards", settings):
        place = f"The plugin {plugin!r}: guardproxy_register_guards"
        if not isinstance(guard, Guard):
            raise ConfigError(f"{place} must return Guards, not {type(guard).__name__}.")
        _check_guard(guard, place)
        if guard.name in owners:
            raise ConfigError(
                f"The plugins {owners[guard.name]!r} and {plugin!r} both bring a guard {guard.name!r}. "
                "Uninstall one."
            )
        owners[guard.name] = plugin
        guards.append((plugin, guard))
    return guards


def _check_guard(guard: Guard, place: str) -> None:
    if not isinstance(guard.name, str) or not GUARD_NAME.fullmatch(guard.name):
        raise ConfigError(f"{place}: a guard's name has the characters a-z, 0-9, _ and -.")
    place = f"{place}: the guard {guard.name!r}"
    if not guard.stages or not all(isinstance(stage, Stage) for stage in guard.stages):
        raise ConfigError(f"{place} must serve Stage.INPUT, Stage.OUTPUT or both.")
    if not isinstance(guard.detectors, tuple) or not (guard.detectors or guard.companions):
        raise ConfigError(f"{place} must have a tuple of one or more detectors.")
    for detector in guard.detectors:
        if not isinstance(detector, Detector):
            raise ConfigError(
                f"{place}: {type(detector).__name__} must be an instance of a Detector subclass."
            )
        _check_detector(detector, f"{place}: the detector {detector.name or type(detector).__name__!r}")


def _check_detector(detector: Detector, place: str) -> None:
    if not isinstance(detector.name, str):
        raise ConfigError(f"{place}: `name` must be a string.")
    if detector.reach is not None and (not _is_int(detector.reach) or detector.reach < 1):
        raise ConfigError(f"{place}: `reach` must be an integer from 1 (local) or None (blockwise).")
    if not _is_int(detector.context) or not 0 <= detector.context <= CONTEXT:
        raise ConfigError(f"{place}: `context` must be an integer from 0 to {CONTEXT}.")
    if not _is_int(detector.inline_below) or detector.inline_below < 0:
        raise ConfigError(f"{place}: `inline_below` must be an integer from 0.")
    if inspect.iscoroutinefunction(detector.load):
        raise ConfigError(f"{place}: `load` must not be async.")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def collect_routes(manager: pluggy.PluginManager, settings: Settings) -> list[Any]:
    """The Litestar route handlers, controllers and routers of all plugins, by plugin name.

    Raises:
        ConfigError: a plugin returned something else, or two plugins serve one path with one method, or a
            front door one of these paths.
    """
    routes: list[Any] = []
    taken: dict[tuple[str, str], str] = {}
    for plugin, route in _results(manager, "guardproxy_register_routes", settings):
        is_class = isinstance(route, type) and issubclass(route, Controller)
        if not is_class and not isinstance(route, BaseRouteHandler | Router):
            raise ConfigError(
                f"The plugin {plugin!r}: guardproxy_register_routes must return Litestar route handlers, "
                f"not {type(route).__name__}."
            )
        for place in _places(route):
            if place in taken:
                raise ConfigError(
                    f"The plugins {taken[place]!r} and {plugin!r} both serve "
                    f"{place[0]} {place[1]}. Uninstall one."
                )
            taken[place] = plugin
        routes.append(route)
    check_doors(settings.doors(), [path for _, path in taken])
    return routes


def check(manager: pluggy.PluginManager, settings: Settings) -> list[tuple[str, str]]:
    """What plugins find doubtful outside of the settings, each with the plugin's name.

    Raises:
        ConfigError: a plugin says that it cannot work.
    """
    return [(name, str(doubt)) for name, doubt in _results(manager, "guardproxy_check", settings)]


def places(routes: Iterable[Any]) -> list[str]:
    """What the bare handlers among `routes` serve, as errors name it: `GET /acme/{id}`."""
    return [
        f"{method} {_TYPED.sub('}', path)}" for route in routes for method, path in sorted(_places(route))
    ]


def _places(route: Any) -> Iterator[tuple[str, str]]:
    """Method and path of a bare handler; what controllers and routers hold is Litestar's to check."""
    for path in sorted(getattr(route, "paths", ())):
        for method in sorted(getattr(route, "http_methods", ())):
            yield str(method), "/" + path.strip("/")


def _results(manager: pluggy.PluginManager, hook: str, settings: Settings) -> Iterator[tuple[str, Any]]:
    for name, _ in by_name(manager):
        results = call(manager, name, hook, settings=settings)
        if results is None:
            continue
        if isinstance(results, str | bytes | Mapping) or not isinstance(results, Iterable):
            raise ConfigError(
                f"The plugin {name!r}: {hook} must return an iterable, not {type(results).__name__}."
            )
        try:
            items = list(results)  # a generator's body runs here
        except ConfigError as error:
            raise ConfigError(f"The plugin {name!r}: {error}") from error
        except Exception as error:
            raise ConfigError(f"The plugin {name!r} raised {type(error).__name__} in {hook}.") from error
        for item in items:
            yield name, item


def check_policy(policy: Policy, guards: Mapping[str, Guard], where: str) -> None:
    """Refuse a policy that names a guard which is not there, or not at that stage.

    `where` is the place of the policy in the settings, such as `policy`.

    Raises:
        ConfigError: names the guards that there are.
    """
    for stage in Stage:
        known = ", ".join(name for name, guard in guards.items() if stage in guard.stages) or "none"
        for name in policy.stage(stage):
            if name not in guards:
                raise ConfigError(f"{where}.{stage}: unknown guard {name!r}. Guards for {stage}: {known}.")
            if stage not in guards[name].stages:
                raise ConfigError(
                    f"{where}.{stage}: the guard {name!r} does not serve the {stage}. "
                    f"Guards for {stage}: {known}."
                )


def check_policies(settings: Settings, guards: Mapping[str, Guard]) -> None:
    """`check_policy` of the floor and of every key.

    Raises:
        ConfigError: names the place, and the guards that there are; or the guards without which content
            must not be captured.
    """
    check_policy(settings.floor, guards, "policy")
    if settings.capture_content == "redacted":
        for stage in Stage:
            if missing := [name for name in NEEDED_TO_CAPTURE if name not in settings.floor.stage(stage)]:
                raise ConfigError(
                    f"capture_content = 'redacted' needs {' and '.join(missing)} in [policy.{stage}], be it "
                    "in shadow: text that they have not seen is not captured."
                )
    for index, key in enumerate(settings.keys):
        check_policy(key.policy, guards, f"{entry('keys', index, key.name)}: policy")
