"""The tables of plugins and guards: what is said of wrong ones."""

import re
from pathlib import Path

import msgspec
import pytest

from guardproxy.errors import ConfigError
from tests.test_config import SECRET, Acme, load, problem


class Needy(msgspec.Struct):
    url: str


class Raising(msgspec.Struct):
    url: str = ""

    def __post_init__(self) -> None:
        if self.url:
            raise ValueError(f"cannot use {self.url}")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[guards.acme]\n[plugins.acme]", r"\[guards.acme\] and \[plugins.acme\] are the same table"),
        ("[guards.amce]", r"\[guards.amce\] may have 'allow' alone: .* Did you mean 'acme'"),
        ("[acme]\npreset = 'strict'", r"\[acme\] is not known. .* 'acme' belong in \[plugins.acme\]\.$"),
        ("[acme]\n[amce]", r"belong in \[plugins.acme\]\. 'amce' is not known\."),
        ("acme = 1", "'acme' is not known. "),
        ("[plugins.amce]", r"\[plugins\]: 'amce' is not known. Did you mean 'acme'"),
        ("[plugins.acme]\npreste = 1", "'preste' is not known. Did you mean 'preset'"),
        ("[plugins.acme]\npreset = 1", r"\[plugins.acme\]: preset must be \"default\" or \"strict\"\.$"),
        ("[guards.acme]\npreset = 'all'", r'preset must be "default" or "strict", not "all"\.$'),
        ("[guards.acme]\nshare = 2", r"\[guards.acme\]: share must be a number of at most 1.0\.$"),
        ("[guards.acme]\nshare = -0.5", r"share must be a number of at least 0.0\.$"),
        ("[guards.acme]\nshare = 'x'", r"share must be a number, not a string\.$"),
        ("[guards.acme]\nmany = 'x'", r"many must be a list, not a string\.$"),
        ("[guards.acme]\ninner = { depth = true }", r"inner.depth must be an integer, not true or false\.$"),
        ("[guards.acme]\ninner.depth = 5", r"inner.depth: Expected `int` that's a multiple of 2\.$"),
        ("[guards.acme]\nupstream = 'https://a'", r"'upstream' is not known. It is a top-level key: those"),
        (
            "[plugins.acme.inner]\ndepht = 1",
            r"\[plugins.acme.inner\]: 'depht' is not known. Did you mean 'depth'",
        ),
        (
            "[[plugins.acme.many]]\n[[plugins.acme.many]]\ndepht = 1",
            r"^the 2nd \[\[plugins.acme.many\]\]: 'depht' is not known. Did you mean 'depth'",
        ),
        ("[plugins.acme.named.x]\ndepht = 1", "'depht' is not known. Did you mean 'depth'"),
        ("[guards.acme]\nallow = 'x'", "guards.acme.allow must be a list of strings"),
        ("[guards.acme]\nallow = ['x', 're:(']", "guards.acme.allow: the 2nd is no pattern of google-re2"),
        ("[guards.acme]\nallow = ['x', '']", "guards.acme.allow: the 2nd is empty"),
        ("[guards.other]\nallow = ['x']\nlevel = 1", r"\[guards.other\] may have 'allow' alone"),
        ("[plugins.acme]\nallow = ['x']", "'allow' is not known"),
        (
            "[[guards.acme.many]]\nname = 'A'\nkind = 'flat'",
            r'^the 1st \[\[guards.acme.many\]\] \("A"\): kind must be "wide" or "narrow", not "flat"\.$',
        ),
        ("[guards.acme]\nmany = [1]", r"\[guards.acme\]: the 1st of many must be a table, not an integer\.$"),
        (
            "[[guards.acme.many]]\nkind = '${env:WORD}'",
            r'^the 1st \[\[guards.acme.many\]\]: kind must be "wide" or "narrow", not "\*+"\.$',
        ),
        (
            "[[guards.acme.lines]]\n[[guards.acme.lines.words]]\nword = 1",
            r"^the 1st \[\[guards.acme.lines\]\]: the 1st \[\[words\]\]: word must be a string, not an int",
        ),
        ("[guards.acme]\nrows = [[{ wrod = 'a' }]]", "'wrod' is not known. Did you mean 'word'"),
        ("[guards.acme]\ninner.kind = 'x 1'", r'inner.kind must be "wide" or "narrow"\.$'),
        ("[guards.acme]\ninner.name = 'a'", r"inner.name must match \^\[A-Z\]\+\$\.$"),
        ("[guards.acme]\ninner.name = 'AAAA'", r"inner.name must have at most 3 characters\.$"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, toml: str, message: str) -> None:
    assert re.search(message, problem(tmp_path, toml))


def test_a_plugin_without_a_table_has_its_defaults_or_is_an_error(tmp_path: Path) -> None:
    assert load(tmp_path).plugins == {"acme": Acme()}
    with pytest.raises(ConfigError, match=r"\[plugins.needy\]: lacks 'url'\."):
        load(tmp_path, types={"needy": Needy})


@pytest.mark.parametrize(
    ("toml", "types"),
    [
        ('[plugins.acme]\npreset = "${env:S}"', {"acme": Acme}),
        ('[plugins.raising]\nurl = "http://x/${env:S}"', {"raising": Raising}),
    ],
)
def test_a_plugins_message_hides_what_came_from_the_environment(
    tmp_path: Path, toml: str, types: dict[str, type[msgspec.Struct]]
) -> None:
    with pytest.raises(ConfigError, match=r"\*\*\*\*") as raised:
        load(tmp_path, toml, {"S": SECRET}, types)
    assert SECRET not in str(raised.value)
