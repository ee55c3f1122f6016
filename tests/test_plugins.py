"""plugins: entry points, type checks of what plugins return, and policies against guards."""

import importlib.metadata
from collections.abc import Awaitable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar import Controller, get, post

from guardproxy import plugins
from guardproxy.allow import AllowList
from guardproxy.errors import ConfigError
from guardproxy.hookspecs import hookimpl
from guardproxy.settings import ClientKey, Settings
from guardproxy.types import Detector, Guard, Match, Policy, Rule, Stage


class Quiet(Detector):
    name = "quiet"
    reach = 5

    def scan(self, texts: Sequence[str]) -> list[list[Match]]:
        return [[] for _ in texts]


def detector(**attributes: Any) -> Detector:
    quiet = Quiet()
    for name, value in attributes.items():
        setattr(quiet, name, value)
    return quiet


class AsyncLoad(Quiet):
    async def load(self) -> None:  # type: ignore[override]
        pass


class AsyncScan(Detector):
    def scan(self, texts: Sequence[str]) -> Awaitable[list[list[Match]]]:
        raise NotImplementedError


def bringing(*guards: object) -> object:
    class Plugin:
        @hookimpl
        def guardproxy_register_guards(self, settings: Settings) -> Any:
            return list(guards)

    return Plugin()


def returning(hook: str, result: Any) -> object:
    def with_settings(self: object, settings: Settings) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    def without(self: object) -> Any:
        return result

    function = without if hook == "guardproxy_register_settings" else with_settings
    return type("Plugin", (), {hook: hookimpl(function)})()


def load(*extra: tuple[str, object]) -> Any:
    return plugins.load_plugins(extra)


