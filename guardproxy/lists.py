"""The lists of tables of the configuration file: `[[keys]]`, `[[upstreams]]`, `[[front_doors]]`."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.errors import ConfigError
from guardproxy.headers import can_be_set
from guardproxy.profiles import PROFILES
from guardproxy.settings import ClientKey, UpstreamSettings
from guardproxy.tables import Tables, check_names
from guardproxy.values import LABEL, RIGHT_KEY, RIGHT_LABEL, RIGHT_UPSTREAM, is_key, is_upstream

_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_DOOR = re.compile(r"(?:/[a-z0-9_-][a-z0-9._-]{0,63}){1,8}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OF_NOTHING = hashlib.sha256(b"").hexdigest()

_Entries = list[tuple[Tables, dict[str, Any]]]


def keys(tables: Tables, found: object) -> tuple[ClientKey, ...]:
    """The client keys."""
    if found == []:
        raise ConfigError(
            f"{tables.where}: keys is empty, and would let clients in without a key of yours. "
            "Add a [[keys]], or remove it."
        )
    entries = _entries(tables, found, "keys", ClientKey.__struct_fields__)
    made = tuple(_key(inside, table) for inside, table in entries)
    _refuse_twins(entries, "name", [key.name for key in made])
    _refuse_twins(entries, "sha256", [key.sha256 for key in made])
    return made


def _key(inside: Tables, table: dict[str, Any]) -> ClientKey:
    name = inside.text(table.get("name"), "name", LABEL.fullmatch, RIGHT_LABEL)
    digest = inside.text(
        table.get("sha256"), "sha256", _DIGEST.fullmatch, "the key's SHA-256, 64 hexadecimal digits"
    ).lower()
    if digest == _OF_NOTHING:
        raise ConfigError(
            f"{inside.where}: sha256 is that of no text at all: the key was empty when it was hashed, and "
            "any client without one would be let in."
        )
    models = table.get("allowed_models")
    if models is not None and not _are_names(models):
        raise ConfigError(
            f"{inside.where}: allowed_models must be a list of one or more models' names; without it the key "
            "may ask for all."
        )
    if any(sign in model for model in models or () for sign in "*?"):
        raise ConfigError(f"{inside.where}: allowed_models must be whole names of models; no patterns here.")
    return ClientKey(
        name=name,
        sha256=digest,
        policy=inside.policy(table.get("policy", {})),
        allowed_models=None if models is None else tuple(models),
        limits=inside.rates(table.get("limits"), "limits"),
    )


def upstreams(tables: Tables, found: object, times: Mapping[str, float]) -> tuple[UpstreamSettings, ...]:
    """The upstreams; `times` are the time-outs of those that have none of their own."""
    entries = _entries(tables, found, "upstreams", UpstreamSettings.__struct_fields__)
    made = tuple(_upstream(inside, table, times) for inside, table in entries)
    _refuse_twins(entries, "name", [upstream.name for upstream in made])
    defaults = [inside for (inside, _), upstream in zip(entries, made, strict=True) if upstream.default]
    if len(defaults) > 1:
        raise ConfigError(f"{defaults[1].where}: one before it is the default, too. Keep one.")
    return made


def _upstream(inside: Tables, table: dict[str, Any], times: Mapping[str, float]) -> UpstreamSettings:
    name = inside.text(table.get("name"), "name", LABEL.fullmatch, RIGHT_LABEL)
    url = inside.text(table.get("url"), "url", is_upstream, RIGHT_UPSTREAM)
    key = table.get("api_key")
    if key not in (None, ""):
        inside.text(key, "api_key", is_key, RIGHT_KEY)
    models = table.get("models", [])
    if "models" in table and not _are_names(models):
        raise ConfigError(f"{inside.where}: models must be a list of patterns, such as 'gpt-*'.")
    if not isinstance(table.get("default", False), bool):
        raise ConfigError(f"{inside.where}: default must be true or false.")
    return UpstreamSettings(
        name=name,
        url=url.rstrip("/"),
        api_key=key,
        headers=_headers(inside, table.get("headers", {})),
        models=tuple(models),
        default=table.get("default", False),
        **{time: inside.seconds(table.get(time, value), time) for time, value in times.items()},
    )


def _headers(inside: Tables, found: object) -> dict[str, str]:
    table = inside.table(found, "headers")
    for header, value in table.items():
        if not _HEADER.fullmatch(header) or not can_be_set(header):
            raise ConfigError(
                f"{inside.where}: headers: {header[:64]!r} cannot be set: it is no header's name, or one "
                "that guardproxy writes itself or never sends. 'api_key' becomes authorization."
            )
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
            raise ConfigError(f"{inside.where}: headers.{header} must be printable ASCII.")
    if len({header.lower() for header in table}) < len(table):
        raise ConfigError(f"{inside.where}: headers: two are the same but for their capitals. Keep one.")
    return {header.lower(): value for header, value in table.items()}


def front_doors(tables: Tables, found: object) -> dict[str, str]:
    """The profile of each door that is set, by its path."""
    entries = _entries(tables, found, "front_doors", ("path", "profile"))
    right = (
        "a path such as /v1/responses: names of a-z, 0-9, '.', _ and -, a slash before each and none at the "
        "end"
    )
    paths = [inside.text(table.get("path"), "path", _DOOR.fullmatch, right) for inside, table in entries]
    _refuse_twins(entries, "path", paths)
    profiles = [inside.word(table.get("profile"), "profile", PROFILES) for inside, table in entries]
    return dict(zip(paths, profiles, strict=True))


def _entries(tables: Tables, found: object, heading: str, known: Sequence[str]) -> _Entries:
    """The tables of a list, each with what checks it."""
    if not isinstance(found, list) or not found or not all(isinstance(table, dict) for table in found):
        raise ConfigError(f"{tables.where}: {heading} must be tables, each headed [[{heading}]].")
    entries = [(tables.inside(heading, index, table), table) for index, table in enumerate(found)]
    for inside, table in entries:
        check_names(inside.where, table, known)
    return entries


def _refuse_twins(entries: _Entries, key: str, values: Sequence[str]) -> None:
    for index, (inside, _) in enumerate(entries):
        if values[index] in values[:index]:
            raise ConfigError(f"{inside.where}: one before it has the same {key}.")


def _are_names(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(n, str) and n for n in found)
