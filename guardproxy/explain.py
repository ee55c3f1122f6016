"""`guardproxy explain`: the policy that a request would get, and who asked for each part of it."""

import re
from collections.abc import Iterable, Iterator, Mapping

import pluggy
from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from guardproxy import plugins, policy
from guardproxy.errors import ConfigError
from guardproxy.headers import lower_headers
from guardproxy.hooks import Hooks
from guardproxy.messages import report_form
from guardproxy.policy import Resolved
from guardproxy.profiles import Form, Profile
from guardproxy.settings import UNSCANNABLE_REASONS, ClientKey, Settings
from guardproxy.types import Policy, Rule, Stage

# RFC 9110, 5.1 and 5.5: what an HTTP server lets through as a name and as a value.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def explain(
    manager: pluggy.PluginManager, settings: Settings, key: str | None, headers: Iterable[str]
) -> Group:
    """What a request with these headers (`Name: value`) and the client key of that name would meet.

    The functions are the pipeline's own, in its order; plugins are asked without `guardproxy_startup`.

    Raises:
        ConfigError: a header that is none, or a key that is not in the settings.
        GuardProxyError: the error that the request would get.
    """
    given = lower_headers([_pair(line) for line in headers])
    guards = plugins.collect_guards(manager, settings)
    owner = _key(settings, key)
    resolved = policy.resolve(settings.floor, owner, given, Hooks(manager, settings).resolve_policy, guards)
    asked = report_form(given)
    lines: list[Text | Tree] = [_stage(resolved, stage) for stage in Stage]
    lines += [_unscannable(settings, resolved.policy), Text(f"report: {_report(asked, settings.doors())}")]
    if settings.keys and owner is None:
        lines.append(Text(f"key: none is given; requests here have one, see --key ({_names(settings)})"))
    return Group(*lines)


def _pair(line: str) -> tuple[bytes, bytes]:
    name, colon, text = line.partition(":")
    value = text.encode("utf-8", "surrogateescape").strip(b" \t")
    if not colon or not _TOKEN.fullmatch(name):
        raise ConfigError("--header must be 'Name: value', with a name that HTTP allows.")
    if not _VALUE.fullmatch(value):
        raise ConfigError(f"--header: the value of {name[:64]} has a control character; HTTP refuses it.")
    return name.encode(), value


def _key(settings: Settings, name: str | None) -> ClientKey | None:
    found = next((key for key in settings.keys if key.name == name), None)
    if name is not None and found is None:
        raise ConfigError(f"--key: there is no [[keys]] of that name. Known: {_names(settings)}.")
    return found


def _names(settings: Settings) -> str:
    return ", ".join(key.name for key in settings.keys) or "none"


def _stage(resolved: Resolved, stage: Stage) -> Tree:
    tree = Tree(Text(stage.value, "bold"))
    for guard, rule in resolved.policy.stage(stage).items():
        branch = tree.add(Text.assemble((guard, "bold"), f": {_rule(rule)}"))
        for origin, part, counts in resolved.origins(stage, guard):
            branch.add(
                Text(f"{_origin(origin, stage)}: {_rule(part)}{'' if counts else ' (weaker: no effect)'}")
            )
    if not tree.children:
        tree.add(Text("no guard runs"))
    return tree


def _origin(origin: str, stage: Stage) -> str:
    if origin == "header":
        return f"header {policy.SPELLED[policy.STAGE_HEADERS[stage]]}"
    return f"floor [policy.{stage}]" if origin == "floor" else origin


def _rule(rule: Rule) -> str:
    return f"{rule.action.word}, {'shadow' if rule.shadow else 'enforced'}, on_error = {rule.on_error}"


def _unscannable(settings: Settings, whole: Policy) -> Tree:
    """What `[unscannable]` says, reasons of one word together."""
    tree = Tree(Text("unscannable", "bold"))
    said: dict[tuple[str, str], list[str]] = {}
    for reason in UNSCANNABLE_REASONS:
        word = settings.unscannable.get(reason)
        default = "block" if reason == "too_large" else "pass"
        said.setdefault((word or default, "default" if word is None else "file"), []).append(reason)
    for (word, origin), reasons in sorted(said.items()):
        tree.add(Text(f"{word}, {origin}: {', '.join(reasons)}"))
        if word == "block":
            tree.children[-1].add(Text("; ".join(_blocks(whole))))
    return tree


def _blocks(whole: Policy) -> Iterator[str]:
    for stage in Stage:
        held = whole.holds(stage)
        yield f"{stage}: blocks" if held else f"{stage}: does not, since no guard blocks or redacts there"


def _report(asked: Form | None, doors: Mapping[str, Profile]) -> str:
    if asked is not None:
        return f"{asked}, header {policy.SPELLED[policy.REPORT_HEADER]}"
    return "; ".join(f"{profile.form} at {path}" for path, profile in doors.items())
