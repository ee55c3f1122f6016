"""Read the settings: a flag wins over the environment, that over the file, that over the default."""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from guardproxy import lists, plugin_tables
from guardproxy.entries import entry, name_of, ordinal
from guardproxy.errors import ConfigError
from guardproxy.profiles import MAIN
from guardproxy.settings import HIDDEN, PREFIX, SETTINGS, Setting, Settings
from guardproxy.tables import Tables, check_names, found_word, nearest
from guardproxy.values import MEMORY, is_loopback

TABLES = (
    *("policy", "unscannable", "guards", "plugins", "keys", "upstreams", "front_doors", "limits", "store"),
    "prices",
)
_OF_ONE = ("upstream", "upstream_api_key")  # scalars that say what [[upstreams]] say
_TIMES = ("connect_timeout", "upstream_timeout", "stream_idle_timeout")

_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where they come from.

    `origins` has a word for every scalar and table: flag, environment, file or default; `guards.NAME`
    and `plugins.NAME` are there when the file has them.
    `references` has the dotted names of the values that came through `${env:NAME}`.
    """

    settings: Settings
    origins: Mapping[str, str]
    references: Mapping[str, str]


def load_settings(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    plugin_types: Mapping[str, type[msgspec.Struct]],
) -> Settings:
    """The settings: a flag wins over the environment, that over the file, that over the default.

    A flag that is None was not given. `plugin_types` are the plugins' own settings, by plugin name.

    Raises:
        ConfigError: names the file, variable or flag, the key, and what would be right.
    """
    return load_with_origins(file, environ, flags, plugin_types).settings


def load_with_origins(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    plugin_types: Mapping[str, type[msgspec.Struct]],
) -> Loaded:
    """Like `load_settings`, with the origin of each value.

    Raises:
        ConfigError: names the file, variable or flag, the key, and what would be right.
    """
    references: dict[str, str] = {}
    document = _Document(str(file), environ, references).read(file) if file else {}
    where = str(file)
    check_names(where, document, (*(s.name for s in SETTINGS), *TABLES), plugin_types)
    by_variable = {setting.environment: setting for setting in SETTINGS}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in by_variable)
    if unknown:
        told = (
            f"{name!r}, which is no setting.{_table_hint(name) or nearest(name, by_variable)}"
            for name in unknown
        )
        raise ConfigError(f"The environment has {' It has '.join(told)}")
    by_flag = {setting.name: setting for setting in SETTINGS}
    for name in flags:
        if name not in by_flag:
            raise ConfigError(f"{name!r} is no setting.{nearest(name, by_flag)}")

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        origins[setting.name] = "default"
        for origin, place, found in (
            ("flag", setting.flag, flags.get(setting.name)),
            ("environment", setting.environment, environ.get(setting.environment)),
            ("file", f"{where}: {setting.name}", document.get(setting.name)),
        ):
            # An empty variable is how compose files spell 'not set'.
            if found is None or (origin == "environment" and found == "" and setting.default is None):
                continue
            in_file = origin == "file"
            shows = not in_file or setting.name not in references
            value = _scalar(setting, found, place, from_text=not in_file, shows=shows)
            if origins[setting.name] == "default":  # the others are checked, too: no error lies in wait
                values[setting.name], origins[setting.name] = value, origin
    values["upstream"] = values.get("upstream", Settings().upstream).rstrip("/")

    tables = Tables(where, references)
    values["floor"] = tables.policy(document.get("policy", {}))
    values["unscannable"] = tables.unscannable(document.get("unscannable", {}))
    values["keys"] = lists.keys(tables, document["keys"]) if "keys" in document else ()
    if "upstreams" in document:
        if beside := [name for name in _OF_ONE if origins[name] != "default"]:
            raise ConfigError(
                f"{where}: [[upstreams]] and {beside[0]} ({origins[beside[0]]}) both say where requests go. "
                "Keep one of them."
            )
        times = {name: values.get(name, getattr(Settings(), name)) for name in _TIMES}
        values["upstreams"] = lists.upstreams(tables, document["upstreams"], times)
    values["store"] = tables.store(document["store"]) if "store" in document else None
    if "front_doors" in document:
        values["front_doors"] = lists.front_doors(tables, document["front_doors"])
        if MAIN in values["front_doors"] and origins["profile"] != "default":
            raise ConfigError(
                f"{where}: profile ({origins['profile']}) and the front door {MAIN} say two things. Keep one."
            )
    values["limits"] = tables.limits(document.get("limits", {}))
    values["prices"] = tables.prices(document.get("prices", {}))
    values["plugins"] = plugin_tables.plugins(tables, document, plugin_types)
    values["allow"] = plugin_tables.allow(tables, document.get("guards", {}))
    origins |= {table: "file" if table in document else "default" for table in TABLES}
    origins |= {
        f"{table}.{name}": "file" for table in ("guards", "plugins") for name in document.get(table, {})
    }
    settings = Settings(**values)
    _check_together(settings)
    return Loaded(settings, origins, references)


def _table_hint(variable: str) -> str:
    name = variable.removeprefix(PREFIX).lower()
    table = next((table for table in TABLES if name == table or name.startswith(f"{table}_")), None)
    return f" {table!r} is a table: those can be in the file alone." if table else ""


def _check_together(settings: Settings) -> None:
    limit = settings.first_limit()
    if limit is not None and settings.workers > 1 and settings.limits.storage == MEMORY:
        raise ConfigError(
            f"workers = {settings.workers}: each of them would count the requests of {limit} alone. "
            "Set limits.storage to a URL of Valkey, which they share, or workers = 1."
        )
    if is_loopback(settings.host):
        return
    if settings.auth == "none":
        raise ConfigError('auth = "none" needs a loopback host, such as host = "127.0.0.1".')
    spent = ["upstream_api_key"] if settings.upstream_api_key is not None else []
    spent += [
        f"api_key of {entry('upstreams', index, one.name)}"
        for index, one in enumerate(settings.upstreams)
        if one.api_key
    ]
    if spent and not settings.keys:
        raise ConfigError(
            f"{spent[0]} is set, and there are no [[keys]]: whoever reaches this host could spend it. "
            'Add [[keys]], or listen on a loopback host, such as host = "127.0.0.1".'
        )


def _scalar(
    setting: Setting, found: object, place: str, *, from_text: bool, shows: bool
) -> str | int | float:
    """`found` as the setting's kind, checked; `shows` whether a wrong word may be shown."""
    value: str | int | float | None = None
    if setting.kind is str:
        value = found if isinstance(found, str) else None
    elif isinstance(found, str):
        value = _number(setting.kind, found) if from_text else None
    elif isinstance(found, int) and not isinstance(found, bool):
        value = setting.kind(found)
    elif isinstance(found, float) and setting.kind is float:
        value = found
    if (
        value is None
        or (isinstance(value, float) and not math.isfinite(value))
        or not setting.scalar.check(value)
    ):
        article = {str: "a string", int: "an integer", float: "a number"}[setting.kind]
        told = found_word(found) if setting.scalar.words and shows else ""
        raise ConfigError(f"{place} must be {setting.scalar.right or article}{told}.")
    return value


