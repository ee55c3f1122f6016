"""Each hook: who is called, in which order, and what an error of a plugin changes."""

import functools
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pluggy
import pytest
from structlog.testing import capture_logs

from guardproxy import Exchange, LocalReply, Policy, Rule, Settings, Step, StepKind, hookimpl, hookspecs
from guardproxy.errors import ConfigError, InternalError
from guardproxy.hooks import Hooks
from guardproxy.types import Outcome, Stage, Verdict

VERDICT = Verdict(Stage.INPUT, Outcome.CLEAN)


def hooks(**plugins: Any) -> Hooks:
    manager = pluggy.PluginManager("guardproxy")
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins.items():
        manager.register(plugin, name)
    return Hooks(manager, Settings())


def exchange() -> Exchange:
    return Exchange("POST", "/v1/responses", {})


class Good:
    """Notes its calls in `log`."""

    def __init__(self, name: str, log: list[str], reply: LocalReply | None = None) -> None:
        self.name, self.log, self.reply = name, log, reply

    @hookimpl
    def guardproxy_startup(self) -> None:
        self.log.append(f"{self.name} startup")

    @hookimpl
    def guardproxy_shutdown(self) -> None:
        self.log.append(f"{self.name} shutdown")

    @hookimpl
    def guardproxy_step(self, step: Step) -> Any:
        @contextmanager
        def around() -> Any:
            self.log.append(f"{self.name} +{step.name}")
            yield
            self.log.append(f"{self.name} -{step.name}")

        return around()

    @hookimpl
    def guardproxy_resolve_policy(self, headers: Any) -> Policy:
        self.log.append(f"{self.name} resolve {headers['x']}")
        return Policy(input={self.name: Rule()})

    @hookimpl
    async def guardproxy_verdict(self, exchange: Exchange, verdict: Verdict) -> None:
        self.log.append(f"{self.name} verdict {verdict.outcome}")

    @hookimpl
    def guardproxy_before_forward(self, exchange: Exchange) -> LocalReply | None:
        self.log.append(f"{self.name} before")
        return self.reply

    @hookimpl
    async def guardproxy_after_forward(self) -> None:
        self.log.append(f"{self.name} after")


class Bad:
    """Raises in every hook."""

    @hookimpl
    def guardproxy_startup(self) -> None:
        raise ValueError("secret")

    @hookimpl
    def guardproxy_shutdown(self) -> None:
        raise ValueError("secret")

    @hookimpl
    def guardproxy_step(self) -> Any:
        raise ValueError("secret")

    @hookimpl
    def guardproxy_resolve_policy(self) -> Policy:
        raise ValueError("secret")

    @hookimpl
    async def guardproxy_verdict(self) -> None:
        raise ValueError("secret")

    @hookimpl
    async def guardproxy_before_forward(self) -> None:
        raise ValueError("secret")

    @hookimpl
    def guardproxy_after_forward(self) -> None:
        raise ValueError("secret")


async def test_plugins_are_called_in_the_order_of_their_names() -> None:
    log: list[str] = []
    made = hooks(b=Good("b", log), a=Good("a", log))
    made.startup()
    with made.step(exchange(), Step(StepKind.CALL, "s")):
        pass
    assert [(n, *p.input) for n, p in made.resolve_policy({"x": "1"})] == [("a", "a"), ("b", "b")]
    await made.verdict(exchange(), VERDICT)
    assert await made.before_forward(exchange()) is None
    await made.after_forward(exchange())
    made.shutdown()
    assert log == [
        *("a startup", "b startup", "a +s", "b +s", "b -s", "a -s", "a resolve 1", "b resolve 1"),
        *("a verdict clean", "b verdict clean", "a before", "b before", "a after", "b after"),
        *("a shutdown", "b shutdown"),
    ]


async def test_the_first_local_reply_wins() -> None:
    log: list[str] = []
    made = hooks(
        a=Good("a", log), b=Good("b", log, LocalReply(200, {})), c=Good("c", log, LocalReply(418, {}))
    )
    reply = await made.before_forward(exchange())
    assert reply is not None
    assert reply.status == 200
    assert log == ["a before", "b before"]


async def test_an_observer_that_raises_changes_nothing() -> None:
    log: list[str] = []
    made = hooks(a=Bad(), b=Good("b", log))
    with made.step(exchange(), Step(StepKind.CALL, "s")):
        pass
    await made.verdict(exchange(), VERDICT)
    await made.after_forward(exchange())
    made.shutdown()
    assert log == ["b +s", "b -s", "b verdict clean", "b after", "b shutdown"]


