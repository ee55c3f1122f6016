"""The commands that look after the store."""

import asyncio

import rich_click as click

from guardproxy.errors import ConfigError, StoreUnavailable
from guardproxy.settings import Settings, StoreSettings
from guardproxy.store import Pruned, Store


def prune(settings: Settings) -> int:
    """Remove what is too old and print how much; the exit code.

    Raises:
        ConfigError: there is no store, or it cannot be used.
    """
    if (kept := settings.kept()) is None:
        raise ConfigError(
            "There is no [store] in the settings, and no front door keeps anything: nothing to remove."
        )
    try:
        pruned = asyncio.run(_pruned(kept))
    except StoreUnavailable as error:
        click.echo(f"guardproxy: {error.message}", err=True)
        return 2
    click.echo(f"removed: {pruned.responses} responses, {pruned.turns} turns of conversations")
    return 0


async def _pruned(settings: StoreSettings) -> Pruned:
    store = Store(settings)
    try:
        await store.start()
        return await store.prune()
    finally:
        await store.aclose()
