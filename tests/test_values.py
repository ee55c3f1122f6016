"""Which texts of the settings are right."""

import pytest

from guardproxy.values import is_loopback, is_near, is_store, is_upstream


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_host_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.1"])
def test_a_host_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "near"),
    [
        *((host, True) for host in ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.2", "fd00::1", "localhost")),
        *((host, True) for host in ("ollama", "gpu.local", "vllm.models.svc", "x.internal", "a.localhost")),
        *(
            (host, False)
            for host in ("api.openai.com", "8.8.8.8", "2606:4700::1111", "localhost.example.com")
        ),
    ],
)
def test_a_host_in_ones_own_network(host: str, near: bool) -> None:
    assert is_near(host) is near


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://x/v1",
        "https://",
        "https://user@x/v1",
        "https://user:word@x/v1",
        "https://:word@x/v1",
        "https://x/v1?key=1",
        "https://x/v1?",
        "https://x/v1#f",
        "https://x:99999/v1",
        "https://x /v1",
        "https://x/v1\n",
        "https://[::1/v1",
    ],
)
def test_an_upstream_is_a_plain_url(url: str) -> None:
    assert not is_upstream(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:///guardproxy.db",
        "sqlite+aiosqlite:////data/a b.db",
        "postgresql+asyncpg://me:p%40ss@db.example:5432/guardproxy",
        "postgresql://db/x?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgres://me@[::1]/x",
        "postgresql:///x?host=/run/postgresql",
    ],
)
def test_a_store_can_be_there(url: str) -> None:
    assert is_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "guardproxy.db",
        "sqlite:///guardproxy.db",
        "sqlite+aiosqlite://guardproxy.db",
        "sqlite+aiosqlite:///",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///file:x",
        "sqlite+aiosqlite:///x?mode=ro",
        "sqlite+aiosqlite:///x\n",
        "mysql+aiomysql://u:p@h/db",
        "postgresql+psycopg://u:p@h/db",
        "postgresql://h",
        "postgresql://h/",
        "postgresql:///db",
        "postgresql://h:99999/db",
        "postgresql://u:p/w@h/db",
        "postgresql://u:1/w@h",
        "postgresql://u:p#w@h/db",
        "postgresql://u:1?w@h/db",
        "postgresql://h/a/b",
        "postgresql://h/db#x",
        "postgresql://h/db?password=x",
        "postgresql://h/db?sslmode",
        "postgresql://h/d b",
    ],
)
def test_a_store_cannot_be_there(url: str) -> None:
    assert not is_store(url)