def taken(log: list[object], exchange: object, step: object) -> Any:
    log.append((type(exchange), type(step)))
    return nullcontext()


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: object) -> Any:
        return function(*arguments)

    return wrapper


def test_a_hook_takes_its_arguments_by_position_in_any_order() -> None:
    log: list[object] = []

    class Positional:
        @hookimpl
        def guardproxy_step(self, exchange: Exchange, step: Step, /) -> Any:
            return taken(log, exchange, step)

    class Swapped:
        @hookimpl
        def guardproxy_step(self, step: Step, exchange: Exchange, more: int = 0) -> Any:
            return taken(log, exchange, step)

    class Decorated:
        @hookimpl
        @wrapped
        def guardproxy_step(self, exchange: Exchange, step: Step) -> Any:
            return taken(log, exchange, step)

    class Static:
        @staticmethod
        @hookimpl
        def guardproxy_step(step: Step) -> Any:
            return taken(log, None, step)

    with hooks(a=Positional(), b=Swapped(), c=Decorated(), d=Static()).step(
        exchange(), Step(StepKind.CALL, "s")
    ):
        pass
    assert log == [(Exchange, Step)] * 3 + [(type(None), Step)]


def test_a_manager_that_was_entered_is_left_whatever_became_of_one_that_equals_it() -> None:
    log: list[str] = []

    @dataclass
    class Manager:
        first: bool = field(compare=False)

        def __enter__(self) -> None:
            if self.first:
                raise ValueError

        def __exit__(self, *_: object) -> None:
            log.append("left")

    class Gives:
        def __init__(self, manager: Manager) -> None:
            self.manager = manager

        @hookimpl
        def guardproxy_step(self) -> Manager:
            return self.manager

    with hooks(a=Gives(Manager(True)), b=Gives(Manager(False))).step(exchange(), Step(StepKind.CALL, "s")):
        assert log == []
    assert log == ["left"]


async def test_a_plugin_that_fails_to_decide_stops_the_exchange() -> None:
    made = hooks(a=Bad())
    with pytest.raises(InternalError, match="'a' failed to resolve the policy") as caught:
        made.resolve_policy({})
    assert caught.value.__context__ is None
    with pytest.raises(InternalError, match="'a' failed before"):
        await made.before_forward(exchange())
    with pytest.raises(ConfigError, match="'a' raised ValueError in guardproxy_startup"):
        made.startup()


class Explains:
    @hookimpl
    def guardproxy_startup(self) -> None:
        raise ConfigError("ACME_URL must be a URL.")


def test_a_plugin_says_why_it_does_not_start() -> None:
    with pytest.raises(ConfigError, match=r"^The plugin 'a': ACME_URL must be a URL\.$") as caught:
        hooks(a=Explains()).startup()
    assert caught.value.__context__ is None


class Doubts(Good):
    @hookimpl
    def guardproxy_check(self) -> list[str]:
        self.log.append(f"{self.name} check")
        return ["ACME_URL is not encrypted."]


def test_every_plugin_checks_before_one_starts() -> None:
    log: list[str] = []
    with capture_logs() as logged:
        hooks(b=Doubts("b", log), a=Doubts("a", log), c=Good("c", log)).startup()
    assert log == ["a check", "b check", "a startup", "b startup", "c startup"]
    said = {"event": "doubtful", "log_level": "warning", "problem": "ACME_URL is not encrypted."}
    assert logged == [said | {"plugin": "a"}, said | {"plugin": "b"}]


class Refuses:
    @hookimpl
    def guardproxy_check(self) -> None:
        raise ConfigError("ACME_URL must be a URL.")


class Forgets:
    @hookimpl
    def guardproxy_check(self) -> str:
        return "a sentence"


def test_a_check_that_refuses_stops_the_startup() -> None:
    log: list[str] = []
    with pytest.raises(ConfigError, match=r"^The plugin 'b': ACME_URL must be a URL\.$"):
        hooks(a=Good("a", log), b=Refuses()).startup()
    assert log == []
    with pytest.raises(ConfigError, match="guardproxy_check must return an iterable, not str"):
        hooks(a=Forgets()).startup()


class Wrong:
    @hookimpl
    def guardproxy_resolve_policy(self) -> str:
        return "pii"


def test_a_policy_must_be_one() -> None:
    with pytest.raises(InternalError):
        hooks(a=Wrong()).resolve_policy({})


class Wraps:
    @hookimpl(wrapper=True)
    def guardproxy_verdict(self) -> Any:
        return (yield)


def test_wrappers_are_refused() -> None:
    with pytest.raises(ConfigError, match="return a value instead"):
        hooks(a=Wraps())