@pytest.fixture(autouse=True)
def no_installed_plugins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The entry points of the tests: what is installed plays no part."""
    points: list[Any] = []
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: points if group == "guardproxy" else []
    )
    return points


def point(name: str, plugin: Any) -> Any:
    def load() -> Any:
        if isinstance(plugin, Exception):
            raise plugin
        return plugin

    return SimpleNamespace(
        name=name, value=f"{name}_module", load=load, dist=SimpleNamespace(name="d", version="1")
    )


def test_plugins_are_sorted_by_name(no_installed_plugins: list[Any]) -> None:
    no_installed_plugins += [point("zeta", bringing()), point("alpha", bringing())]
    manager = load(("mid", bringing()))
    assert [name for name, _ in plugins.by_name(manager)] == ["alpha", "mid", "zeta"]
    assert plugins.distributions() == {"alpha": "d 1", "zeta": "d 1"}


def test_the_built_in_plugins_are_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = {name for name, _ in plugins.by_name(plugins.load_plugins())}
    assert {"metrics", "pii", "prompt_injection", "secrets", "toxicity", "tracing"} <= names


def test_a_plugin_that_does_not_import_stops_the_startup(no_installed_plugins: list[Any]) -> None:
    no_installed_plugins.append(point("broken", ImportError("no module named x")))
    with pytest.raises(
        ConfigError, match=r"'broken' \(broken_module\) does not import: ImportError: no module named x"
    ):
        load()


def test_names_are_unique(no_installed_plugins: list[Any]) -> None:
    no_installed_plugins.append(point("acme", bringing()))
    with pytest.raises(ConfigError, match="Two plugins have the name 'acme'"):
        load(("acme", bringing()))


def test_one_object_is_one_plugin() -> None:
    plugin = bringing()
    with pytest.raises(ConfigError, match="'b' does not fit"):
        load(("a", plugin), ("b", plugin))


@pytest.mark.parametrize("name", ["", "A", "a b", "a.b", "é"])
def test_names_have_a_grammar(name: str) -> None:
    with pytest.raises(ConfigError, match="a plugin's name has the characters"):
        load((name, bringing()))


def test_an_unknown_hook_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'acme' does not fit guardproxy's hooks: .*guardproxy_regster"):
        load(("acme", returning("guardproxy_regster_guards", [])))


def test_a_hook_with_an_unknown_argument_is_refused() -> None:
    class Plugin:
        @hookimpl
        def guardproxy_shutdown(self, sooner: bool) -> None: ...

    with pytest.raises(ConfigError, match="'acme' does not fit guardproxy's hooks"):
        load(("acme", Plugin()))


def test_settings_types_are_collected_by_name() -> None:
    class Mine(msgspec.Struct):
        size: int = 1

    manager = load(("acme", returning("guardproxy_register_settings", Mine)), ("other", bringing()))
    assert plugins.settings_types(manager) == {"acme": Mine}


@pytest.mark.parametrize("result", [dict, 3, {"a": int}])
def test_settings_types_are_structs(result: Any) -> None:
    manager = load(("acme", returning("guardproxy_register_settings", result)))
    with pytest.raises(
        ConfigError, match="'acme': guardproxy_register_settings must return a subclass of msgspec"
    ):
        plugins.settings_types(manager)


def test_guards_are_collected_by_name() -> None:
    one, two = Guard("one", (Quiet(),)), Guard("two", (AsyncScan(),), frozenset({Stage.OUTPUT}))
    manager = load(("a", bringing(two)), ("b", bringing(one)))
    assert list(plugins.collect_guards(manager, Settings()).items()) == [("one", one), ("two", two)]
    assert plugins.guards_by_plugin(manager, Settings()) == [("a", two), ("b", one)]


def test_the_guards_of_a_generator_are_taken() -> None:
    guard = Guard("one", (Quiet(),))
    manager = load(("a", returning("guardproxy_register_guards", (g for g in [guard]))))
    assert plugins.collect_guards(manager, Settings()) == {"one": guard}


def test_an_allow_list_for_a_guard_that_is_not_there_is_an_error() -> None:
    manager = load(("a", bringing(Guard("one", (Quiet(),)))))
    settings = Settings(allow={"two": AllowList(["x"])})
    with pytest.raises(ConfigError, match=r"^\[guards.two\]: there is no guard 'two'. Guards: one.$"):
        plugins.collect_guards(manager, settings)


def test_plugins_see_the_settings() -> None:
    class Plugin:
        @hookimpl
        def guardproxy_register_guards(self, settings: Settings) -> list[Guard]:
            return [Guard(f"port-{settings.port}", (Quiet(),))]

    assert list(plugins.collect_guards(load(("a", Plugin())), Settings(port=7))) == ["port-7"]


def test_two_guards_of_one_name_are_an_error() -> None:
    guard = Guard("pii", (Quiet(),))
    with pytest.raises(ConfigError, match="The plugins 'a' and 'b' both bring a guard 'pii'"):
        plugins.collect_guards(load(("b", bringing(guard)), ("a", bringing(guard))), Settings())


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ("pii", "must return Guards, not str"),
        (Guard("PII", (Quiet(),)), "a guard's name has the characters"),
        (Guard("", (Quiet(),)), "a guard's name has the characters"),
        (Guard("g", ()), "'g' must have a tuple of one or more detectors"),
        (Guard("g", [Quiet()]), "'g' must have a tuple of one or more detectors"),  # type: ignore[arg-type]
        (Guard("g", (Quiet,)), "must be an instance of a Detector subclass"),  # type: ignore[arg-type]
        (Guard("g", (Quiet(),), frozenset()), "'g' must serve Stage.INPUT, Stage.OUTPUT or both"),
        (Guard("g", (Quiet(),), frozenset({"input"})), "must serve Stage"),  # type: ignore[arg-type]
        (Guard("g", (detector(reach=0),)), "`reach` must be an integer from 1"),
        (Guard("g", (detector(reach=True),)), "`reach` must be an integer from 1"),
        (Guard("g", (detector(reach=1.5),)), "`reach` must be an integer from 1"),
        (Guard("g", (detector(context=-1),)), "`context` must be an integer from 0 to 200"),
        (Guard("g", (detector(context=201),)), "`context` must be an integer from 0 to 200"),
        (Guard("g", (detector(context=True),)), "`context` must be an integer from 0 to 200"),
        (Guard("g", (detector(inline_below=-1),)), "`inline_below` must be an integer from 0"),
        (Guard("g", (detector(name=3),)), "`name` must be a string"),
        (Guard("g", (AsyncLoad(),)), "`load` must not be async"),
    ],
)
def test_guards_are_checked(guard: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        plugins.collect_guards(load(("acme", bringing(guard))), Settings())
    assert str(raised.value).startswith("The plugin 'acme': guardproxy_register_guards")


@pytest.mark.parametrize("hook", ["guardproxy_register_guards", "guardproxy_register_routes"])
@pytest.mark.parametrize("result", [3, "text", {"a": 1}, Guard("g", (Quiet(),))])
def test_results_are_iterables(hook: str, result: Any) -> None:
    collect = plugins.collect_guards if hook.endswith("guards") else plugins.collect_routes
    with pytest.raises(ConfigError, match=f"'acme': {hook} must return an iterable, not"):
        collect(load(("acme", returning(hook, result))), Settings())


@pytest.mark.parametrize("hook", ["guardproxy_register_guards", "guardproxy_register_routes"])
def test_a_hook_that_raises_names_the_plugin_and_not_the_message(hook: str) -> None:
    collect = plugins.collect_guards if hook.endswith("guards") else plugins.collect_routes
    with pytest.raises(ConfigError, match=f"'acme' raised KeyError in {hook}") as raised:
        collect(load(("acme", returning(hook, KeyError("canary")))), Settings())
    assert "canary" not in str(raised.value)


def test_a_plugins_own_config_error_is_passed_on() -> None:
    manager = load(("acme", returning("guardproxy_register_guards", ConfigError("no model named x"))))
    with pytest.raises(ConfigError, match="The plugin 'acme': no model named x"):
        plugins.collect_guards(manager, Settings())


def test_a_generators_own_config_error_is_passed_on() -> None:
    def making() -> Iterator[Guard]:
        raise ConfigError("no model named x")
        yield

    manager = load(("acme", returning("guardproxy_register_guards", making())))
    with pytest.raises(ConfigError, match="The plugin 'acme': no model named x"):
        plugins.collect_guards(manager, Settings())


@get("/mine")
async def mine() -> None: ...


@post("/mine")
async def mine_posted() -> None: ...


@get("mine/")
async def mine_again() -> None: ...


class Rooms(Controller):
    path = "/rooms"


def test_routes_are_collected() -> None:
    manager = load(
        ("b", returning("guardproxy_register_routes", [mine_posted, Rooms])),
        ("a", returning("guardproxy_register_routes", [mine])),
    )
    assert plugins.collect_routes(manager, Settings()) == [mine, mine_posted, Rooms]


def test_routes_are_checked() -> None:
    manager = load(("a", returning("guardproxy_register_routes", [test_routes_are_checked])))
    with pytest.raises(
        ConfigError, match="'a': guardproxy_register_routes must return Litestar route handlers"
    ):
        plugins.collect_routes(manager, Settings())


def test_routes_that_clash_are_an_error() -> None:
    manager = load(
        ("a", returning("guardproxy_register_routes", [mine])),
        ("b", returning("guardproxy_register_routes", [mine_again])),
    )
    with pytest.raises(ConfigError, match="The plugins 'a' and 'b' both serve GET /mine"):
        plugins.collect_routes(manager, Settings())


def test_hooks_of_names_what_a_plugin_implements() -> None:
    manager = load(("a", bringing()), ("b", object()))
    assert plugins.hooks_of(manager, "a") == ["guardproxy_register_guards"]
    assert plugins.hooks_of(manager, "b") == []


GUARDS = {
    "both": Guard("both", (Quiet(),)),
    "out": Guard("out", (Quiet(),), frozenset({Stage.OUTPUT})),
}


def test_a_policy_of_known_guards_passes() -> None:
    policy = Policy({"both": Rule()}, {"both": Rule(), "out": Rule()})
    plugins.check_policies(Settings(floor=policy, keys=(ClientKey("a", "00", policy),)), GUARDS)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy({"pii": Rule()}), r"\.input: unknown guard 'pii'. Guards for input: both\."),
        (Policy({}, {"pii": Rule()}), r"\.output: unknown guard 'pii'. Guards for output: both, out\."),
        (
            Policy({"out": Rule()}),
            r"\.input: the guard 'out' does not serve the input. Guards for input: both\.",
        ),
    ],
)
def test_a_policy_that_cannot_run_is_refused(policy: Policy, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^policy{message}$"):
        plugins.check_policies(Settings(floor=policy), GUARDS)
    with pytest.raises(ConfigError, match=rf'^the 1st \[\[keys\]\] \("team"\): policy{message}$'):
        plugins.check_policies(Settings(keys=(ClientKey("team", "00", policy),)), GUARDS)
