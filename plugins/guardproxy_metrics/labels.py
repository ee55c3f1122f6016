"""The values of attributes: from closed sets, or cut off where others choose them."""

import re
from typing import Final

from guardproxy import Exchange
from guardproxy_tracing import attributes as facts

OTHER: Final = "_OTHER"
MOST_MODELS = 50
MOST_CATEGORIES = 200
MOST_CODES = 100  # of errors, and routes: the core has fewer of each
_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# Of these the upstream is the cause.
_UPSTREAM_ERRORS = frozenset({"upstream_error", "upstream_timeout", "client_disconnected", "response_failed"})


class Bounded:
    """The first `most` values stand for themselves, all others for `_OTHER`: no client makes more series."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def admit(self, value: str) -> str:
        """`value`, from now on too, while there is room."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value

    def known(self, value: str) -> str:
        """`value` if it was admitted."""
        return value if value in self._known else OTHER


class Labels:
    """What attributes say of exchanges and guards; one for all instruments of a process."""

    def __init__(self) -> None:
        self._models = Bounded(MOST_MODELS)
        self._categories = Bounded(MOST_CATEGORIES)
        self._codes = Bounded(MOST_CODES)
        self._routes = Bounded(MOST_CODES)

    def model(self, exchange: Exchange, status: int | None) -> str:
        """The model asked for: one that an upstream has answered for, and that no guard found a thing in."""
        name = facts.model(exchange)
        if name is None:
            return OTHER
        answered = status is not None and 200 <= status < 300
        return self._models.admit(name) if answered else self._models.known(name)

    def category(self, category: str) -> str:
        """A finding's category, where it is spelled like one."""
        return self._categories.admit(category) if _CATEGORY.fullmatch(category) else OTHER

    def route(self, exchange: Exchange) -> str:
        """The template of the path."""
        return self._routes.admit(facts.route(exchange) or OTHER)

    def error(self, exchange: Exchange) -> str | None:
        """The code of what stopped an exchange, or what was wrong with its answer; a block is no error."""
        if exchange.outcome == "blocked" or exchange.error_code is None:
            return None
        return self._codes.admit(facts.label(exchange.error_code) or OTHER)

    def upstream_error(self, exchange: Exchange, status: int | None, code: str | None) -> str | None:
        """What was wrong with the call of an upstream that answered `status`, or failed with `code`."""
        if code is None and exchange.error_code in _UPSTREAM_ERRORS:
            code = exchange.error_code
        if code is not None:
            return self._codes.admit(facts.label(code) or OTHER)
        return str(status) if status is not None and status >= 400 else None


def status_class(status: int | None) -> str:
    """`2xx` for 200; `none` where the client left before there was a status."""
    return "none" if status is None else f"{status // 100}xx"
