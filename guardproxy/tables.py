"""The tables of the configuration file, checked and made into values.

Messages name the place and what would be right there, and never the value that was found: it may be a key.
"""

import datetime
import difflib
import hashlib
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from guardproxy.allow import AllowList
from guardproxy.errors import ConfigError
from guardproxy.headers import can_be_set
from guardproxy.prices import Price
from guardproxy.profiles import PROFILES
from guardproxy.rates import RIGHT_RATES, parse
from guardproxy.settings import (
    HIDDEN,
    SETTINGS,
    UNSCANNABLE_REASONS,
    UNSCANNABLE_WORDS,
    ClientKey,
    LimitSettings,
    StoreSettings,
    UpstreamSettings,
)
from guardproxy.types import Action, OnError, Policy, Rule
from guardproxy.values import (
    GUARD_NAME,
    LABEL,
    MEMORY,
    RIGHT_KEY,
    RIGHT_LABEL,
    RIGHT_STORAGE,
    RIGHT_STORE,
    RIGHT_UPSTREAM,
    is_key,
    is_storage,
    is_store,
    is_upstream,
)

_WORD = re.compile(r"(?=.{1,16}$)[A-Za-z]+(?:[_-][A-Za-z]+)?")
_DOOR = re.compile(r"(?:/[a-z0-9_-][a-z0-9._-]{0,63}){1,8}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OF_NOTHING = hashlib.sha256(b"").hexdigest()


def _are_names(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(n, str) and n for n in found)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like `name`, or at all."""
    near = difflib.get_close_matches(name, known := sorted(known), n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(known)}." if known else " None is known here."


def _misplaced(name: str) -> str:
    """In TOML a key belongs to the last heading above it, wherever its author meant it to be."""
    top = name in {setting.name for setting in SETTINGS}
    return " It is a top-level key: those come before the first [table] of the file." if top else ""


def check_names(
    where: str,
    table: Mapping[str, object],
    known: Iterable[str],
    plugins: Iterable[str] = (),
) -> None:
    """Refuse the names in `table` that are not `known`.

    Tables of `plugins` belong elsewhere.

    Raises:
        ConfigError: tells all of them, and the nearest known ones.
    """
    known = tuple(known)

    def problem(name: str) -> str:
        if name in plugins and isinstance(table[name], dict):
            return f"[{name}] is not known. The settings of the plugin {name!r} belong in [plugins.{name}]."
        return f"{name[:64]!r} is not known.{_misplaced(name) or nearest(name, known)}"

    if problems := [problem(name) for name in table if name not in known]:
        raise ConfigError(f"{where}: {' '.join(problems)}")


@dataclass(frozen=True, slots=True)
class Tables:
    """Checks the tables of the file, and makes values of them."""

    where: str
    references: Mapping[str, str]

    def policy(self, found: object, name: str) -> Policy:
        """The floor, or the policy of a key."""
        table = self._table(found, name)
        check_names(f"{self.where}: [{name}]", table, ("input", "output"))
        stages = {
            stage: {
                guard: self._rule(guard, entry, f"{name}.{stage}.{guard}")
                for guard, entry in self._table(table.get(stage, {}), f"{name}.{stage}").items()
            }
            for stage in ("input", "output")
        }
        return Policy(stages["input"], stages["output"])

    def _rule(self, guard: str, found: object, name: str) -> Rule:
        if not GUARD_NAME.fullmatch(guard):
            raise ConfigError(
                f"{self.where}: {name[:64]!r}: a guard's name has the characters a-z, 0-9, _ and -."
            )
        words = [action.word for action in Action]
        if not isinstance(found, dict) and found not in words and (hint := _misplaced(guard)):
            raise ConfigError(f"{self.where}: {name} is no rule of a guard.{hint}")
        table = {"action": found} if isinstance(found, str) else self._table(found, name)
        check_names(f"{self.where}: {name}", table, ("action", "mode", "on_error"))
        if "action" not in table:
            raise ConfigError(f"{self.where}: {name} lacks its action: {_words(words)}.")
        self._word(table["action"], f"{name}.action", words)
        self._word(table.get("mode", "shadow"), f"{name}.mode", ["shadow"])
        on_error = self._word(table.get("on_error", "fail"), f"{name}.on_error", [str(e) for e in OnError])
        return Rule(Action[table["action"].upper()], "mode" in table, OnError(on_error))

    def unscannable(self, found: object) -> dict[str, str]:
        """What happens to what cannot be inspected, by reason."""
        table = self._table(found, "unscannable")
        check_names(f"{self.where}: [unscannable]", table, UNSCANNABLE_REASONS)
        return {
            reason: self._word(word, f"unscannable.{reason}", UNSCANNABLE_WORDS)
            for reason, word in table.items()
        }

    def keys(self, found: object) -> tuple[ClientKey, ...]:
        """The client keys."""
        if not isinstance(found, list):
            raise ConfigError(f"{self.where}: keys must be a list of tables, each headed [[keys]].")
        if not found:
            raise ConfigError(
                f"{self.where}: keys is empty, and would let clients in without a key of yours. "
                "Add a [[keys]], or remove it."
            )
        keys = tuple(self._key(entry, f"keys.{index}") for index, entry in enumerate(found))
        for attribute in ("name", "sha256"):
            seen = set()
            for index, key in enumerate(keys):
                if getattr(key, attribute) in seen:
                    raise ConfigError(f"{self.where}: keys.{index}: another key has the same {attribute}.")
                seen.add(getattr(key, attribute))
        return keys

    def _key(self, found: object, name: str) -> ClientKey:
        table = self._table(found, name)
        check_names(f"{self.where}: {name}", table, ClientKey.__struct_fields__)
        label, digest, models = table.get("name"), table.get("sha256"), table.get("allowed_models")
        if not isinstance(label, str) or not LABEL.fullmatch(label):
            raise ConfigError(f"{self.where}: {name}.name must be {RIGHT_LABEL}.")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9A-Fa-f]{64}", digest):
            raise ConfigError(
                f"{self.where}: {name}.sha256 must be the key's SHA-256, 64 hexadecimal digits."
            )
        if digest.lower() == _OF_NOTHING:
            raise ConfigError(
                f"{self.where}: {name}.sha256 is that of no text at all: the key was empty when it was "
                "hashed, and any client without one would be let in."
            )
        if models is not None and not _are_names(models):
            raise ConfigError(
                f"{self.where}: {name}.allowed_models must be a list of one or more models' names; "
                "without it the key may ask for all."
            )
        if any(sign in model for model in models or () for sign in "*?"):
            raise ConfigError(
                f"{self.where}: {name}.allowed_models must be whole names of models; no patterns here."
            )
        policy = self.policy(table.get("policy", {}), f"{name}.policy")
        return ClientKey(
            name=label,
            sha256=digest.lower(),
            policy=policy,
            allowed_models=None if models is None else tuple(models),
            limits=self._rates(table.get("limits"), f"{name}.limits"),
        )

    def limits(self, found: object) -> LimitSettings:
        """How many requests are let in, and where they are counted."""
        table = self._table(found, "limits")
        check_names(f"{self.where}: [limits]", table, LimitSettings.__struct_fields__)
        storage = table.get("storage", MEMORY)
        if not isinstance(storage, str) or not is_storage(storage):
            raise ConfigError(f"{self.where}: limits.storage must be {RIGHT_STORAGE}.")
        return LimitSettings(
            per_address=self._rates(table.get("per_address"), "limits.per_address"),
            per_key=self._rates(table.get("per_key"), "limits.per_key"),
            storage=storage,
        )

    def _rates(self, found: object, name: str) -> str | None:
        try:
            if found is None or (isinstance(found, str) and parse(found)):
                return found
        except ValueError:
            pass
        raise ConfigError(f"{self.where}: {name} must be {RIGHT_RATES}.")

    def upstreams(self, found: object, times: Mapping[str, float]) -> tuple[UpstreamSettings, ...]:
        """The upstreams; `times` are the time-outs of those that have none of their own."""
        if not isinstance(found, list) or not found:
            raise ConfigError(f"{self.where}: upstreams must be tables, each headed [[upstreams]].")
        made = [self._upstream(entry, f"upstreams.{index}", times) for index, entry in enumerate(found)]
        names = [upstream.name for upstream in made]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ConfigError(f"{self.where}: upstreams.{index}: another upstream has the same name.")
        defaults = [upstream.name for upstream in made if upstream.default]
        if len(defaults) > 1:
            raise ConfigError(f"{self.where}: upstreams: {', '.join(defaults)} are default. Keep one.")
        return tuple(made)

    def _upstream(self, found: object, name: str, times: Mapping[str, float]) -> UpstreamSettings:
        table = self._table(found, name)
        check_names(f"{self.where}: {name}", table, UpstreamSettings.__struct_fields__)
        label, url, key = table.get("name"), table.get("url"), table.get("api_key")
        if not isinstance(label, str) or not LABEL.fullmatch(label):
            raise ConfigError(f"{self.where}: {name}.name must be {RIGHT_LABEL}.")
        if not isinstance(url, str) or not is_upstream(url):
            raise ConfigError(f"{self.where}: {name}.url must be {RIGHT_UPSTREAM}.")
        if key is not None and (not isinstance(key, str) or (key and not is_key(key))):
            raise ConfigError(f"{self.where}: {name}.api_key must be {RIGHT_KEY}.")
        models = table.get("models", [])
        if "models" in table and not _are_names(models):
            raise ConfigError(f"{self.where}: {name}.models must be a list of patterns, such as 'gpt-*'.")
        if not isinstance(table.get("default", False), bool):
            raise ConfigError(f"{self.where}: {name}.default must be true or false.")
        return UpstreamSettings(
            name=label,
            url=url.rstrip("/"),
            api_key=key,
            headers=self._headers(table.get("headers", {}), f"{name}.headers"),
            models=tuple(models),
            default=table.get("default", False),
            **{
                setting: self._seconds(table.get(setting, value), f"{name}.{setting}")
                for setting, value in times.items()
            },
        )

    def _seconds(self, found: object, name: str) -> float:
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < math.inf:
            return float(found)
        raise ConfigError(f"{self.where}: {name} must be a number greater than 0.")

    def _headers(self, found: object, name: str) -> dict[str, str]:
        table = self._table(found, name)
        for header, value in table.items():
            if not _HEADER.fullmatch(header) or not can_be_set(header):
                raise ConfigError(
                    f"{self.where}: {name}: {header[:64]!r} cannot be set: it is no header's name, or one "
                    "that guardproxy writes itself or never sends. 'api_key' becomes authorization."
                )
            if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
                raise ConfigError(f"{self.where}: {name}.{header} must be printable ASCII.")
        return {header.lower(): value for header, value in table.items()}

    def front_doors(self, found: object) -> dict[str, str]:
        """The profile of each door that is set, by its path."""
        if not isinstance(found, list) or not found:
            raise ConfigError(f"{self.where}: front_doors must be tables, each headed [[front_doors]].")
        made: dict[str, str] = {}
        for index, entry in enumerate(found):
            name = f"front_doors.{index}"
            table = self._table(entry, name)
            check_names(f"{self.where}: {name}", table, ("path", "profile"))
            path = table.get("path")
            if not isinstance(path, str) or not _DOOR.fullmatch(path):
                raise ConfigError(
                    f"{self.where}: {name}.path must be a path such as /v1/responses: names of a-z, 0-9, "
                    "'.', _ and -, a slash before each and none at the end."
                )
            if path in made:
                raise ConfigError(f"{self.where}: {name}: another front door has the same path.")
            made[path] = self._word(table.get("profile"), f"{name}.profile", PROFILES)
        return made

    def prices(self, found: object) -> dict[str, Price]:
        """The price of each model, in US dollars for a million tokens."""
        return {
            model: self._price(entry, f"prices.{model[:64]!r}")
            for model, entry in self._table(found, "prices").items()
        }

    def _price(self, found: object, name: str) -> Price:
        table = self._table(found, name)
        if any(isinstance(value, dict) for value in table.values()):
            raise ConfigError(
                f'{self.where}: {name} has tables in it. Quote a name that has a dot: [prices."gpt-4.1"].'
            )
        check_names(f"{self.where}: {name}", table, Price.__struct_fields__)
        for key in ("input", "output"):
            if key not in table:
                raise ConfigError(f"{self.where}: {name} lacks {key!r}, US dollars for a million tokens.")
        for key, value in table.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ConfigError(f"{self.where}: {name}.{key} must be a number from 0.")
        return Price(**{key: Decimal(str(value)) for key, value in table.items()})

    def store(self, found: object) -> StoreSettings:
        """Where responses and conversations are kept."""
        table = self._table(found, "store")
        check_names(f"{self.where}: [store]", table, StoreSettings.__struct_fields__)
        default = StoreSettings()
        url = table.get("url", default.url)
        if not isinstance(url, str) or not is_store(url):
            raise ConfigError(f"{self.where}: store.url must be {RIGHT_STORE}.")
        retention = self._seconds(table.get("retention", default.retention), "store.retention")
        return StoreSettings(url=url, retention=retention)

    def plugins(
        self, document: Mapping[str, Any], types: Mapping[str, type[msgspec.Struct]]
    ) -> dict[str, msgspec.Struct]:
        """The plugins' own settings, by plugin."""
        guards = self._table(document.get("guards", {}), "guards")
        plugins = self._table(document.get("plugins", {}), "plugins")
        # Whether a guard is there that has nothing but an allow-list is known when the guards are.
        for name, table in guards.items():
            if name not in types and not _only_allows(table):
                raise ConfigError(
                    f"{self.where}: [guards.{name[:64]}] may have 'allow' alone: no guard of this name has "
                    f"settings.{nearest(name, types)}"
                )
        check_names(f"{self.where}: [plugins]", plugins, types)
        for name in guards:
            if name in plugins:
                raise ConfigError(
                    f"{self.where}: [guards.{name}] and [plugins.{name}] are the same table. Keep one."
                )
        made = {}
        for name, struct in types.items():
            heading = f"guards.{name}" if name in guards else f"plugins.{name}"
            table = self._table(guards.get(name, plugins.get(name, {})), heading)
            fields = [known.encode_name for known in msgspec.structs.fields(struct)]
            if name in guards:
                table = {key: value for key, value in table.items() if key != "allow"}
            check_names(f"{self.where}: [{heading}]", table, fields)
            made[name] = self._convert(table, struct, heading)
        return made

    def allow(self, found: object) -> dict[str, AllowList]:
        """The allow-lists of the guards, by guard."""
        made = {}
        for guard, given in self._table(found, "guards").items():
            entries = self._table(given, f"guards.{guard}").get("allow", [])
            name = f"{self.where}: guards.{guard}.allow"
            if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
                raise ConfigError(f"{name} must be a list of strings: values, domains, and 're:' patterns.")
            try:
                allow = AllowList(entries)
            except ValueError as error:
                raise ConfigError(f"{name}.{error}") from None
            if entries:
                made[guard] = allow
        return made

    def _convert(
        self, table: Mapping[str, object], struct: type[msgspec.Struct], heading: str
    ) -> msgspec.Struct:
        self._check_nested(table, struct, heading)
        dates = (datetime.datetime, datetime.date, datetime.time)
        try:
            return msgspec.convert(table, struct, strict=True, builtin_types=dates)
        except (msgspec.ValidationError, TypeError) as error:
            message = str(error)
        # A message may quote a word that was found; one that came from the environment is hidden.
        values = {n: v for n, v in _strings(table, heading) if n in self.references and v}
        for value in values.values():
            message = message.replace(value, HIDDEN)
        raise ConfigError(f"{self.where}: [{heading}]: {_plain(message, struct)}.")

    def _check_nested(self, value: object, kind: object, name: str) -> None:
        """Refuse unknown keys in tables within tables: msgspec lets them pass by default."""
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, Mapping):
            fields = {known.encode_name: known.type for known in msgspec.structs.fields(kind)}
            check_names(f"{self.where}: [{name}]", value, fields)
            for key, inner in value.items():
                self._check_nested(inner, fields[key], f"{name}.{key}")
            return
        kinds = [inner for inner in typing.get_args(kind) if inner is not type(None)]
        if isinstance(value, list):
            for index, item in enumerate(value):
                for inner in kinds:
                    self._check_nested(item, inner, f"{name}.{index}")
        elif isinstance(value, Mapping) and typing.get_origin(kind) is dict and len(kinds) == 2:
            for key, item in value.items():
                self._check_nested(item, kinds[1], f"{name}.{key}")
        elif len(kinds) == 1:  # Optional, Annotated; a union of tables is left to msgspec and its tags
            self._check_nested(value, kinds[0], name)

    def _table(self, found: object, name: str) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise ConfigError(f"{self.where}: {name} must be a table.")
        return found

    def _word(self, found: object, name: str, words: Iterable[str]) -> str:
        words = tuple(words)
        if not isinstance(found, str) or found not in words:
            given = (name, name.removesuffix(".action"))  # a rule may be its action alone
            shown = "" if self.references.keys() & given else found_word(found)
            raise ConfigError(f"{self.where}: {name} must be {_words(words)}{shown}.")
        return found


