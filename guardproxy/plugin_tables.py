"""The tables of plugins and guards, checked against what each of them declares."""

import datetime
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from guardproxy.allow import AllowList
from guardproxy.entries import ordinal
from guardproxy.errors import ConfigError
from guardproxy.settings import HIDDEN
from guardproxy.tables import Tables, check_names, found_word, nearest, one_of

_DATES = (datetime.datetime, datetime.date, datetime.time)  # TOML has them
_KINDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_LIMITS = {" <= ": " of at most ", " >= ": " of at least ", " < ": " less than ", " > ": " greater than "}


def plugins(
    tables: Tables, document: Mapping[str, Any], structs: Mapping[str, type[msgspec.Struct]]
) -> dict[str, msgspec.Struct]:
    """The plugins' own settings, by plugin."""
    guards = tables.table(document.get("guards", {}), "guards")
    plugins = tables.table(document.get("plugins", {}), "plugins")
    # Whether a guard is there that has nothing but an allow-list is known when the guards are.
    for name, table in guards.items():
        if name not in structs and not _only_allows(table):
            raise ConfigError(
                f"{tables.where}: [guards.{name[:64]}] may have 'allow' alone: no guard of this name has "
                f"settings.{nearest(name, structs)}"
            )
    check_names(f"{tables.where}: [plugins]", plugins, structs)
    for name in guards:
        if name in plugins:
            raise ConfigError(
                f"{tables.where}: [guards.{name}] and [plugins.{name}] are the same table. Keep one."
            )
    made = {}
    for name, struct in structs.items():
        heading = f"guards.{name}" if name in guards else f"plugins.{name}"
        table = tables.table(guards.get(name, plugins.get(name, {})), heading)
        if name in guards:
            table = {key: value for key, value in table.items() if key != "allow"}
        _check_nested(tables, table, struct, heading)
        made[name] = _convert(tables, table, struct, heading)
    return made


def _only_allows(table: object) -> bool:
    return isinstance(table, dict) and table.keys() == {"allow"}


def allow(tables: Tables, found: object) -> dict[str, AllowList]:
    """The allow-lists of the guards, by guard."""
    made = {}
    for guard, given in tables.table(found, "guards").items():
        values = tables.table(given, f"guards.{guard}").get("allow", [])
        name = f"{tables.where}: guards.{guard}.allow"
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ConfigError(f"{name} must be a list of strings: values, domains, and 're:' patterns.")
        try:
            allow = AllowList(values)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None
        if values:
            made[guard] = allow
    return made


def _convert(
    tables: Tables, table: Mapping[str, object], struct: type[msgspec.Struct], name: str
) -> msgspec.Struct:
    try:
        return msgspec.convert(table, struct, strict=True, builtin_types=_DATES)
    except (msgspec.ValidationError, TypeError) as error:
        message = str(error)
    # A message may quote a word that was found; one that came from the environment is hidden.
    values = {n: v for n, v in _strings(table, name) if n in tables.references and v}
    for value in values.values():
        message = message.replace(value, HIDDEN)
    raise ConfigError(f"{_where(tables, name)}: {_plain(message, struct)}.")


def _where(tables: Tables, name: str) -> str:
    return f"{tables.where}: [{name}]" if name else tables.where


def _check_nested(tables: Tables, value: object, kind: object, name: str) -> None:
    """Refuse unknown keys, which msgspec lets pass by default, and check the tables of a list one by one.

    An entry of a list has no `name`.
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, Mapping):
        fields = {known.encode_name: known.type for known in msgspec.structs.fields(kind)}
        check_names(_where(tables, name), value, fields)
        for key, inner in value.items():
            _check_nested(tables, inner, fields[key], _under(name, key))
        if not name:
            _convert(tables, value, kind, name)
        return
    kinds = [inner for inner in typing.get_args(kind) if inner is not type(None)]
    if isinstance(value, list):
        for index, item in enumerate(value):
            is_entry = isinstance(item, Mapping)
            of_item = tables.inside(name, index, item) if is_entry else tables
            for inner in kinds:
                _check_nested(of_item, item, inner, "" if is_entry else _under(name, str(index)))
    elif isinstance(value, Mapping) and typing.get_origin(kind) is dict and len(kinds) == 2:
        for key, item in value.items():
            _check_nested(tables, item, kinds[1], _under(name, key))
    elif len(kinds) == 1:  # Optional, Annotated; a union of tables is left to msgspec and its tags
        _check_nested(tables, value, kinds[0], name)


def _plain(message: str, struct: type[msgspec.Struct]) -> str:
    """A `message` of msgspec in the words of the other errors, where it is one of the common ones."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        return f"lacks {missing[1]!r}"
    found = re.fullmatch(r"(.*) - at `\$\.(.*)`", message, re.DOTALL)
    if found is None:
        return message
    problem, key = found[1], found[2]
    words = _choices(struct, re.findall(r"[A-Za-z_]\w*|\[", key))
    key = re.sub(r"([\w.]+)\[([0-9]+)\](\.?)", _counted, key)
    if words:
        word = re.fullmatch(r"Invalid enum value '(.*)'", problem, re.DOTALL)
        return f"{key} must be {one_of(words)}{found_word(word and word[1])}"
    if limit := re.fullmatch(r"Expected `(str|array)` of length ([<>]=) (\d+)", problem):
        unit = "characters" if limit[1] == "str" else "entries"
        return f"{key} must have {'at most' if limit[2] == '<=' else 'at least'} {limit[3]} {unit}"
    if form := re.fullmatch(r"Expected `str` matching regex '(.*)'", problem, re.DOTALL):
        return f"{key} must match {form[1]}"
    if (expected := re.fullmatch(r"Expected `([\w |]+)`(?:, got `(\w+)`|( [<>]=? )(\S+))", problem)) is None:
        return f"{key}: {problem}"
    right = " or ".join(_KINDS.get(kind, kind) for kind in expected[1].split(" | ") if kind != "null")
    if expected[2]:
        return f"{key} must be {right}, not {_KINDS.get(expected[2], expected[2])}"
    return f"{key} must be {right}{_LIMITS[expected[3]]}{expected[4]}"


def _counted(listed: re.Match[str]) -> str:
    """`words[1]`, where msgspec counts from 0, as it is told."""
    return f"the {ordinal(int(listed[2]))} of {listed[1]}" + (": " if listed[3] else "")


def _choices(kind: object, steps: Iterable[str]) -> tuple[str, ...]:
    """The words that may stand at a place in a value of `kind`, if it has such; `[` leads into a list."""
    for step in steps:
        kind = _given(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = {known.encode_name: known.type for known in msgspec.structs.fields(kind)}.get(step)
        elif step == "[":
            kind = next(iter(typing.get_args(kind)), None)
        else:
            return ()
    kind = _given(kind)
    return tuple(map(str, typing.get_args(kind))) if typing.get_origin(kind) is typing.Literal else ()


def _given(kind: object) -> object:
    """The kind of what is optional."""
    kinds = [inner for inner in typing.get_args(kind) if inner is not type(None)]
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return kinds[0] if is_union and len(kinds) == 1 else kind


def _strings(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, _under(name, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, _under(name, str(index)))
    elif isinstance(value, str):
        yield name, value


def _under(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
