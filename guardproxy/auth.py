"""Who the client is: its own credential for the upstream, or one of the deployment's `[[keys]]`. Pure."""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from guardproxy.errors import ModelNotAllowed, Unauthorized
from guardproxy.headers import lower_headers
from guardproxy.settings import ClientKey, Settings
from guardproxy.shapes import GRAMMAR
from guardproxy.types import is_text

_CREDENTIALS = ("authorization", "api-key", "x-api-key")
_SCHEMES = ("bearer", "basic")


def digest(headers: Mapping[str, str]) -> str | None:
    """SHA-256, in hexadecimal digits, of the bearer token or API key that came; None: none came."""
    given = _token(headers) or headers.get("api-key") or headers.get("x-api-key")
    # It may be looked up and shown in part: an attacker cannot choose it byte by byte, nor go back from it.
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest() if given else None


def _token(headers: Mapping[str, str]) -> str:
    given = headers.get("authorization", "").strip()
    scheme, *token = given.split(None, 1) or ("",)
    # There are upstreams that take a key without a scheme.
    return token[0] if token else ("" if scheme.lower() in _SCHEMES else given)


def tenant(key: ClientKey | None, headers: Mapping[str, str]) -> str:
    """Whose a request is: the holder of `key`, or of all the credentials in `headers`.

    An upstream may go by any of them, and a client may put a word that stands for none into the others.
    All clients without one are one.
    """
    if key is not None:
        return f"key:{key.name}"
    given = (_token(headers), *(headers.get(name, "") for name in _CREDENTIALS[1:]))
    all_of_them = "\n".join(given).encode("utf-8", "replace")
    return f"credential:{hashlib.sha256(all_of_them).hexdigest()}" if any(given) else "none"


class Credentials:
    """The deployment's rules about credentials."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [(key.sha256.lower(), key) for key in settings.keys]
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
            found = self._key(digest(headers) or "") if _token(headers) else None
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

    def _key(self, given: str) -> ClientKey | None:
        # All are compared, each to its end: how long it takes tells of no key how much of it was right.
        found = [key for known, key in self._keys if hmac.compare_digest(known, given)]
        return found[0] if found else None


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


def may_use(key: ClientKey | None, model: object, same: Callable[[str, str], bool]) -> bool:
    """Whether the client with this key may use the model; `same` tells whether two names are of one."""
    if key is None or key.allowed_models is None:
        return True
    # A number is no name, whatever its digits.
    return is_text(model) and bool(model) and any(same(model, allowed) for allowed in key.allowed_models)


def check_models(
    key: ClientKey | None,
    models: Iterable[tuple[str, object]],
    same: Callable[[str, str], bool] = lambda one, other: one == other,
) -> None:
    """Refuse models, each with the place where a request names it, that the key may not use.

    `same` tells whether two names are of one model.

    Raises:
        ModelNotAllowed: names the models that it may use, and the place of the one that it may not.
    """
    if key is None or key.allowed_models is None:
        return
    for place, model in models:
        if not may_use(key, model, same):
            allowed = ", ".join(key.allowed_models or ())
            problem = (
                f"The request names no model, and the key '{key.name}' may not use every one."
                if model is None
                else f"The key '{key.name}' may not use this model."
            )
            raise ModelNotAllowed(
                f"{problem} Allowed: {allowed}.",
                param=place,
                model=model if is_text(model) and GRAMMAR.fullmatch(model) else None,
            )
