"""The commands that look after the store."""

import asyncio

import rich_click as click

from guardproxy.errors import ConfigError, StoreUnavailable
from guardproxy.settings import Settings, StoreSettings
from guardproxy.store import Pruned, Store
from guardproxy.store.engines import file_of, shown


def prune(settings: Settings) -> int:
    """Remove what is too old, and print how much and from where; the exit code.

    Raises:
        ConfigError: there is no store, or it cannot be used.
    """
    if (kept := settings.kept()) is None:
        raise ConfigError(
            "There is no [store] in the settings, and no front door keeps anything: nothing to remove. Where "
            "guardproxy is served with --profile, give it here, too."
        )
    file = file_of(kept.url)
    if file is not None and not file.exists():  # a new one would be made, and be empty
        raise ConfigError(
            f"The store's file {file} is not there: nothing to remove. A relative path begins at the current "
            "folder, not at that of the configuration file."
        )
    try:
        pruned = asyncio.run(_pruned(kept))
    except StoreUnavailable as error:
        click.echo(f"guardproxy: {error.message}", err=True)
        return 2
    removed = f"{pruned.responses} responses, {pruned.turns} turns of conversations"
    click.echo(f"removed: {removed}, from {shown(kept.url)}")
    return 0


async def _pruned(settings: StoreSettings) -> Pruned:
    store = Store(settings)
    try:
        await store.start()
        return await store.prune()
    finally:
        await store.aclose()
