"""Who the client is: its own credential for the upstream, or one of the deployment's `[[keys]]`. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from guardproxy import document
from guardproxy.document import Number
from guardproxy.errors import InvalidRequest, Unauthorized
from guardproxy.headers import lower_headers
from guardproxy.settings import ClientKey, Settings

_CREDENTIALS = ("authorization", "api-key", "x-api-key")


def digest(headers: Mapping[str, str]) -> str | None:
    """SHA-256, in hexadecimal digits, of the bearer token or API key that came; None: none came."""
    given = _token(headers) or headers.get("api-key") or headers.get("x-api-key")
    # It may be looked up and shown in part: an attacker cannot choose it byte by byte, nor go back from it.
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest() if given else None


def _token(headers: Mapping[str, str]) -> str:
    return headers.get("authorization", "").partition(" ")[2].strip()


class Credentials:
    """The deployment's rules about credentials."""

    def __init__(self, settings: Settings) -> None:
        self._keys = {key.sha256.lower(): key for key in settings.keys}
        passes = any(upstream.api_key is None for upstream in settings.all_upstreams())
        self._needed = settings.auth == "required" and passes

    def authorization(self, api_key: str | None) -> str | None:
        """What an upstream with this key gets instead of the client's credential; None: that itself.

        A key of ours is nothing that an upstream may see.
        """
        return f"Bearer {api_key}" if api_key else ("" if self._keys else None)

    def identify(self, headers: Mapping[str, str]) -> ClientKey | None:
        """The key that the client presented; None where the deployment has none.

        Raises:
            Unauthorized: a credential is missing, or is none of the deployment's.
        """
        if self._keys:
            scheme = headers.get("authorization", "").partition(" ")[0]
            found = self._keys.get(digest(headers) or "") if _token(headers) else None
            if scheme.lower() != "bearer" or found is None:
                raise Unauthorized(
                    "The API key is missing or not known here; send 'Authorization: Bearer <key>' with a key "
                    "of this guardproxy.",
                    param="Authorization",
                )
            return found
        if self._needed and not any(headers.get(name) for name in _CREDENTIALS):
            raise Unauthorized(
                "The request has no credential; send 'Authorization: Bearer <the provider's API key>'.",
                param="Authorization",
            )
        return None


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent a request: the name of its key in `[[keys]]`, and an `id` that no other credential has.

    `id` is a digest, no secret and no name: for telling clients apart, not for showing. Where no
    credential is needed, all that send none are one client.
    """

    name: str | None
    id: str


def identify(settings: Settings, headers: Iterable[tuple[bytes, bytes]]) -> Client:
    """Who sent a request with these headers (raw pairs, as ASGI has them), by the rule for exchanges.

    Raises:
        Unauthorized: a credential is missing, or is none of the deployment's.
    """
    found = lower_headers(tuple(headers))
    if key := Credentials(settings).identify(found):
        return Client(key.name, key.sha256.lower())
    scheme = found.get("authorization", "").partition(" ")[0]
    # The same credential is the same client, however its scheme is spelled and whatever blanks follow.
    given = (f"{scheme.lower()} {_token(found)}", *(found.get(name, "") for name in _CREDENTIALS[1:]))
    return Client(None, hashlib.sha256("\n".join(given).encode("utf-8", "replace")).hexdigest())


def check_model(
    key: ClientKey | None, body: bytes, same: Callable[[str, str], bool] = lambda one, other: one == other
) -> None:
    """Refuse a model that the key may not use, as `model` or as one of `models`.

    `same` tells whether two names are of one model.

    Raises:
        InvalidRequest: names the models that it may use; or the body could name two models.
    """
    if key is None or key.allowed_models is None:
        return
    # Strictly: a `model` that occurs twice would be whichever one likes.
    asked = document.parse(document.decode(body))
    models = [asked.get("model")] if isinstance(asked, dict) else [None]
    if isinstance(asked, dict) and (others := asked.get("models")) is not None:
        models += others if isinstance(others, list) else [others]
    # A number is no name, whatever its digits.
    names = [name if isinstance(name, str) and not isinstance(name, Number) else None for name in models]
    if not all(name and any(same(name, allowed) for allowed in key.allowed_models) for name in names):
        raise InvalidRequest(
            f"The key '{key.name}' may not use this model. Allowed: {', '.join(key.allowed_models)}.",
            param="model",
            code="model_not_allowed",
        )