def _number(kind: type[Any], text: str) -> int | float | None:
    try:
        number: int | float = kind(text)
    except (ValueError, OverflowError):
        return None
    return number


@dataclass(frozen=True, slots=True)
class _Document:
    """Reads the file, or an entry of a list in it, and resolves `${env:NAME}` in its strings."""

    where: str
    environ: Mapping[str, str]
    references: dict[str, str]
    prefix: str = ""

    def read(self, file: Path) -> dict[str, Any]:
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{self.where}: cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self.where}: is not UTF-8 text.") from None
        except tomllib.TOMLDecodeError as error:
            reason, at, place = str(error).partition(" (at ")
            # Some reasons quote what stands there, and that may be a key.
            quotes = re.search("['\"]", re.sub("'[]=}]'", "", reason))
            told = "" if quotes else f": {reason}"
            raise ConfigError(f"{self.where}: is not TOML{at}{place}{told}.") from None
        resolved: dict[str, Any] = self.resolve(document)
        return resolved

    def resolve(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {
                key: self.resolve(inner, f"{name}.{key}" if name else key) for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._listed(inner, name, index) for index, inner in enumerate(value)]
        return self._text(value, name, name) if isinstance(value, str) else value

    def _listed(self, value: Any, name: str, index: int) -> Any:
        path = f"{name}.{index}"
        if isinstance(value, str):
            return self._text(value, path, f"the {ordinal(index)} of {name}")
        if not isinstance(value, dict):
            return self.resolve(value, path)
        where = f"{self.where}: {entry(name, index, name_of(value))}"
        return replace(self, where=where, prefix=f"{self.prefix}{path}.").resolve(value)

    def _text(self, value: str, name: str, place: str) -> str:
        if name.endswith("api_key") and re.match(r"\$(?!\{env:)", value):
            raise ConfigError(f"{self.where}: {place}: a reference is spelled ${{env:NAME}}.")
        if "${env:" not in value:
            return value
        if "${env:" in _REFERENCE.sub("", value):
            raise ConfigError(f"{self.where}: {place}: a reference is spelled ${{env:NAME}}.")
        for variable in _REFERENCE.findall(value):
            if variable not in self.environ:
                raise ConfigError(f"{self.where}: {place}: the environment has no {variable!r}. Set it.")
        self.references[f"{self.prefix}{name}"] = value if _REFERENCE.fullmatch(value) else HIDDEN
        return _REFERENCE.sub(lambda reference: self.environ[reference[1]], value)