def _only_allows(table: object) -> bool:
    return isinstance(table, dict) and table.keys() == {"allow"}


_KINDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_LIMITS = {" <= ": " of at most ", " >= ": " of at least ", " < ": " less than ", " > ": " greater than "}


def _plain(message: str, struct: type[msgspec.Struct]) -> str:
    """A `message` of msgspec in the words of the other errors, where it is one of the common ones."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", message):
        return f"lacks {missing[1]!r}"
    found = re.fullmatch(r"(.*) - at `\$\.(.*)`", message, re.DOTALL)
    if found is None:
        return message
    problem, key = found[1], found[2]
    words = _choices(struct, re.findall(r"[A-Za-z_]\w*|\[", key))
    if words:
        word = re.fullmatch(r"Invalid enum value '(.*)'", problem, re.DOTALL)
        return f"{key} must be {_words(words)}{found_word(word and word[1])}"
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


def found_word(found: object) -> str:
    """What stands where another word should, if it is a word: anything else may be a key."""
    return (
        f', not "{found}"' if isinstance(found, str) and (found == HIDDEN or _WORD.fullmatch(found)) else ""
    )


def _words(words: Iterable[str]) -> str:
    *most, last = [f'"{word}"' for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def _strings(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{name}.{index}")
    elif isinstance(value, str):
        yield name, value
