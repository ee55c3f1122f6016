"""Single tables of the file: what they become, and what is said of wrong ones."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from guardproxy.errors import ConfigError
from guardproxy.prices import Price
from guardproxy.settings import StoreSettings
from tests.test_config import SECRET, load, problem


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("policy = 1", "policy must be a table"),
        ("[policy]\ninptu = {}", r"\[policy\]: 'inptu' is not known. Did you mean 'input'"),
        ("[policy.input]\npii = 1", "policy.input.pii must be a table"),
        ('[policy.input]\npii = "deny"', 'policy.input.pii.action must be "flag", "redact" or "block"'),
        ('[policy.input]\npii = "REDACT"', 'policy.input.pii.action must be "flag", "redact" or "block"'),
        ("[policy.input.pii]\nmode = 'shadow'", "policy.input.pii lacks its action"),
        ("[policy.input.pii]\naction = 'flag'\nmode = 'off'", 'policy.input.pii.mode must be "shadow"'),
        ("[policy.input.pii]\naction = 'flag'\non_error = 'x'", 'pii.on_error must be "fail" or "flag"'),
        ("[policy.input.pii]\naction = 'flag'\nacton = 'x'", "'acton' is not known. Did you mean 'action'"),
        ("[policy.input]\n'Pi i' = 'flag'", "a guard's name has the characters"),
        ("[unscannable]\nimgae = 'flag'", "'imgae' is not known. Did you mean 'image'"),
        ("[unscannable]\nimage = 'redact'", 'unscannable.image must be "pass", "flag" or "block"'),
        ("[policy.input]\npii = 'redcat'", r'"block", not "redcat"\.$'),
        (f"[policy.input]\npii = '{SECRET}'", r'"redact" or "block"\.$'),
        ("[policy.input]\npii = '${env:WORD}'", r'"redact" or "block"\.$'),
        ("[unscannable]\nport = 80", r"before the first \[table\]"),
        (
            "[policy.input]\nupstream = 'https://a'",
            r"policy.input.upstream is no rule of a guard. It is a top",
        ),
        ("[policy.input]\npii = 'flag'\ndrain = 5", r"before the first \[table\]"),
        ("limits = 1", "limits must be a table"),
        ("[limits]\nper_adress = '1/day'", "'per_adress' is not known. Did you mean 'per_address'"),
        (
            "[limits]\nper_address = 100",
            "limits.per_address must be one or more rates such .*year, not 100[.]$",
        ),
        *(
            (f"[limits]\nper_key = '{rates}'", f'rates such as .* and a year, not "{rates}"[.]$')
            for rates in (
                *("10/fortnight", "0/minute", "10/min", "1/minute; 2/minute", "5 per 0 minutes", "-1/hour"),
                *("10", "minute", "1 a day", "1/minute;", "1/minute/minute"),
            )
        ),
        *(
            (f"[limits]\nper_key = {found}", "per_key must be one or more rates such as .* and a year[.]$")
            for found in (
                "''",
                "true",
                "[]",
                "'${env:WORD}'",
                f"'{SECRET}'",
                f"'10/{SECRET}'",
                "'12345abcdefg'",
            )
        ),
        ("[limits]\nstorage = 1", "limits.storage must be memory://, or a URL with host and port such as"),
        ("prices = 1", "prices must be a table"),
        ("[prices]\n'gpt-4.1' = 2", "prices.'gpt-4.1' must be a table"),
        (
            "[prices.gpt-4.1]\ninput = 2",
            r"prices.'gpt-4' has tables in it. Quote a name .*\[prices.\"gpt-4.1\"\]",
        ),
        ("[prices.m]\ninput = 2", "prices.'m' lacks 'output', US dollars for a million tokens"),
        ("[prices.m]\ninput = 2\noutput = -1", "prices.'m'.output must be a number from 0"),
        ("[prices.m]\ninput = true\noutput = 1", "prices.'m'.input must be a number from 0"),
        ("[prices.m]\ninput = nan\noutput = 1", "prices.'m'.input must be a number from 0"),
        ("[prices.m]\ninput = inf\noutput = 1", "prices.'m'.input must be a number from 0"),
        ("[prices.m]\ninput = '2'\noutput = 1", "prices.'m'.input must be a number from 0"),
        (
            "[prices.m]\ninput = 2\noutput = 1\ncached = 1",
            "'cached' is not known. Did you mean 'cached_input'",
        ),
        ("store = 1", "store must be a table"),
        ("[store]\nuri = 'x'", r"\[store\]: 'uri' is not known. Did you mean 'url'"),
        (
            "[store]\nurl = '${env:WORD}'",
            r"store.url must be sqlite\+aiosqlite:///FILE, or postgresql\+asyncpg://",
        ),
        ("[store]\nretention = 0", "store.retention must be a number greater than 0"),
        ("[store]\nretention = true", "store.retention must be a number greater than 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, toml: str, message: str) -> None:
    assert re.search(message, problem(tmp_path, toml))


@pytest.mark.parametrize(
    ("storage", "right"),
    [
        *((f"{scheme}://:{SECRET}@x:1", False) for scheme in ("VALKEY", "Valkeys", " valkey", "unix")),
        *((f"{scheme}://user:{SECRET}@x:6379", True) for scheme in ("valkey", "valkeys", "redis", "rediss")),
        *((url, True) for url in ("memory://", "valkey://x:1/0", "valkey://x:1/", "valkey://[::1]:1/15")),
        *((f"valkey://:{SECRET}@{rest}", False) for rest in ("x", "x:0", "x:1/a", "x:1?db=1", "x:1#f", ":1")),
        *(
            (url, False)
            for url in (f"http://{SECRET}@x:1", "memory", "memory://x", "memcached://x:1", SECRET)
        ),
    ],
)
def test_where_requests_are_counted(tmp_path: Path, storage: str, right: bool) -> None:
    toml = f"workers = 2\n[limits]\nstorage = '{storage}'"
    if right:
        settings = load(tmp_path, toml)
        assert settings.limits.storage == storage
        assert SECRET not in repr(settings)
        return
    with pytest.raises(ConfigError, match=r"limits\.storage must be memory://, or a URL") as raised:
        load(tmp_path, toml)
    assert SECRET not in str(raised.value)


def test_prices_are_exact_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    first = "[prices.'gpt-4.1']\ninput = 2.0\noutput = 8\ncached_input = 0.1\n"
    prices = load(tmp_path, f"{first}[prices.'gpt-*']\ninput = 0\noutput = 1e-3").prices
    assert list(prices.items()) == [
        ("gpt-4.1", Price(Decimal("2.0"), Decimal(8), Decimal("0.1"))),
        ("gpt-*", Price(Decimal(0), Decimal("0.001"))),
    ]


def test_a_store_has_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "").store is None
    assert load(tmp_path, "[store]").store == StoreSettings(
        url="sqlite+aiosqlite:///guardproxy.db", retention=2_592_000.0
    )
    toml = "[store]\nurl = 'postgresql://me:${env:WORD}@db/x'\nretention = 60"
    assert load(tmp_path, toml, {"WORD": "secret"}).store == StoreSettings(
        url="postgresql://me:secret@db/x", retention=60.0
    )
