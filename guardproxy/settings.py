"""Every setting: name, default, help. Frozen, read once.

Scalars have three spellings: `upstream_timeout` in the file, `GUARDPROXY_UPSTREAM_TIMEOUT` in the
environment, `--upstream-timeout` as a flag.
"""

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from guardproxy.allow import AllowList
from guardproxy.entries import entry
from guardproxy.prices import Price
from guardproxy.profiles import DOORS, MAIN, OPENRESPONSES, PROFILES, Profile
from guardproxy.types import Policy
from guardproxy.values import (
    MEMORY,
    RIGHT_KEY,
    RIGHT_UPSTREAM,
    SQLITE,
    is_host,
    is_key,
    is_placeholder,
    is_proxy,
    is_upstream,
)

PREFIX = "GUARDPROXY_"
HIDDEN = "********"
OfPlugin = TypeVar("OfPlugin", bound=msgspec.Struct)
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "console")
TRACE_WORDS = ("otel", "console")
CAPTURE_WORDS = ("off", "redacted")
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
_SECRET_NAME = re.compile(
    r"(?<!^per_)key|token|secret|passw|credential|authorization|sha256|header", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Scalar:
    """What is known of a scalar beside its name and default: help, check, what would be right."""

    help: str
    check: Callable[[Any], bool] = field(default=lambda value: True, repr=False)
    right: str = ""
    unit: str = ""
    words: tuple[str, ...] = ()


def _above(limit: float) -> Callable[[Any], bool]:
    return lambda value: value > limit


def _from(limit: float) -> Callable[[Any], bool]:
    return lambda value: value >= limit


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
    limits: str | None = None  # rates in the place of `per_key`


class LimitSettings(_Masked, frozen=True):
    """How many requests one address and one key may send: rates (rates.py), or None for any number."""

    per_address: str | None = None
    per_key: str | None = None
    storage: str = MEMORY


class UpstreamSettings(_Masked, frozen=True, kw_only=True):
    """One upstream. `models` are the patterns of the models that it serves (`gpt-*`).

    `api_key` stands in for the client's credential; None passes that on, and "" is a key that is still to
    be set: nothing can be sent there.
    """

    name: str
    url: str
    api_key: str | None = None
    headers: dict[str, str] = {}
    models: tuple[str, ...] = ()
    default: bool = False
    connect_timeout: float
    upstream_timeout: float
    stream_idle_timeout: float


class StoreSettings(_Masked, frozen=True, kw_only=True):
    """Where responses and conversations are kept, and for how many seconds."""

    url: str = f"{SQLITE}guardproxy.db"
    retention: float = 30 * 24 * 3600.0


class Settings(_Masked, frozen=True, kw_only=True):
    """All settings of one guardproxy. Its repr masks secrets."""

    host: Annotated[str, Scalar("The address to listen on.", is_host, "a host name or address")] = "127.0.0.1"
    port: Annotated[
        int,
        Scalar(
            "The port to listen on; 0 takes a free one.",
            lambda value: 0 <= value <= 65535,
            "an integer from 0 to 65535",
        ),
    ] = 8080
    workers: Annotated[
        int, Scalar("Server processes, each with its own scan workers.", _from(1), "an integer from 1")
    ] = 1
    upstream: Annotated[
        str,
        Scalar(
            "Where requests are forwarded: the base URL, with its version.",
            is_upstream,
            RIGHT_UPSTREAM,
        ),
    ] = "https://api.openai.com/v1"
    upstream_api_key: Annotated[
        str | None,
        Scalar(
            "The key that the upstream is sent. Without it the client's own is passed on, "
            "unless there are [[keys]].",
            is_key,
            f"{RIGHT_KEY}, and not empty",
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
            is_proxy,
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
            is_placeholder,
            "1 to 100 printable characters whose only braces are those of {category}",
        ),
    ] = "[{category}]"
    log_level: Annotated[str, _one_of("The least level that is logged.", LOG_LEVELS)] = "info"
    log_format: Annotated[
        str, _one_of("How logs look; auto is console on a terminal, else JSON.", LOG_FORMATS)
    ] = "auto"
    trace: Annotated[
        str,
        _one_of("Where traces go: as OTEL_* says, or also, drawn as trees, to standard output.", TRACE_WORDS),
    ] = "otel"
    capture_content: Annotated[
        str, _one_of("Whether traces have the texts of an exchange, less all that was found.", CAPTURE_WORDS)
    ] = "off"
    profile: Annotated[str, _one_of("The dialect that clients speak at /v1/responses.", tuple(PROFILES))] = (
        OPENRESPONSES.name
    )
    auth: Annotated[
        str, _one_of("Whether a request needs a credential; none needs a loopback host.", AUTH_WORDS)
    ] = "required"
    floor: Policy = Policy()
    unscannable: dict[str, str] = {}
    keys: tuple[ClientKey, ...] = ()
    upstreams: tuple[UpstreamSettings, ...] = ()  # without any there is one, of the scalars
    store: StoreSettings | None = None  # None: nothing is kept
    front_doors: dict[str, str] = {}  # the profile by the path, of doors that are set
    limits: LimitSettings = LimitSettings()
    prices: dict[str, Price] = {}  # by the model's name, or a pattern of names
    plugins: dict[str, msgspec.Struct] = {}
    allow: dict[str, AllowList] = {}

    def doors(self) -> dict[str, Profile]:
        """The profile of each front door, by its path: those that are set, and the others that there are."""
        own = {MAIN: self.profile, **self.front_doors}
        return {**DOORS, **{path: PROFILES[name] for path, name in own.items()}}

    def first_limit(self) -> str | None:
        """The place of one of the limits that there are; None where requests are not counted."""
        own = self.limits
        places = [f"limits.{name}" for name in ("per_address", "per_key") if getattr(own, name) is not None]
        places += [
            f"limits of {entry('keys', index, key.name)}"
            for index, key in enumerate(self.keys)
            if key.limits is not None
        ]
        places += [
            f"the front door {path} ({profile.name})"
            for path, profile in self.doors().items()
            if profile.per_address or profile.per_key
        ]
        return places[0] if places else None

    def kept(self) -> StoreSettings | None:
        """Where things are kept: `[store]`, or its defaults where a front door keeps something."""
        keeps = any(profile.keeps is not None for profile in self.doors().values())
        return self.store or (StoreSettings() if keeps else None)

    def all_upstreams(self) -> tuple[UpstreamSettings, ...]:
        """Where requests can go: `[[upstreams]]`, or the one of the scalars, which is called `default`."""
        if self.upstreams:
            return self.upstreams
        of_scalars = UpstreamSettings(
            name="default",
            url=self.upstream,
            api_key=self.upstream_api_key,
            default=True,
            connect_timeout=self.connect_timeout,
            upstream_timeout=self.upstream_timeout,
            stream_idle_timeout=self.stream_idle_timeout,
        )
        return (of_scalars,)

    def shown_upstreams(self) -> str:
        """The upstreams' URLs, for the log; of several with their names."""
        named = [f"{upstream.name}: {upstream.url}" for upstream in self.upstreams]
        return ", ".join(named) or self.upstream

    def of_plugin(self, name: str, kind: type[OfPlugin]) -> OfPlugin:
        """The settings of a plugin, which are of this `kind`; its defaults where there are none."""
        found = self.plugins.get(name)
        return found if isinstance(found, kind) else kind()


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


def is_secret(name: str) -> bool:
    """Whether what has this name is to be shown to nobody."""
    return _SECRET_NAME.search(name) is not None


def masked(name: str, value: object) -> object:
    """`value` as it may be shown under `name`: secrets hidden, and the user part of some URLs."""
    if not isinstance(value, str) or not value or not is_secret(name):
        if name in ("upstream_proxy", "storage", "url") and isinstance(value, str):
            return re.sub(r"//[^/]*@", f"//{HIDDEN}@", value)
        return value
    return HIDDEN
