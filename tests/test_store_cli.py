"""The commands of the store: what they remove, say and exit with."""

import asyncio
import time
from pathlib import Path

import pytest

from guardproxy.errors import StoreUnavailable
from guardproxy.settings import StoreSettings
from guardproxy.store import Pruned, Store
from tests.harness import logging_restored
from tests.test_cli import run


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a store of one day, in which there is something old and something new."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "guardproxy.toml"
    file.write_text("[store]\nretention = 86400\n")

    async def fill() -> None:
        for name, now in (("old", lambda: 1_000_000_000.0), ("new", time.time)):
            store = Store(StoreSettings(), now)
            await store.start()
            await store.save("t", name, "1", ["{}"])
            await store.append("t", "c", ["1"])
            await store.append("t", "c", ["2"])
            await store.aclose()

    asyncio.run(fill())
    return file


def test_prune_removes_what_is_too_old_and_says_how_much(config: Path) -> None:
    with logging_restored():
        first, second = run("store", "prune"), run("store", "prune", "--config", str(config))
    end = f"turns of conversations, from sqlite+aiosqlite:///{config.parent}/guardproxy.db\n"
    assert (first.exit_code, first.output) == (0, f"removed: 1 responses, 2 {end}")
    assert (second.exit_code, second.output) == (0, f"removed: 0 responses, 0 {end}")


def test_prune_makes_no_new_database(
    config: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    with logging_restored():
        found = run("store", "prune", "--config", str(config))
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == (
        f"guardproxy: The store's file {elsewhere}/guardproxy.db is not there: nothing to remove. A relative "
        "path begins at the current folder, not at that of the configuration file.\n"
    )
    assert list(elsewhere.iterdir()) == []


def test_prune_finds_the_store_of_the_profile_that_is_served(config: Path) -> None:
    config.unlink()
    with logging_restored():
        found = run("store", "prune", "--profile", "gateway")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.startswith("removed: 1 responses, ")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            "",
            "There is no [store] in the settings, and no front door keeps anything: nothing to remove. Where "
            "guardproxy is served with --profile, give it here, too.\n",
        ),
        ("[store]\nurl = 'sqlite+aiosqlite:////no/x'", "The store's file /no/x is not there: nothing to"),
        ("[store]\nurl = 'x'", "guardproxy.toml: store.url must be sqlite+aiosqlite:///FILE, or"),
    ],
)
def test_prune_without_a_store_is_exit_code_2(config: Path, toml: str, message: str) -> None:
    config.write_text(toml)
    with logging_restored():
        found = run("store", "prune")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith(f"guardproxy: {message}")


def test_a_store_that_fails_is_exit_code_2(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: Store) -> Pruned:
        raise StoreUnavailable("The store failed.")

    monkeypatch.setattr(Store, "prune", fails)
    with logging_restored():
        found = run("store", "prune")
    assert (found.exit_code, found.stdout, found.stderr) == (2, "", "guardproxy: The store failed.\n")
