"""Every setting: name, default, help. Frozen, read once.

Scalars have three spellings: `upstream_timeout` in the file, `GUARDPROXY_UPSTREAM_TIMEOUT` in the
environment, `--upstream-timeout` as a flag. Messages name the place and what would be right there,
and of the value that was found at most a plain word that stands for another: else it may be a key.
"""

import datetime
import difflib
import hashlib
import ipaddress
import math
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from guardproxy.allow import AllowList
from guardproxy.errors import ConfigError
from guardproxy.types import Action, OnError, Policy, Rule

PREFIX = "GUARDPROXY_"
HIDDEN = "********"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "console")
AUTH_WORDS = ("required", "none")
UNSCANNABLE_REASONS = (
    "image",
    "audio",
    "video",
    "file",
    "file_id",
    "encrypted",
    "previous_response_id",
    "too_large",
)
UNSCANNABLE_WORDS = ("pass", "flag", "block")
GUARD_NAME = re.compile(r"[a-z0-9_-]+")
TABLES = ("policy", "unscannable", "guards", "plugins", "keys")
NOT_BUILT_YET = ("upstreams", "front_doors", "limits", "store", "prices")

_WORD = re.compile(r"(?=.{1,16}$)[A-Za-z]+(?:[_-][A-Za-z]+)?")
_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|authorization|sha256|header", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _above(limit: float) -> Callable[[Any], bool]:
    return lambda value: value > limit


def _from(limit: float) -> Callable[[Any], bool]:
    return lambda value: value >= limit


def _are_names(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(n, str) and n for n in found)


def _is_port(value: int) -> bool:
    return 0 <= value <= 65535


def _is_host(value: str) -> bool:
    return bool(value) and not re.search(r"[\s/\[\]@]", value)


def _is_upstream(value: str) -> bool:
    parts = _split(value)
    return (
        parts is not None and not parts.username and parts.password is None and not re.search(r"[?#]", value)
    )


def _is_proxy(value: str) -> bool:
    return _split(value) is not None


def _split(value: str) -> typing.Any:
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if known and value.isprintable() and " " not in value else None


def _is_placeholder(value: str) -> bool:
    fixed = value.replace("{category}", "")
    return bool(value) and len(value) <= 100 and value.isprintable() and not re.search(r"[{}]", fixed)


