"""How rates are written, and what counts as one address."""

import pytest

from guardproxy.rates import MOST, are_meant, network, parse


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("100/minute", [(100, 60)]),
        ("100 per minute", [(100, 60)]),
        (" 1/Second ", [(1, 1)]),
        ("5/10 minutes", [(5, 600)]),
        ("1000/day; 10/second", [(10, 1), (1000, 86400)]),
        ("1000/day, 10/minute, 100/hour", [(10, 60), (100, 3600), (1000, 86400)]),
        (f"{MOST}/year", [(MOST, 360 * 86400)]),
    ],
)
def test_rates_are_read_the_shortest_first(text: str, read: list[tuple[int, int]]) -> None:
    assert [(rate.amount, rate.get_expiry()) for rate in parse(text)] == read


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "100",
            "minute",
            "100/fortnight",
            "-1/minute",
            "1.5/minute",
            "100/minute;",
            "100/minute/minute",
        ),
        *(
            "0/minute",
            f"{MOST + 1}/minute",
            "5/0 minutes",
            "5 per 0 minutes",
            "1/2 years",
            "1/99999999999 days",
        ),
        *("1/minute; 2/minute", "1/minute; 2/60 seconds", "100/minute\nx"),
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|granularity"):
        parse(text)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert network(address) == counted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *(
            (text, True)
            for text in ("10/fortnight", "100", "1 per 0 minutes;2/day", " 1.5/Minute ", "1 a day")
        ),
        *((text, False) for text in ("", "day", "sk-1", "1234567890123/day", "10/abcdefghijklm", "1/day\n")),
        ("1/day;" * 10 + "1/day", False),
    ],
)
def test_what_looks_like_rates_can_be_shown(text: str, shown: bool) -> None:
    assert are_meant(text) is shown
