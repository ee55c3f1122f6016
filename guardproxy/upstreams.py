"""Which upstream serves a request: the one that the model names, the one of the model's pattern, the default.

Only the configuration says where upstreams are, and only the model says which: no header and no other member
of a request leads anywhere.
"""

import asyncio
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import httpx

from guardproxy.errors import GuardProxyError, InvalidRequest, NoAccounts, NotFound
from guardproxy.settings import Settings
from guardproxy.types import is_text
from guardproxy.upstream import Upstream


class Chosen(NamedTuple):
    """An upstream, and what it calls the model that the client calls `asked`, at `number` of all it names."""

    upstream: Upstream
    model: str | None
    asked: object = None
    number: int = 0


def own_to_one(ways: Sequence[Chosen]) -> list[Chosen]:
    """The ways that take the client's own credential to one upstream alone: the first that has no key."""
    own = next((way.upstream.name for way in ways if way.upstream.api_key is None), None)
    return [way for way in ways if way.upstream.api_key is not None or way.upstream.name == own]


class Upstreams:
    """The upstreams of a deployment, by name."""

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` stands in for the network.

        Raises:
            ConfigError: settings of an upstream that cannot work.
        """
        found = settings.all_upstreams()
        self._by_name = {of.name: Upstream(of, settings, transport) for of in found}
        self._patterns = [(pattern, of.name) for of in found for pattern in of.models]
        self._default = next((of.name for of in found if of.default or len(found) == 1), None)
        self.several = bool(settings.upstreams)  # a model can name one: `openai@gpt-4.1`

    def of_model(self, model: str | None, place: str = "model") -> Chosen:
        """Where a request for `model` goes: to `name` for `name@…`, where that is an upstream's.

        `place` is where the request names it.

        Raises:
            NotFound: no upstream serves the model.
            NoAccounts: the one that does has no key yet.
        """
        name, bare = self._place(model)
        if name is None:
            known = ", ".join(self._by_name)
            raise NotFound(
                f"No upstream serves this model; name one of {known} before it, as in "
                f"'{next(iter(self._by_name))}@MODEL'.",
                param=place,
                code="model_not_found",
            )
        return Chosen(self._usable(name), bare, model)

    def of_models(self, models: Iterable[tuple[str, object]], *, by_name: bool = False) -> list[Chosen]:
        """Where a request for one of `models` can go, in their order, less what nobody can serve.

        Each has the place where the request names it.

        With `by_name` what stands before an `@` must be the name of an upstream.

        Raises:
            NotFound, NoAccounts: of the first, where there is none that can be served.
        """
        found: list[Chosen] = []
        problems: list[GuardProxyError] = []
        for number, (place, model) in enumerate(models):
            try:
                if by_name and is_text(model):
                    self._check_name(model, place)
                chosen = self.of_model(model if is_text(model) else None, place)
            except GuardProxyError as error:
                problems.append(error)
            else:
                found.append(chosen._replace(asked=model, number=number))
        if not found:
            raise problems[0]
        return found

    def of_response(self, name: str | None) -> Upstream:
        """The upstream that is remembered for a response by its `name`, or else the default.

        Raises:
            NotFound: it is not remembered, and there is no default.
            NoAccounts: it has no key yet.
        """
        found = name if name in self._by_name else self._default
        if found is None:
            raise NotFound("There is no default upstream, and it is not known here which one has this.")
        return self._usable(found)

    def _check_name(self, model: str, place: str) -> None:
        name, sign, bare = model.partition("@")
        if sign and not bare:
            raise InvalidRequest("Behind the '@' of this model stands no name; send one.", param=place)
        if sign and not (self.several and name in self._by_name):
            known = ", ".join(self._by_name) if self.several else "none (see [[upstreams]])"
            raise NotFound(
                f"No upstream has the name before the '@' of this model. Upstreams: {known}.",
                param=place,
                code="model_not_found",
            )

    def of_own(self) -> Upstream | None:
        """The one that the client's own credential is for, where no model says so: the only one without a
        key, or the default."""
        own = [upstream for upstream in self._by_name.values() if upstream.api_key is None]
        return next((up for up in own if len(own) == 1 or up.name == self._default), None)

    def usable(self) -> list[Upstream]:
        """All that can be sent a request."""
        return [upstream for upstream in self._by_name.values() if upstream.api_key != ""]

    def name_of(self, upstream: Upstream, model: str) -> str:
        """What a client calls the model that `upstream` calls so."""
        if not self.several or self._place(model) == (upstream.name, model):
            return model
        return f"{upstream.name}@{model}"

    def same(self, model: str, other: str) -> bool:
        """Whether both spell the same model of the same upstream."""
        return model == other or (self.several and self._place(model) == self._place(other))

    def _place(self, model: str | None) -> tuple[str | None, str | None]:
        if model is not None and self.several:
            name, sign, bare = model.partition("@")
            if sign and name in self._by_name:
                return name, bare
            for pattern, name in self._patterns:
                if fnmatchcase(model, pattern):
                    return name, model
        return self._default, model

    def _usable(self, name: str) -> Upstream:
        found = self._by_name[name]
        if found.api_key == "":
            raise NoAccounts(f"The upstream '{name}' has no key yet; set its api_key.")
        return found

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(upstream.aclose() for upstream in self._by_name.values()))
