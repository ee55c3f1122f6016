"""The command line: serve, demo, scan, eval, explain, plugins, config, keys, store, completion.

Exit codes: 0 ok, 1 a finding or a failed check, 2 usage or configuration.
"""

import contextlib
import hashlib
import importlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pluggy
import rich_click as click
import structlog
from click.shell_completion import get_completion_class
from rich.console import Console

from guardproxy import evaluation, logs, plugins, scan, serve
from guardproxy.config import Loaded, load_with_origins
from guardproxy.doubts import doubts
from guardproxy.errors import ConfigError, GuardProxyError
from guardproxy.explain import explain
from guardproxy.offline import chosen
from guardproxy.settings import SETTINGS, Setting
from guardproxy.show import shown
from guardproxy.types import Detector, Guard, Stage
from guardproxy.values import LABEL, RIGHT_LABEL

_log = structlog.stdlib.get_logger("guardproxy")

DEFAULT_FILE = Path("guardproxy.toml")
SHELLS = ("bash", "zsh", "fish")
KEY_PREFIX = "gp_"  # by which people and scanners tell a key of ours


class _Group(click.RichGroup):
    """A group that turns a ConfigError into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(f"guardproxy: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="guardproxy")
def cli() -> None:
    """A guardrail and tracing proxy between an application and its Responses provider."""


def main() -> None:
    """Run the command line; the entry point `guardproxy`."""
    cli(prog_name="guardproxy")


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each scalar, and `--config`."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return _config_option(command)


def _option(setting: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        setting.flag,
        setting.name,
        type=click.Choice(setting.scalar.words) if setting.scalar.words else str,
        metavar=_metavar(setting),
        help=f"{_help(setting)} [{setting.environment}; default: {_default(setting)}]",
    )


def _metavar(setting: Setting) -> str:
    if setting.scalar.words:
        return "WORD"  # click would list them, in a column that leaves the help too little of 80
    kinds = {str: "TEXT", int: "INTEGER", float: "NUMBER"}
    return setting.scalar.unit.upper() or kinds[setting.kind]


def _help(setting: Setting) -> str:
    words = setting.scalar.words
    return f"{setting.scalar.help} One of {', '.join(words)}." if words else setting.scalar.help


def _default(setting: Setting) -> str:
    return "none" if setting.default is None else str(setting.default)


_config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help=f"The TOML file. [default: {DEFAULT_FILE}, when the current folder has it]",
)


def _load(file: Path | None, flags: Mapping[str, object]) -> tuple[pluggy.PluginManager, Loaded]:
    """Settings, checked against plugins and guards."""
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    manager = plugins.load_plugins()
    loaded = load_with_origins(file, os.environ, flags, plugins.settings_types(manager))
    guards = plugins.collect_guards(manager, loaded.settings)
    plugins.check_policies(loaded.settings, guards)
    plugins.collect_routes(manager, loaded.settings)
    return manager, loaded


@cli.command("serve")
@_settings_options
@click.pass_context
def serve_command(ctx: click.RichContext, /, file: Path | None, **flags: str | None) -> None:
    """Serve until SIGTERM. Flags win over the environment, that over the file, that over defaults."""
    manager, loaded = _load(file, flags)
    logs.configure(loaded.settings)
    logs.hook_uncaught()
    guards = list(plugins.collect_guards(manager, loaded.settings))
    _log.info("loading", guards=guards, upstream=loaded.settings.shown_upstreams())
    for doubt in doubts(loaded.settings):
        _log.warning("doubtful", problem=doubt)
    ctx.exit(serve.run(loaded.settings))


@cli.command()
@click.option(
    "--upstream",
    metavar="URL",
    help="Talk to this upstream; it is sent OPENAI_API_KEY. [default: a fake one, made by the demo]",
)
@click.option("--serve", "stay", is_flag=True, help="Go on serving when the demo is over.")
@click.pass_context
def demo(ctx: click.RichContext, /, upstream: str | None, stay: bool) -> None:
    """Show what guardproxy does, exchange by exchange."""
    ctx.exit(importlib.import_module("guardproxy.demo").run_demo(upstream, stay))


_guard_option = click.option(
    "--guard",
    "words",
    multiple=True,
    metavar="NAME,...",
    help="The guards that look; repeatable. [default: all that serve the input]",
)


@cli.command("scan")
@click.argument("files", nargs=-1, required=True, metavar="FILE... | -")
@_guard_option
@click.option("--format", "form", type=click.Choice(scan.FORMS), default="human", show_default=True)
@_config_option
@click.pass_context
def scan_command(
    ctx: click.RichContext, /, files: tuple[str, ...], words: tuple[str, ...], form: str, file: Path | None
) -> None:
    """Have the guards look at files: text, .json, .jsonl. No model is called, and no match is printed.

    Exit code 0: clean; 1: something was found; 2: something could not be inspected.
    """
    manager, loaded = _load(file, {})
    logs.configure(loaded.settings)
    guards = chosen(plugins.collect_guards(manager, loaded.settings), words)
    ctx.exit(_finished(lambda: scan.run(manager, loaded.settings, guards, files, form)))


@cli.command("eval")
@click.argument("gold", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="GOLD.jsonl")
@_guard_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="TYPE=TYPE",
    help="Call a type of the labels or of a guard by another name; repeatable. '*=TYPE': all others.",
)
@click.option("--format", "form", type=click.Choice(evaluation.FORMS), default="human", show_default=True)
@_config_option
@click.pass_context
def eval_command(
    ctx: click.RichContext,
    /,
    gold: Path,
    words: tuple[str, ...],
    maps: tuple[str, ...],
    form: str,
    file: Path | None,
) -> None:
    """Score guards on labelled texts: recall, precision, leaks, false positives, latency."""
    manager, loaded = _load(file, {})
    logs.configure(loaded.settings)
    guards = chosen(plugins.collect_guards(manager, loaded.settings), words)
    names = evaluation.parse_names(maps)
    ctx.exit(_finished(lambda: evaluation.run(manager, loaded.settings, guards, gold, form, names)))


def _finished(work: Callable[[], int]) -> int:
    """The exit code of `work`; one that breaks off has none of those that mean something."""
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read has enough (`| head`). What is still in the buffer has to go somewhere at the exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ConfigError:
        raise
    except Exception as error:
        logs.failure("command failed", error)
        return 2


@cli.command("explain")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request; repeatable."
)
@click.option("--key", metavar="NAME", help="The name of the client's entry in [[keys]].")
@_config_option
@click.pass_context
def explain_command(
    ctx: click.RichContext, /, headers: tuple[str, ...], key: str | None, file: Path | None
) -> None:
    """Show the policy that a request gets, and who asked for what. A refused request is exit code 2."""
    manager, loaded = _load(file, {})
    logs.configure(loaded.settings)  # a plugin that fails is logged
    try:
        found = explain(manager, loaded.settings, key, headers)
    except GuardProxyError as error:
        click.echo(f"guardproxy: refused: {error.status} {error.error_code}: {error.message}", err=True)
        ctx.exit(2)
    # In a pipe each fact keeps to its line.
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(found)


@cli.command("plugins")
@_config_option
def plugins_command(file: Path | None) -> None:
    """List plugins with their distributions, hooks, guards and detectors."""
    manager, loaded = _load(file, {})
    distributions = plugins.distributions()
    guards = plugins.guards_by_plugin(manager, loaded.settings)
    for name, _ in plugins.by_name(manager):
        click.echo(f"{name} ({distributions.get(name, 'no distribution')})")
        click.echo(f"  hooks: {', '.join(plugins.hooks_of(manager, name)) or 'none'}")
        for line in (line for owner, guard in guards if owner == name for line in _guard_lines(guard)):
            click.echo(f"  {line}")


def _guard_lines(guard: Guard) -> Iterator[str]:
    stages = ", ".join(stage for stage in Stage if stage in guard.stages)
    yield f"guard {guard.name}: {stages}" + (f" - {guard.summary}" if guard.summary else "")
    for detector in guard.detectors:
        yield f"  detector {detector.name or type(detector).__name__}: {_kind(detector)}"


def _kind(detector: Detector) -> str:
    kind = "blockwise" if detector.reach is None else f"local, reach {detector.reach}"
    return kind + (f", inline below {detector.inline_below}" if detector.inline_below else "")


@cli.group("config")
def config_group() -> None:
    """Look at the settings."""


@config_group.command()
@_settings_options
def show(file: Path | None, **flags: str | None) -> None:
    """Print every setting and where it comes from; secrets are masked."""
    _, loaded = _load(file, flags)
    for line in shown(loaded):
        click.echo(line)


@config_group.command()
@_settings_options
def check(file: Path | None, **flags: str | None) -> None:
    """Say ok, or exit with 2 and what is wrong, in what plugins read too; warn of what is doubtful."""
    manager, loaded = _load(file, flags)
    found = [f"The plugin {name!r}: {doubt}" for name, doubt in plugins.check(manager, loaded.settings)]
    for doubt in (*doubts(loaded.settings), *found):
        click.echo(f"guardproxy: warning: {doubt}", err=True)
    click.echo("ok")


@cli.group("keys")
def keys_group() -> None:
    """Make the keys that clients use."""


@keys_group.command("add")
@click.argument("name")
def add_key(name: str) -> None:
    """Make a key for the client NAME, and print the lines to add to the file.

    The key itself goes to standard error, this once: guardproxy only knows its SHA-256.
    """
    if not LABEL.fullmatch(name):
        raise ConfigError(f"NAME must be {RIGHT_LABEL}.")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    click.echo(f"The key of {name}, shown this once:\n\n{key}\n", err=True)
    # A blank line before it: the file that it is added to may end without one.
    click.echo(f'\n[[keys]]\nname = "{name}"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"')


@cli.group("store")
def store_group() -> None:
    """Look after the stored responses and conversations."""


@store_group.command()
@_option(next(setting for setting in SETTINGS if setting.name == "profile"))
@_config_option
@click.pass_context
def prune(ctx: click.RichContext, /, file: Path | None, profile: str | None) -> None:
    """Remove what is older than the store's `retention`, and say how much that was, and where."""
    _, loaded = _load(file, {"profile": profile})
    logs.configure(loaded.settings)
    ctx.exit(_finished(lambda: importlib.import_module("guardproxy.store_cli").prune(loaded.settings)))


@cli.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"No completion for {shell}.")
    click.echo(found(cli, {}, "guardproxy", "_GUARDPROXY_COMPLETE").source())
