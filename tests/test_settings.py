"""The settings themselves: their table, their documentation, and what their repr hides."""

import pickle
import re
from pathlib import Path

import pytest

from guardproxy.config import TABLES
from guardproxy.settings import (
    SETTINGS,
    UNSCANNABLE_REASONS,
    ClientKey,
    LimitSettings,
    Setting,
    Settings,
    StoreSettings,
    masked,
)
from guardproxy.types import Policy, Rule
from tests.test_config import Acme

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"
SECRET = "sk-" + "canary" * 4
DIGEST = "ab" * 32


def test_the_table_has_every_scalar_of_the_struct() -> None:
    defaults = Settings()
    assert [s.name for s in SETTINGS] == list(Settings.__struct_fields__)[: len(SETTINGS)]
    assert list(Settings.__struct_fields__)[len(SETTINGS) :] == [
        "floor",
        "unscannable",
        "keys",
        "upstreams",
        "store",
        "front_doors",
        "limits",
        "prices",
        "plugins",
        "allow",
    ]
    assert all(getattr(defaults, s.name) == s.default for s in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_each_scalar_is_documented(setting: Setting) -> None:
    section = re.search(rf"^### {setting.name}\n(.*?)(?=^##)", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert section, "docs/settings.md lacks it"
    default = "–" if setting.default is None else f"`{setting.default}`"
    assert setting.scalar.help in section[1]
    assert setting.scalar.unit in section[1]
    assert f"`{setting.environment}` · `{setting.flag}` · default: {default}\n" in section[1]


def test_the_docs_have_no_other_scalars_and_all_words() -> None:
    docs = DOCS.read_text()
    scalars = docs[docs.index("## Scalars") : docs.index("## Tables")]
    assert re.findall(r"^### (.*)$", scalars, re.MULTILINE) == [s.name for s in SETTINGS]
    tables = docs[docs.index("## Tables") :]
    assert all(f"`{reason}`" in tables for reason in UNSCANNABLE_REASONS)
    assert all(f"[{name}" in tables for name in TABLES)


def test_repr_masks_secrets() -> None:
    settings = Settings(
        upstream_api_key=SECRET,
        upstream_proxy=f"http://user:{SECRET}@proxy:1",
        keys=(ClientKey("a", DIGEST),),
        store=StoreSettings(url=f"postgresql://me:{SECRET}@db:1/x"),
        plugins={"acme": Acme(api_token=SECRET)},
        limits=LimitSettings(per_key="1/day", storage=f"valkey://:{SECRET}@x:1"),
    )
    shown = repr(settings) + str(settings) + repr(settings.__rich_repr__()) + f"{settings}"
    assert SECRET not in shown
    assert DIGEST not in shown
    assert "@proxy:1" in shown
    assert "per_key='1/day', storage='valkey://********@x:1'" in shown
    assert "@db:1/x" in shown


def test_masked_hides_by_name() -> None:
    assert masked("api_token", SECRET) != SECRET
    assert masked("preset", "x") == "x"
    assert masked("per_key", "x") == "x"
    assert masked("super_key", "x") != "x"
    assert masked("api_key", None) is None


def test_settings_travel_to_another_process() -> None:
    settings = Settings(upstream_api_key=SECRET, floor=Policy({"pii": Rule()}), plugins={"acme": Acme()})
    assert pickle.loads(pickle.dumps(settings)) == settings
