"""The guard `secrets`: keys, tokens, passwords and private keys."""

from collections.abc import Iterable

from guardproxy import Guard, hookimpl
from guardproxy_secrets.context import Contexts
from guardproxy_secrets.pem import PrivateKeys
from guardproxy_secrets.tokens import Tokens

__all__ = ["Contexts", "PrivateKeys", "Tokens"]


@hookimpl
def guardproxy_register_guards() -> Iterable[Guard]:
    """The guard, for both stages."""
    detectors = (Tokens(), Contexts(), PrivateKeys())
    return [Guard("secrets", detectors, summary="Keys, tokens, passwords and private keys")]
