"""What texts of the settings look like where they are right: hosts, URLs, keys, names. Pure."""

import ipaddress
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SQLITE = "sqlite+aiosqlite:///"
POSTGRESQL = ("postgresql+asyncpg", "postgresql", "postgres")
MEMORY = "memory://"
LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what keys and upstreams are called
GUARD_NAME = re.compile(r"[a-z0-9_-]+")

RIGHT_LABEL = "1 to 64 characters of A-Z, a-z, 0-9, '.', _ and -"
RIGHT_KEY = "printable ASCII without spaces"
RIGHT_UPSTREAM = "an http(s) URL without user, query or fragment"
RIGHT_STORE = (
    f"{SQLITE}FILE, or postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE with special characters as %XX; "
    "its options are host, sslmode, sslrootcert, sslcert and sslkey"
)
RIGHT_STORAGE = f"{MEMORY}, or a URL with host and port such as valkey://valkey.example:6379"

_NEAR = (".localhost", ".local", ".internal", ".svc")
_STORE_OPTIONS = frozenset(("host", "sslmode", "sslrootcert", "sslcert", "sslkey"))


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_near(host: str) -> bool:
    """Whether `host` is on this machine or in its network, as far as its name or address tells."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_NEAR)


def is_host(value: str) -> bool:
    """Whether `value` can be a host's name or address."""
    return bool(value) and not re.search(r"[\s/\[\]@]", value)


def is_upstream(value: str) -> bool:
    """Whether `value` is a base URL that requests can be forwarded to."""
    parts = _split(value)
    return (
        parts is not None and not parts.username and parts.password is None and not re.search(r"[?#]", value)
    )


def is_proxy(value: str) -> bool:
    """Whether `value` is the URL of an HTTP proxy."""
    return _split(value) is not None


def is_store(value: str) -> bool:
    """Whether `value` is the URL of a database that the store can be in."""
    if value.startswith(SQLITE):
        # Every connection would have a :memory: of its own.
        return (
            bool(re.fullmatch(r"(?!:memory:|file:)[^?#]+", value.removeprefix(SQLITE)))
            and value.isprintable()
        )
    try:
        parts = urlsplit(value)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        known = bool(parts.hostname or options.get("host")) and parts.port != 0
    except ValueError:
        return False
    named = re.fullmatch(r"/[^/@]+", parts.path) and not parts.fragment
    right = parts.scheme in POSTGRESQL and known and bool(named) and options.keys() <= _STORE_OPTIONS
    return right and value.isprintable() and " " not in value


def is_storage(value: str) -> bool:
    """Whether requests can be counted at `value`."""
    parts = _split(value, ("valkey", "valkeys", "redis", "rediss"))
    right = parts is not None and parts.port and re.fullmatch(r"(?:/[0-9]{0,4})?", parts.path)
    return value == MEMORY or bool(
        right and value.startswith(f"{parts.scheme}:") and not re.search(r"[?#]", value)
    )


def is_key(value: str) -> bool:
    """Whether `value` can stand behind `Bearer`."""
    return bool(value) and value.isascii() and value.isprintable() and " " not in value


def is_placeholder(value: str) -> bool:
    """Whether `value` can stand in the place of redacted text."""
    fixed = value.replace("{category}", "")
    return bool(value) and len(value) <= 100 and value.isprintable() and not re.search(r"[{}]", fixed)


def _split(value: str, schemes: tuple[str, ...] = ("http", "https")) -> Any:
    try:
        parts = urlsplit(value)
        known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if known and value.isprintable() and " " not in value else None
