"""Guards at work without a proxy."""

import io

import pluggy
import pytest

from guardproxy import hookimpl, hookspecs
from guardproxy.errors import ConfigError
from guardproxy.offline import bar, chosen, offline
from guardproxy.plugins import PROJECT, bringing, by_name, load_plugins
from guardproxy.settings import Settings
from guardproxy.stage import MOST_NEW
from guardproxy.types import Action, Guard, Stage, TextPart
from tests.samples import Tags, guards


class Life:
    """Notes when it is asked, started and ended."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    @hookimpl
    def guardproxy_check(self) -> None:
        self.noted.append("check")

    @hookimpl
    def guardproxy_startup(self) -> None:
        self.noted.append("startup")

    @hookimpl
    def guardproxy_shutdown(self) -> None:
        self.noted.append("shutdown")


class Brings(Life):
    """And brings a guard."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.guard = guard

    @hookimpl
    def guardproxy_register_guards(self) -> list[Guard]:
        return [self.guard]


def manager_with(*plugins: object) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for index, plugin in enumerate(plugins):
        manager.register(plugin, f"p{index}")
    return manager


async def test_plugins_that_bring_guards_are_started_and_ended_around_the_work() -> None:
    made = {"tags": guards()["tags"]}
    life, none = Brings(made["tags"]), Life()
    async with offline(manager_with(life, none), Settings(placeholder="<{category}>"), made) as work:
        assert life.noted == ["check", "startup"]
        run = work.run()
        part = TextPart(("a",), "TAG-1234")
        edits = run.apply([part], await run.hits([part], run.enforced))
        assert edits.texts == {("a",): "<TAG>"}
        assert work.guards == ("tags",)
    assert life.noted == ["check", "startup", "shutdown"]
    assert none.noted == []  # such as what tells of exchanges: there is none


async def test_no_text_is_too_large_for_a_blockwise_detector() -> None:
    made = {"names": guards()["names"]}
    async with offline(manager_with(), Settings(), made) as work:
        run = work.run()
        texts = ["x. " * (MOST_NEW // 3), "Zorp"]
        parts = [TextPart((index,), text) for index, text in enumerate(texts)]
        assert [len(hits) for hits in await run.hits(parts, run.enforced)] == [0, 1]


def test_which_guards_are_chosen() -> None:
    late = Guard("late", (Tags(),), frozenset({Stage.OUTPUT}))
    made = {**guards(), "late": late}
    assert list(chosen(made, [])) == [name for name in made if name != "late"]
    assert list(chosen(made, ["tags, Names,,", "tags"])) == ["tags", "names"]
    for word in ("late", "nothing"):
        with pytest.raises(ConfigError, match="Guards for input: tags, pairs, braces, names, mood, raises"):
            chosen(made, [word])
    both = {**made, "both": Guard("both", (), companions={"tags": Action.BLOCK, "names": Action.FLAG})}
    assert list(chosen(both, ["both", "mood"])) == ["both", "mood", "tags", "names"]
    with pytest.raises(ConfigError, match="No guard is installed"):
        chosen({"late": late}, [])


@pytest.mark.parametrize(
    ("terminal", "total", "shows"),
    [(True, 99, False), (True, 100, True), (True, None, True), (False, 100, False), (False, None, False)],
)
def test_a_bar_needs_a_terminal_and_long_input(
    terminal: bool, total: int | None, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with bar("scanning", total, 100) as advance:
        advance(100)
    assert ("scanning" in stream.getvalue()) is shows


def test_of_the_installed_plugins_those_of_the_guards_are_started() -> None:
    """`metrics` and `tracing` would say where they tell of exchanges, and there is none."""
    names = {name for name, _ in by_name(bringing(load_plugins()))}
    assert {"pii", "secrets"} <= names
    assert not {"metrics", "tracing", "spans"} & names
