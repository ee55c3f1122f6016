"""The docs say what is there."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from guardproxy import hookspecs

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "plugins").glob("*/*.md"))]
HOOKS = [name for name in vars(hookspecs) if name.startswith("guardproxy_")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_signature(hook: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"\n## {hook}({arguments})\n" in (ROOT / "docs/hooks.md").read_text("utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test_and_a_docstring(hook: str) -> None:
    tests = [(ROOT / f"tests/test_{name}.py").read_text("utf-8") for name in ("hooks", "plugins", "settings")]
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
def test_python_in_the_docs_compiles(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        compile(code, str(page), "exec")


@pytest.mark.parametrize(
    "word",
    [
        *("exchange", "upstream", "guard", "detector", "stage", "text part", "reading", "match", "finding"),
        *("action", "policy", "verdict", "local reply", "receipt", "profile", "step"),
    ],
)
def test_words_are_explained(word: str) -> None:
    assert f"\n| {word} | " in (ROOT / "docs/glossary.md").read_text("utf-8")


def test_error_codes_are_documented() -> None:
    codes = set(re.findall(r'code = "(\w+)"', (ROOT / "guardproxy/errors.py").read_text("utf-8")))
    text = (ROOT / "docs/wire.md").read_text("utf-8")
    assert {code for code in codes if f"`{code}`" not in text} == set()
