"""How rates are written, such as `100/minute; 1000/day`, and what counts as one address. Pure."""

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limits import RateLimitItem

MOST = 1_000_000  # each request of a window is remembered until it leaves it
LONGEST = 366 * 24 * 3600  # seconds
RIGHT_RATES = (
    "one or more rates such as '100/minute' or '10/second; 1000/day', each of another length, of at most "
    f"{MOST:,} requests and a year"
)
_NUMBER = r"[-+]?[0-9.]{1,12}\s*"
_RATE = rf"\s*{_NUMBER}(?:(?:/|per\b|an?\b)\s*(?:{_NUMBER})?[A-Za-z]{{1,12}}\s*){{0,2}}"
_LIKE_RATES = re.compile(rf"{_RATE}(?:[;,]{_RATE})*[;,]?\s*")
_NETWORK = 64  # bits; one host has all addresses of such a network
_NO_TIME = re.compile(r"(?:/|per)\s*0+\s*[a-z]", re.IGNORECASE)  # the library takes it for 1


@lru_cache(maxsize=1024)
def parse(text: str) -> "tuple[RateLimitItem, ...]":
    """The rates that `text` says, the shortest first.

    Raises:
        ValueError: it is not `RIGHT_RATES`.
    """
    from limits import parse_many  # which takes a third of a second that nobody without limits shall wait

    rates = sorted(parse_many(text), key=lambda rate: rate.get_expiry())
    lengths = [rate.get_expiry() for rate in rates]
    right = all(1 <= rate.amount <= MOST for rate in rates) and lengths[-1] <= LONGEST
    if not right or len(set(lengths)) < len(lengths) or _NO_TIME.search(text):
        raise ValueError(RIGHT_RATES)
    return tuple(rates)


def are_meant(text: str) -> bool:
    """Whether `text` looks like rates, right or wrong, and so can be shown: else it may be a key."""
    return len(text) <= 64 and text.isprintable() and bool(_LIKE_RATES.fullmatch(text))


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """What counts as one address: that of IPv4, or the network of IPv6 (/64), which one host has whole."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        free = 128 - _NETWORK
        return f"{IPv6Address(int(found) >> free << free)}/{_NETWORK}"
    return str(found)
