"""Guards at work without a proxy: what the commands that scan texts of one's own share."""

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pluggy
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from guardproxy.errors import ConfigError
from guardproxy.hooks import Hooks
from guardproxy.plugins import bringing
from guardproxy.scanning import Scanner
from guardproxy.settings import Settings
from guardproxy.stage import StageRun
from guardproxy.types import Action, Guard, Rule, Stage


class Offline:
    """Some guards, loaded."""

    def __init__(self, guards: Iterable[str], scanner: Scanner, placeholder: str) -> None:
        self.guards = tuple(guards)
        self._scanner = scanner
        self._placeholder = placeholder

    def run(self) -> StageRun:
        """The guards over one document, as at the input of an exchange; a guard that fails always raises.

        There is no traffic that waits, so no text is too large.
        """
        rules = {name: Rule(Action.REDACT) for name in self.guards}
        return StageRun(
            Stage.INPUT,
            rules,
            self._scanner,
            self._placeholder,
            lambda _: nullcontext(),
            most_new=sys.maxsize,
        )


@asynccontextmanager
async def offline(
    manager: pluggy.PluginManager, settings: Settings, guards: Mapping[str, Guard]
) -> AsyncIterator[Offline]:
    """Load `guards` as a proxy does, and end them. Only plugins that bring guards are started.

    Raises:
        ConfigError: a plugin or a detector does not start.
    """
    hooks = Hooks(bringing(manager), settings)
    scanner = Scanner(guards, settings)
    try:
        hooks.startup()
        await scanner.start()
        yield Offline(guards, scanner, settings.placeholder)
    finally:
        await scanner.stop()
        hooks.shutdown()


def chosen(guards: Mapping[str, Guard], words: Iterable[str]) -> dict[str, Guard]:
    """The guards that `--guard` names, in lists or one by one, and those that they bring along.

    Without any, all that serve the input.

    Raises:
        ConfigError: one that does not exist, or does not serve the input.
    """
    serving = {name: guard for name, guard in guards.items() if Stage.INPUT in guard.stages}
    names = [name for word in words for piece in word.split(",") if (name := piece.strip().lower())]
    for name in names:
        if name not in serving:
            raise ConfigError(
                f"--guard: no guard {name!r}. Guards for input: {', '.join(serving) or 'none'}."
            )
    names += [other for name in names for other in serving[name].companions]
    if not serving:
        raise ConfigError("No guard is installed that serves the input; `guardproxy plugins` lists what is.")
    return {name: serving[name] for name in names} or serving


@contextmanager
def bar(what: str, total: int | None, least: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, to be advanced by bytes: on standard error, where somebody looks at it.

    None is shown for less than `least` bytes; a `total` of None may be any number.
    """
    if not sys.stderr.isatty() or (total is not None and total < least):
        yield lambda count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