def _is_key(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


@dataclass(frozen=True, slots=True)
class Scalar:
    """What is known of a scalar beside its name and default: help, check, what would be right."""

    help: str
    check: Callable[[Any], bool] = field(default=lambda value: True, repr=False)
    right: str = ""
    unit: str = ""
    words: tuple[str, ...] = ()


def _seconds(text: str) -> Scalar:
    return Scalar(text, _above(0), "a number greater than 0", unit="seconds")


def _one_of(text: str, words: tuple[str, ...]) -> Scalar:
    return Scalar(text, lambda value: value in words, "one of " + ", ".join(words), words=words)


class _Masked(msgspec.Struct, frozen=True):
    """A Struct whose repr shows no secret."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, self._shown(name)) for name in self.__struct_fields__]

    def _shown(self, name: str) -> object:
        value = getattr(self, name)
        # Which of the plugins' settings are secrets is not known here: their names must do.
        return sorted(value) if isinstance(value, Mapping) else masked(name, value)


class ClientKey(_Masked, frozen=True):
    """One client key: only its SHA-256 is known."""

    name: str
    sha256: str
    policy: Policy = Policy()
    allowed_models: tuple[str, ...] | None = None  # None: all


class Settings(_Masked, frozen=True, kw_only=True):
    """All settings of one guardproxy. Its repr masks secrets."""

    host: Annotated[str, Scalar("The address to listen on.", _is_host, "a host name or address")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Scalar("The port to listen on; 0 takes a free one.", _is_port, "an integer from 0 to 65535")
    ] = 8080
    workers: Annotated[
        int, Scalar("Server processes, each with its own scan workers.", _from(1), "an integer from 1")
    ] = 1
    upstream: Annotated[
        str,
        Scalar(
            "Where requests are forwarded: the base URL, with its version.",
            _is_upstream,
            "an http(s) URL without user, query or fragment",
        ),
    ] = "https://api.openai.com/v1"
    upstream_api_key: Annotated[
        str | None,
        Scalar(
            "The key that the upstream is sent. Without it the client's own is passed on.",
            _is_key,
            "printable ASCII without spaces",
        ),
    ] = None
    connect_timeout: Annotated[float, _seconds("How long connecting to the upstream may take.")] = 5.0
    upstream_timeout: Annotated[float, _seconds("How long the upstream may take to answer.")] = 600.0
    stream_idle_timeout: Annotated[float, _seconds("How long the upstream may pause within a stream.")] = 60.0
    max_body: Annotated[
        int, Scalar("The largest request body.", _from(1), "an integer greater than 0", unit="bytes")
    ] = 32 * 1024 * 1024
    upstream_proxy: Annotated[
        str | None,
        Scalar(
            "The HTTP proxy on the way to the upstream. HTTPS_PROXY and the like are not read.",
            _is_proxy,
            "an http(s) URL",
        ),
    ] = None
    upstream_ca_file: Annotated[
        str | None,
        Scalar(
            "A PEM file of the authorities that the upstream's certificate may come from.",
            lambda value: Path(value).is_file(),
            "a file that exists",
        ),
    ] = None
    guard_timeout: Annotated[
        float, _seconds("Compute that one batch of texts may take before the exchange fails.")
    ] = 5.0
    queue_timeout: Annotated[
        float, _seconds("How long texts may wait for a scan worker before the answer is a 503.")
    ] = 10.0
    scan_workers: Annotated[
        int, Scalar("Processes that scan, for each server process.", _from(1), "an integer from 1")
    ] = 1
    cache_size: Annotated[
        int, Scalar("Memory for cached matches; 0 turns it off.", _from(0), "an integer from 0", unit="bytes")
    ] = 64 * 1024 * 1024
    drain: Annotated[
        float,
        Scalar(
            "How long open exchanges may go on after SIGTERM.", _from(0), "a number from 0", unit="seconds"
        ),
    ] = 30.0
    placeholder: Annotated[
        str,
        Scalar(
            "What stands in the place of redacted text.",
            _is_placeholder,
            "1 to 100 printable characters whose only braces are those of {category}",
        ),
    ] = "[{category}]"
    log_level: Annotated[str, _one_of("The least level that is logged.", LOG_LEVELS)] = "info"
    log_format: Annotated[
        str, _one_of("How logs look; auto is console on a terminal, else JSON.", LOG_FORMATS)
    ] = "auto"
    auth: Annotated[
        str, _one_of("Whether a request needs a credential; none needs a loopback host.", AUTH_WORDS)
    ] = "required"
    floor: Policy = Policy()
    unscannable: dict[str, str] = {}
    keys: tuple[ClientKey, ...] = ()
    plugins: dict[str, msgspec.Struct] = {}
    allow: dict[str, AllowList] = {}


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: a scalar's name, default and help."""

    name: str
    default: str | int | float | None
    kind: type[str] | type[int] | type[float]
    scalar: Scalar

    @property
    def environment(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")


def _table() -> tuple[Setting, ...]:
    hints = typing.get_type_hints(Settings, include_extras=True)
    rows = []
    for known in msgspec.structs.fields(Settings):
        for scalar in getattr(hints[known.name], "__metadata__", ()):
            kinds = [
                k
                for k in (str, int, float)
                if k in (hints[known.name].__origin__, *typing.get_args(hints[known.name].__origin__))
            ]
            rows.append(Setting(known.name, known.default, kinds[0], scalar))
    return tuple(rows)


SETTINGS: tuple[Setting, ...] = _table()


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


def masked(name: str, value: object) -> object:
    """`value` as it may be shown under `name`: secrets hidden, and the user part of a proxy's URL."""
    if not isinstance(value, str) or not value or not _SECRET_NAME.search(name):
        if name == "upstream_proxy" and isinstance(value, str):
            return re.sub(r"//[^/]*@", f"//{HIDDEN}@", value)
        return value
    return HIDDEN


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
    _check_names(where, document, (*(s.name for s in SETTINGS), *TABLES), NOT_BUILT_YET)
    by_variable = {setting.environment: setting for setting in SETTINGS}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in by_variable)
    if unknown:
        told = (f"{name!r}, which is no setting.{_nearest(name, by_variable)}" for name in unknown)
        raise ConfigError(f"The environment has {' It has '.join(told)}")
    by_flag = {setting.name: setting for setting in SETTINGS}
    for name in flags:
        if name not in by_flag:
            raise ConfigError(f"{name!r} is no setting.{_nearest(name, by_flag)}")

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

    tables = _Tables(where, references)
    values["floor"] = tables.policy(document.get("policy", {}), "policy")
    values["unscannable"] = tables.unscannable(document.get("unscannable", {}))
    values["keys"] = tables.keys(document["keys"]) if "keys" in document else ()
    values["plugins"] = tables.plugins(document, plugin_types)
    values["allow"] = tables.allow(document.get("guards", {}))
    origins |= {table: "file" if table in document else "default" for table in TABLES}
    origins |= {
        f"{table}.{name}": "file" for table in ("guards", "plugins") for name in document.get(table, {})
    }
    settings = Settings(**values)
    _check_together(settings)
    return Loaded(settings, origins, references)


def _check_together(settings: Settings) -> None:
    if is_loopback(settings.host):
        return
    if settings.auth == "none":
        raise ConfigError('auth = "none" needs a loopback host, such as host = "127.0.0.1".')
    if settings.upstream_api_key is not None and not settings.keys:
        raise ConfigError(
            "upstream_api_key is set, and there are no [[keys]]: whoever reaches this host could spend it. "
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
        told = _found_word(found) if setting.scalar.words and shows else ""
        raise ConfigError(f"{place} must be {setting.scalar.right or article}{told}.")
    return value


def _number(kind: type[Any], text: str) -> int | float | None:
    try:
        number: int | float = kind(text)
    except (ValueError, OverflowError):
        return None
    return number


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known := sorted(known), n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(known)}." if known else " None is known here."


def _misplaced(name: str) -> str:
    """In TOML a key belongs to the last heading above it, wherever its author meant it to be."""
    top = name in {setting.name for setting in SETTINGS}
    return " It is a top-level key: those come before the first [table] of the file." if top else ""


def _check_names(
    where: str, table: Mapping[str, object], known: Iterable[str], later: Iterable[str] = ()
) -> None:
    """Refuse what is not known in `table`, all of it at once."""
    known = tuple(known)
    problems = [
        f"{name!r} is not built yet. Remove it."
        if name in later
        else f"{name[:64]!r} is not known.{_misplaced(name) or _nearest(name, known)}"
        for name in table
        if name not in known
    ]
    if problems:
        raise ConfigError(f"{where}: {' '.join(problems)}")


@dataclass(frozen=True, slots=True)
class _Document:
    """Reads the file and resolves `${env:NAME}` in its strings."""

    where: str
    environ: Mapping[str, str]
    references: dict[str, str]

    def read(self, file: Path) -> dict[str, Any]:
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{self.where}: cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self.where}: is not UTF-8 text.") from None
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at .*\)$", str(error))
            raise ConfigError(
                f"{self.where}: is not TOML {place[0] if place else ''}".rstrip() + "."
            ) from None
        resolved: dict[str, Any] = self.resolve(document, "")
        return resolved

    def resolve(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {
                key: self.resolve(inner, f"{name}.{key}" if name else key) for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.resolve(inner, f"{name}.{index}") for index, inner in enumerate(value)]
        if name == "upstream_api_key" and isinstance(value, str) and re.match(r"\$(?!\{env:)", value):
            raise ConfigError(f"{self.where}: {name}: a reference is spelled ${{env:NAME}}.")
        if not isinstance(value, str) or "${env:" not in value:
            return value
        if "${env:" in _REFERENCE.sub("", value):
            raise ConfigError(f"{self.where}: {name}: a reference is spelled ${{env:NAME}}.")
        for variable in _REFERENCE.findall(value):
            if variable not in self.environ:
                raise ConfigError(f"{self.where}: {name}: the environment has no {variable!r}. Set it.")
        self.references[name] = value if _REFERENCE.fullmatch(value) else HIDDEN
        return _REFERENCE.sub(lambda reference: self.environ[reference[1]], value)


@dataclass(frozen=True, slots=True)
class _Tables:
    """Checks the tables of the file, and makes values of them."""

    where: str
    references: Mapping[str, str]

    def policy(self, found: object, name: str) -> Policy:
        table = self._table(found, name)
        _check_names(f"{self.where}: [{name}]", table, ("input", "output"))
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
        _check_names(f"{self.where}: {name}", table, ("action", "mode", "on_error"))
        if "action" not in table:
            raise ConfigError(f"{self.where}: {name} lacks its action: {_words(words)}.")
        self._word(table["action"], f"{name}.action", words)
        self._word(table.get("mode", "shadow"), f"{name}.mode", ["shadow"])
        on_error = self._word(table.get("on_error", "fail"), f"{name}.on_error", [str(e) for e in OnError])
        return Rule(Action[table["action"].upper()], "mode" in table, OnError(on_error))

    def unscannable(self, found: object) -> dict[str, str]:
        table = self._table(found, "unscannable")
        _check_names(f"{self.where}: [unscannable]", table, UNSCANNABLE_REASONS)
        return {
            reason: self._word(word, f"unscannable.{reason}", UNSCANNABLE_WORDS)
            for reason, word in table.items()
        }

    def keys(self, found: object) -> tuple[ClientKey, ...]:
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
        _check_names(f"{self.where}: {name}", table, ("name", "sha256", "policy", "allowed_models"))
        label, digest, models = table.get("name"), table.get("sha256"), table.get("allowed_models")
        if not isinstance(label, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", label):
            raise ConfigError(
                f"{self.where}: {name}.name must be 1 to 64 characters of A-Z, a-z, 0-9, '.', _ and -."
            )
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
        policy = self.policy(table.get("policy", {}), f"{name}.policy")
        return ClientKey(label, digest.lower(), policy, None if models is None else tuple(models))

    def plugins(
        self, document: Mapping[str, Any], types: Mapping[str, type[msgspec.Struct]]
    ) -> dict[str, msgspec.Struct]:
        guards = self._table(document.get("guards", {}), "guards")
        plugins = self._table(document.get("plugins", {}), "plugins")
        # Whether a guard is there that has nothing but an allow-list is known when the guards are.
        known = {*types, *(name for name, table in guards.items() if _only_allows(table))}
        for heading, tables in (("guards", guards), ("plugins", plugins)):
            _check_names(f"{self.where}: [{heading}]", tables, known if heading == "guards" else types)
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
            _check_names(f"{self.where}: [{heading}]", table, fields)
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
            _check_names(f"{self.where}: [{name}]", value, fields)
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
            shown = "" if self.references.keys() & given else _found_word(found)
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
    kinds = {known.encode_name: known.type for known in msgspec.structs.fields(struct)}
    if typing.get_origin(kinds.get(key)) is typing.Literal:
        word = re.fullmatch(r"Invalid enum value '(.*)'", problem, re.DOTALL)
        return f"{key} must be {_words(typing.get_args(kinds[key]))}{_found_word(word and word[1])}"
    if (expected := re.fullmatch(r"Expected `([\w |]+)`(?:, got `(\w+)`|( [<>]=? )(\S+))", problem)) is None:
        return f"{key}: {problem}"
    right = " or ".join(_KINDS.get(kind, kind) for kind in expected[1].split(" | ") if kind != "null")
    if expected[2]:
        return f"{key} must be {right}, not {_KINDS.get(expected[2], expected[2])}"
    return f"{key} must be {right}{_LIMITS[expected[3]]}{expected[4]}"


def _found_word(found: object) -> str:
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
