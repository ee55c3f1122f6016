"""`guardproxy config show`: every setting as TOML with its origin, and no secret."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from guardproxy.allow import AllowList
from guardproxy.config import Loaded
from guardproxy.prices import plain
from guardproxy.settings import SETTINGS, Settings, masked
from guardproxy.types import OnError, Policy, Rule, Stage


def shown(loaded: Loaded) -> Iterator[str]:
    """The settings as TOML, with origins as comments."""
    settings, origins, references = loaded.settings, loaded.origins, loaded.references
    for setting in SETTINGS:
        if settings.upstreams and setting.name in ("upstream", "upstream_api_key"):
            yield f"# {setting.name} is not set: [[upstreams]] stand in for it"
            continue
        value = masked(setting.name, getattr(settings, setting.name))
        if origins[setting.name] == "file" and setting.name in references:
            value = references[setting.name]
        yield _member(setting.name, value) + ("" if value is None else f"  # {origins[setting.name]}")
    for stage in Stage:
        yield from ("", f"[policy.{stage}]  # {origins['policy']}")
        yield from (_member(name, _rule(rule)) for name, rule in settings.floor.stage(stage).items())
    yield from ("", f"[unscannable]  # {origins['unscannable']}")
    yield from (_member(reason, word) for reason, word in settings.unscannable.items())
    for name, struct in settings.plugins.items():
        given = next(
            (table for table in ("guards", "plugins") if origins.get(f"{table}.{name}") == "file"), None
        )
        heading = f"{given or 'plugins'}.{name}"
        yield from ("", f"[{heading}]  # {'file' if given else 'default'}")
        table = _hidden(msgspec.to_builtins(struct), heading, references)
        yield from (_member(key, value) for key, value in table.items())
        yield from _allow(settings.allow, name)
    for name in settings.allow.keys() - settings.plugins.keys():
        yield from ("", f"[guards.{name}]  # file", *_allow(settings.allow, name))
    yield from _shown_lists(loaded)


def _shown_lists(loaded: Loaded) -> Iterator[str]:
    settings, origins, references = loaded.settings, loaded.origins, loaded.references
    for index, key in enumerate(settings.keys):
        yield from ("", f"[[keys]]  # {origins['keys']}")
        found = {"name": key.name, "sha256": key.sha256, "allowed_models": key.allowed_models}
        table = _hidden({**found, "limits": key.limits}, f"keys.{index}", references)
        for name, value in {**table, "policy": _policy(key.policy)}.items():
            yield _member(name, value, ": all" if name == "allowed_models" else "")
    yield from ("", f"[limits]  # {origins['limits']}")
    for name, value in _hidden(msgspec.to_builtins(settings.limits), "limits", references).items():
        yield _member(name, value, _of_doors(settings, name))
    for path, profile in settings.front_doors.items():
        yield from ("", f"[[front_doors]]  # {origins['front_doors']}")
        yield from (_member("path", path), _member("profile", profile))
    for model, price in settings.prices.items():
        yield from ("", f"[prices.{json.dumps(model)}]  # {origins['prices']}")
        yield from (_member(name, getattr(price, name)) for name in price.__struct_fields__)
    if (kept := settings.kept()) is not None:
        yield from ("", f"[store]  # {origins['store']}")
        table = _hidden(msgspec.to_builtins(kept), "store", references)
        yield from (_member(name, value) for name, value in table.items())
    for index, upstream in enumerate(settings.upstreams):
        yield from ("", f"[[upstreams]]  # {origins['upstreams']}")
        found = {**msgspec.to_builtins(upstream), "models": upstream.models or None}
        table = _hidden(found, f"upstreams.{index}", references)
        yield from (_member(name, value) for name, value in table.items())


def _member(name: str, value: Any, instead: str = "") -> str:
    return f"# {name} is not set{instead}" if value is None else f"{name} = {_toml(value)}"


def _of_doors(settings: Settings, name: str) -> str:
    """The limits of this name that front doors have where the deployment sets none."""
    rates = {path: getattr(profile, name, None) for path, profile in settings.doors().items()}
    own = [f"{rate} at {path}" for path, rate in rates.items() if rate is not None]
    return f": {', '.join(own)}" if own else ""


def _allow(allow: Mapping[str, AllowList], guard: str) -> Iterator[str]:
    """How long the list is: its values may be what nobody else is to see."""
    if guard in allow:
        yield f"# allow has {len(allow[guard].entries)} entries"


def _policy(policy: Policy) -> dict[str, Any]:
    return {stage: {n: _rule(rule) for n, rule in policy.stage(stage).items()} for stage in Stage}


def _rule(rule: Rule) -> dict[str, str]:
    shown = {"action": rule.action.word}
    if rule.shadow:
        shown["mode"] = "shadow"
    if rule.on_error is not OnError.FAIL:
        shown["on_error"] = str(rule.on_error)
    return shown


def _hidden(value: Any, name: str, references: Mapping[str, str]) -> Any:
    """A table's values with secrets masked by name, and references in the place of what they stand for."""
    if name in references:
        return references[name]
    if isinstance(value, Mapping):
        return {key: _hidden(inner, f"{name}.{key}", references) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, f"{name}.{index}", references) for index, inner in enumerate(value)]
    return masked(name.split(".", 2)[-1], value)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        members = [f"{_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None]  # TOML has no null
        return f"{{ {', '.join(members)} }}" if members else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return plain(value) if isinstance(value, Decimal) else str(value)


def _key(name: object) -> str:
    text = str(name)
    return text if text.replace("-", "").replace("_", "").isalnum() and text.isascii() else json.dumps(text)
