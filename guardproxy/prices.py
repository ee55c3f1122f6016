"""What an answer cost, by the prices that a deployment knows. Pure.

What is not known has no cost: a model without a price, and an answer that does not say its tokens.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

_PER = 10**6  # tokens that a price is for
# The release of a model at the end of its name: 2025-04-14, 20250414, 0613.
_DATE = re.compile(r"-(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4})\Z")
_LATEST = "-latest"


class Price(msgspec.Struct, frozen=True):
    """US dollars for a million tokens. Without `cached_input` cached tokens cost what others do."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None


def cost(
    prices: Mapping[str, Price], answered: str | None, asked: str | None, usage: Mapping[str, int]
) -> Decimal | None:
    """The cost of an answer in US dollars; None where it is not known.

    It is that of the model that `answered`, or else of the one that was `asked` for. `prices` are by the
    model's name or by a pattern.
    """
    price = of_model(prices, answered) or of_model(prices, asked)
    given, made = usage.get("input_tokens"), usage.get("output_tokens")
    if price is None or given is None or made is None:
        return None
    cached = min(usage.get("cached_tokens", 0), given) if price.cached_input is not None else 0
    total = price.input * (given - cached) + price.output * made
    return (total + (price.cached_input or 0) * cached) / _PER


def of_model(prices: Mapping[str, Price], model: str | None) -> Price | None:
    """The price of `model`: by its name, by its name without a date, or by the first pattern that fits."""
    if model is None:
        return None
    return next((prices[name] for name in _names(prices, model) if name in prices), None)


def _names(prices: Mapping[str, Price], model: str) -> Iterator[str]:
    yield model
    yield _DATE.sub("", model)
    yield from (pattern for pattern in prices if fnmatchcase(model, pattern))


def plain(amount: Decimal) -> str:
    """`amount` in digits, without an exponent or zeros at its end."""
    digits = f"{amount:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def is_same(asked: str, answered: str) -> bool:
    """Whether both name one model: a date that only one of them has says which release it is."""
    asked, answered = (name.lower().removesuffix(_LATEST) for name in (asked, answered))
    first, second = _DATE.sub("", asked), _DATE.sub("", answered)
    return first == second and (asked in (first, answered) or answered == second)
