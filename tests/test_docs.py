"""The docs say what is there."""

import importlib
import inspect
import json
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pluggy
import pytest
from rich.console import Console

from guardproxy import Guard, Policy, errors, gold, hookspecs, members
from guardproxy.app import create_app
from guardproxy.config import load_settings
from guardproxy.errors import GuardProxyError, UpstreamFailure
from guardproxy.explain import explain
from guardproxy.plugins import load_plugins, settings_types
from guardproxy.profiles import PROFILES
from guardproxy.routes import CHECK
from guardproxy.settings import UNSCANNABLE_REASONS
from guardproxy.shapes import EVENT, REQUEST, RESPONSE, Name, Opaque, Place, Shape
from guardproxy.testing.locality import check_locality
from tests.bench import detection
from tests.harness import Client, Recorder, message, proxy, whole

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/*.md"))]
HOOKS = [name for name in vars(hookspecs) if name.startswith("guardproxy_")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")
HOOKS_PAGE = (ROOT / "docs/hooks.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(heading: str) -> str:
    """What docs/hooks.md says under a heading that begins so."""
    return HOOKS_PAGE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]


def module(code: str) -> types.ModuleType:
    """An example as a plugin."""
    made = types.ModuleType("example")
    exec(compile(code, "docs/hooks.md", "exec"), made.__dict__)
    return made


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_signature(hook: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"\n## {hook}({arguments})\n" in (ROOT / "docs/hooks.md").read_text("utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test_and_a_docstring(hook: str) -> None:
    tests = [(ROOT / f"tests/test_{name}.py").read_text("utf-8") for name in ("hooks", "plugins", "config")]
    assert any(hook in text for text in tests)
    assert inspect.getdoc(getattr(hookspecs, hook))


def test_hooks_are_documented_in_the_order_of_the_file() -> None:
    headings = re.findall(r"^## (guardproxy_\w+)", (ROOT / "docs/hooks.md").read_text("utf-8"), re.MULTILINE)
    assert headings == HOOKS


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_a_dependency_has_its_reason(requirement: str) -> None:
    name = re.split(r"[\[><=~!]", requirement)[0]
    assert f"\n| {name} | " in (ROOT / "docs/dependencies.md").read_text("utf-8")


@pytest.mark.parametrize("group", PROJECT["dependency-groups"])
def test_a_group_has_its_reason(group: str) -> None:
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    assert f"`{group}`" in text
    for requirement in PROJECT["dependency-groups"][group]:
        assert re.split(r"[\[><=~!]", requirement)[0] in text


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_in_the_docs_is_code(page: Path) -> None:
    text = page.read_text("utf-8")
    for code in blocks(text, "python"):
        compile(code, str(page), "exec")
    for code in blocks(text, "toml"):
        tomllib.loads(code)
    for code in blocks(text, "json"):
        json.loads(code)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_are_about_no_machine_of_ours(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.search(r"(?<![\w.}])/(?:work|tmp|root|home|opt|Users|mnt)\b", text)
    assert not re.search(
        r"pypi\.org|pythonhosted|npmjs|anaconda|ghcr\.io|docker\.io|quay\.io|index-url", text, re.IGNORECASE
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_is_one(hook: str) -> None:
    (code,) = blocks(section(f"{hook}("), "python")
    manager = pluggy.PluginManager("guardproxy")
    manager.add_hookspecs(hookspecs)
    manager.register(module(code), "example")
    manager.check_pending()
    assert getattr(manager.hook, hook).get_hookimpls()


async def test_examples_do_what_they_say() -> None:
    verdicts, forward, after, steps = (
        module(blocks(section(f"guardproxy_{hook}("), "python")[0])
        for hook in ("verdict", "before_forward", "after_forward", "step")
    )
    plugins = (verdicts, forward, after, steps)
    async with proxy(whole(message("hello")), plugins=plugins) as client:
        retired = await client.post({"model": "retired-model", "input": "hi"})
        await client.post({"model": "m", "input": "TAG-1234"}, {"x-opper-guard-input": "tags"})
    assert (retired.status, retired.json["error"]["message"]) == (400, "Use new-model.")
    assert len(client.requests) == 1
    assert verdicts.found == {"TAG": 1}
    assert after.outcomes == {"error": 1, "flagged": 1}
    assert list(steps.seconds) == ["tags"]


def test_examples_of_the_policy_and_of_settings() -> None:
    policy = module(blocks(section("guardproxy_resolve_policy("), "python")[0])
    assert policy.guardproxy_resolve_policy({}) is None
    asked = policy.guardproxy_resolve_policy({"x-tenant": "bank"})
    assert isinstance(asked, Policy)
    assert asked.input["pii"].action.word == "block"
    acme = module(blocks(section("guardproxy_register_settings("), "python")[0]).Acme(prefix="T")
    settings = types.SimpleNamespace(plugins={"acme": acme})
    guards = module(blocks(section("guardproxy_register_guards("), "python")[0])
    (guard,) = guards.guardproxy_register_guards(settings)
    assert isinstance(guard, Guard)
    check_locality(guard.detectors[0], ["T-123456", "T-1234567"])


async def test_the_complete_plugin_redacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks(section("A complete plugin"), "python")[0]
    (tmp_path / "acme_guardproxy.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    plugin = importlib.import_module("acme_guardproxy")
    check_locality(plugin.Tickets(), ["see TKT-123456 today", "TKT-1234567", "XTKT-123456"], 2000)
    async with proxy(whole(message("TKT-123456")), plugins=(plugin,)) as client:
        headers = {"x-opper-guard-input": "tickets=redact", "x-opper-guard-output": "tickets=redact"}
        got = await client.post({"input": "see TKT-123456, not TKT-1234567"}, headers)
    assert json.loads(client.requests[0].content)["input"] == "see [TICKET_ID], not TKT-1234567"
    assert got.json["output"][0]["content"][0]["text"] == "[TICKET_ID]"


def test_the_example_of_a_test_of_a_plugin_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_guardproxy.py").write_text(blocks(section("A complete plugin"), "python")[0], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_guardproxy", raising=False)
    manager = pluggy.PluginManager("guardproxy")
    manager.add_hookspecs(hookspecs)
    manager.register(importlib.import_module("acme_guardproxy"), "acme")
    monkeypatch.setattr("guardproxy.app.load_plugins", lambda: manager)  # as if it was installed, alone
    module(blocks(section("Test a plugin"), "python")[1]).test_it_redacts_both_ways()


def test_the_complete_plugin_can_be_installed() -> None:
    (code,) = blocks(section("A complete plugin"), "toml")
    project = tomllib.loads(code)
    assert project["project"]["entry-points"]["guardproxy"] == {"acme": "acme_guardproxy"}
    assert project["tool"]["setuptools"]["py-modules"] == ["acme_guardproxy"]
    assert {"name", "version"} <= set(project["project"])


def test_the_readme_is_short_and_its_settings_work(tmp_path: Path) -> None:
    assert len(README.splitlines()) <= 180
    (code,) = blocks(README, "toml")
    file = tmp_path / "guardproxy.toml"
    file.write_text(code, "utf-8")
    environment = {"OPENAI_API_KEY": "provider", "TEAM_A_SHA256": "a" * 64}
    settings = load_settings(file, environment, {}, settings_types(load_plugins()))
    assert settings.floor.output["toxicity"].shadow
    assert settings.keys[0].policy.input["pii"].action.word == "block"


def test_the_readme_explains_its_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "guardproxy.toml"
    file.write_text(blocks(README, "toml")[0], "utf-8")
    manager = load_plugins()
    environment = {"OPENAI_API_KEY": "provider", "TEAM_A_SHA256": "a" * 64}
    settings = load_settings(file, environment, {}, settings_types(manager))
    command, shown = README.split("$ guardproxy explain ", 1)[1].split("…\n", 1)
    assert command.strip() == "--key team-a --header 'X-Opper-Guard-Input: pii'"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(explain(manager, settings, "team-a", ["X-Opper-Guard-Input: pii"]))
    assert shown.split("```")[0] in captured.get()


def test_no_example_is_a_key_that_opens_anything() -> None:
    # An example's digest is copied: it must come from the reader, or be one that no key has.
    for page in DOCS:
        for digest in re.findall(r'sha256 = "([^"]*)"', page.read_text("utf-8")):
            assert re.fullmatch(r"\$\{env:\w+\}|(?:0123456789abcdef){4}", digest), page


def error_classes() -> list[type[GuardProxyError]]:
    return [
        found
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, GuardProxyError) and "code" in vars(found)
    ]


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_an_error_has_its_row(error: type[GuardProxyError]) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/wire.md").read_text("utf-8").splitlines()
        if re.match(r"\| \d{3} \|", line)
    ]
    (row,) = (row for row in rows if f"`{error.code}`" in row[2] and "without `guards`" not in row[3])
    retry = "yes" if error.final else ""
    assert [row[0], row[1], row[4]] == [str(error.status), f"`{error.type}`", retry]


def test_an_event_of_the_log_is_documented() -> None:
    told = (ROOT / "docs/logs.md").read_text("utf-8")
    pages = [
        page.read_text("utf-8") for page in (*ROOT.glob("guardproxy/**/*.py"), *ROOT.glob("plugins/*/*.py"))
    ]
    # Whatever the logger is called, or wherever it is got.
    logged = re.compile(r'(?:\.(?:debug|info|warning|error|exception|critical)|\bfailure)\(\s*"([^"]+)"')
    events = {event for page in pages for event in logged.findall(page)}
    assert {"exchange", "drain_over", "scan_worker_replaced"} <= events
    for event in events | {"library_log"}:
        assert f"`{event}`" in told, event


def test_every_rule_of_a_dialect_names_a_test_that_there_is() -> None:
    page = (ROOT / "docs/front-doors.md").read_text("utf-8")
    there = {
        name
        for file in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    rows = [line for line in page.splitlines() if re.match(r"\|.*\| `test", line)]
    assert rows
    for row in rows:
        named = re.findall(r"`(test\w*(?:/\w+)*(?:\.py)?)`", row.rstrip("| ").rpartition(" | ")[2])
        assert named, row
        assert all((ROOT / name).is_file() if "/" in name else name in there for name in named), row
    for name in PROFILES:
        assert f"`{name}`" in page, name


def test_why_a_provider_failed_is_documented_word_by_word() -> None:
    page = (ROOT / "docs/logs.md").read_text("utf-8").split("## Why a provider failed")[1]
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == get_args(UpstreamFailure)


def test_what_an_answer_has_is_documented_member_by_member() -> None:
    page = (ROOT / "docs/front-doors.md").read_text("utf-8").split("\n## What an answer has\n")[1]
    table = page.split("\n\n")[1]
    head, _, *rows = (line.strip("|").split("|") for line in table.splitlines())
    told: dict[str, set[str]] = {}
    for names, *marks, _ in rows:
        for profile, mark in zip(head[1:-1], marks, strict=True):
            assert mark.strip() in ("yes", "")
            if mark.strip():
                told.setdefault(profile.strip(" `"), set()).update(re.findall(r"`(\w+)`", names))
    has = {name: getattr(members, name.upper()).members.keys() for name in told}
    assert sorted(told) == ["gateway", "julep", "openrouter", "opper"]
    assert told == has


@pytest.mark.parametrize("reason", UNSCANNABLE_REASONS)
def test_a_reason_is_documented(reason: str) -> None:
    assert f"`{reason}`" in (ROOT / "docs/coverage.md").read_text("utf-8")


def exempt(place: Place | None, key: str = "") -> Iterator[tuple[str, str]]:
    """The reason and the key of every place below that is no text."""
    if isinstance(place, Name | Opaque):
        yield place.reason or "not counted", key
    elif isinstance(place, Shape):
        for entries in (place.entries, *place.by_type.values()):
            for name, member in entries.items():
                yield from exempt(member, name)
        yield from exempt(place.other, key)
        yield from exempt(place.string, key)


def test_every_place_that_is_no_text_has_its_reason() -> None:
    found: dict[str, set[str]] = {}
    for shape in (REQUEST, RESPONSE, EVENT):
        for reason, key in exempt(shape):
            found.setdefault(reason, set()).add(key)
    text = (ROOT / "docs/coverage.md").read_text("utf-8")
    told: dict[str, set[str]] = {}
    for part in ("Names, words and ids", "Opaque places"):
        rows = text.split(f"\n## {part}\n", 1)[1].split("\n## ", 1)[0].split("|---|---|---|\n", 1)[1]
        for row in rows.split("\n\n", 1)[0].splitlines():
            reason, why, keys = (cell.strip() for cell in row.strip("|").split("|"))
            assert why
            # A key, maybe with the object that has it: "`data` of an `input_audio`".
            told[reason.strip("`")] = set(re.findall(r"(?:^|, )`(\w+)`", keys))
    assert told == found


@pytest.mark.parametrize(
    "word",
    [
        *("exchange", "upstream", "guard", "detector", "stage", "text part", "reading", "match", "finding"),
        *("action", "policy", "verdict", "local reply", "receipt", "profile", "step"),
    ],
)
def test_words_are_explained(word: str) -> None:
    assert f"\n| {word} | " in (ROOT / "docs/glossary.md").read_text("utf-8")


def test_codes_made_elsewhere_are_documented() -> None:
    text = (ROOT / "docs/wire.md").read_text("utf-8")
    for page in (ROOT / "guardproxy").glob("*.py"):
        for code in re.findall(r'\bcode="(\w+)"', page.read_text("utf-8")):
            assert f"`{code}`" in text, page.name


async def test_the_example_of_a_check_is_answered_so() -> None:
    section = (ROOT / "docs/wire.md").read_text("utf-8").split("\n## A check without a model call\n")[1]
    asked, answered = blocks(section.split("\n## ")[0], "json")
    manager = load_plugins()
    settings = load_settings(None, {}, {"auth": "none"}, settings_types(manager))
    structured = msgspec.structs.replace(settings.plugins["pii"], preset="structured")
    settings = msgspec.structs.replace(settings, plugins={**settings.plugins, "pii": structured})
    app = create_app(settings, plugins=manager)
    async with app.lifespan():
        got = await Client(app, [], Recorder()).post(asked.encode(), path=CHECK)
    assert got.json == json.loads(answered)


def test_the_examples_of_labelled_texts_are_some() -> None:
    ranges, label = blocks((ROOT / "docs/commands.md").read_text("utf-8"), "json")
    (record,) = gold.read([ranges])
    assert record.text[slice(*record.ranges[0][:2])] == "ada@example.org"  # type: ignore[index]
    assert gold.read([label])[0].label is True


def test_the_page_of_figures_has_a_place_for_them() -> None:
    page = detection.PAGE.read_text("utf-8")
    assert page.count(detection.BEGIN) == page.count(detection.END) == 1
    assert page.index(detection.BEGIN) < page.index(detection.END)
    assert f"python -m {detection.__name__}" in page
