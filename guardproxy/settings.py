"""Every setting: name, default, help. Frozen, read once."""

import msgspec

from guardproxy.types import Policy


class ClientKey(msgspec.Struct, frozen=True):
    """One client key: only its SHA-256 is known."""

    name: str
    sha256: str
    policy: Policy = Policy()
    allowed_models: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one guardproxy."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    upstream: str = "https://api.openai.com/v1"
    upstream_api_key: str | None = None
    connect_timeout: float = 5.0
    upstream_timeout: float = 600.0
    stream_idle_timeout: float = 60.0
    max_body: int = 32 * 1024 * 1024
    upstream_proxy: str | None = None
    upstream_ca_file: str | None = None
    guard_timeout: float = 5.0
    queue_timeout: float = 10.0
    scan_workers: int = 1
    cache_size: int = 64 * 1024 * 1024
    drain: float = 30.0
    placeholder: str = "[{category}]"
    log_level: str = "info"
    log_format: str = "auto"
    auth: str = "required"
    floor: Policy = Policy()
    unscannable: dict[str, str] = {}
    keys: tuple[ClientKey, ...] = ()
    plugins: dict[str, msgspec.Struct] = {}
