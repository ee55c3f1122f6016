"""Request limits: how many requests one address, and one key, may send."""

from limits import RateLimitItem

from guardproxy.counters import Count, Counters
from guardproxy.errors import RateLimited
from guardproxy.exchange import Exchange
from guardproxy.profiles import Profile
from guardproxy.rates import network, parse
from guardproxy.settings import ClientKey, LimitSettings

# draft-ietf-httpapi-ratelimit-headers-11
POLICY, STATE = "RateLimit-Policy", "RateLimit"


class Limits:
    """Counts requests, and refuses those that are over a rate. The response says how many are left."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._counters = Counters(settings.storage)

    async def count_address(self, exchange: Exchange, address: str, profile: Profile | None) -> None:
        """Count a request of `address` at a front door with `profile`, or elsewhere (None).

        Raises:
            RateLimited: it is over a rate.
            LimitsUnavailable: it cannot be counted.
        """
        rates = self._settings.per_address or (profile and profile.per_address)
        if rates:
            await self._count(exchange, rates, "address", network(address))

    async def count_key(
        self, exchange: Exchange, key: ClientKey | None, digest: str | None, profile: Profile | None
    ) -> None:
        """Count a request that bears `key`, or another credential with this `digest` (None: none at all).

        Raises:
            RateLimited: it is over a rate.
            LimitsUnavailable: it cannot be counted.
        """
        rates = (key and key.limits) or self._settings.per_key or (profile and profile.per_key)
        if rates:
            who = ("key", key.name) if key else ("credential", digest or "none")
            await self._count(exchange, rates, *who)

    async def aclose(self) -> None:
        """Close the connections to the storage."""
        await self._counters.aclose()

    async def _count(self, exchange: Exchange, rates: str, kind: str, name: str) -> None:
        subject = "address" if kind == "address" else "key"
        for rate in parse(rates):  # the shortest first: what it refuses does not count for a whole day
            count = await self._counters.count(rate, kind, name)
            _tell(exchange, subject, rate, count)
            if not count.passed:
                unit = f"{rate.multiples} {rate.GRANULARITY.name}s"
                unit = rate.GRANULARITY.name if rate.multiples == 1 else unit
                raise RateLimited(
                    f"Rate limit exceeded: {rate.amount} per {unit} for this {subject}. "
                    f"Please try again in {count.seconds} second{'s' if count.seconds > 1 else ''}.",
                    headers={"retry-after": str(count.seconds)},
                )


def _tell(exchange: Exchange, subject: str, rate: RateLimitItem, count: Count) -> None:
    each = f"{rate.multiples}-{rate.GRANULARITY.name}s" if rate.multiples > 1 else rate.GRANULARITY.name
    for field, parameters in (
        (POLICY, f"q={rate.amount};w={rate.get_expiry()}"),
        (STATE, f"r={count.left};t={count.seconds}"),
    ):
        told = exchange.response_headers.get(field)
        entry = f'"{subject}-per-{each}";{parameters}'
        exchange.response_headers[field] = f"{told}, {entry}" if told else entry
