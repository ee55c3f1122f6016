"""Remember the policy that a response was made under, until somebody asks for the response again.

By digest of the response's id, whoever asks: a credential can be spelled in many ways, ids are the
provider's and cannot be guessed, and a policy can only tighten. For a day, bounded in bytes, in this
process alone. The oldest is forgotten first, so what must always hold belongs into the deployment's floor.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from guardproxy.exchange import Exchange
from guardproxy.routes import Route
from guardproxy.types import Policy, Rule, Stage

KEPT = 24 * 3600.0  # seconds
SIZE = 32 * 1024 * 1024  # bytes: about 80,000 responses
# What they cost in CPython 3.11 on 64 bits, rounded up (tests/test_memory.py measures): a response's
# slot, list node, digest and tuple; a policy with its dictionaries; one of its rules.
ENTRY_BYTES = 400
POLICY_BYTES = 1200
RULE_BYTES = 500

_Rules: TypeAlias = tuple[tuple[Stage, str, Rule], ...]


@dataclass(slots=True, eq=False)
class _Shared:
    """A policy, kept once for all the responses that were made under it."""

    rules: _Rules
    policy: Policy
    upstream: str | None
    uses: int = 0

    @property
    def cost(self) -> int:
        return POLICY_BYTES + RULE_BYTES * len(self.rules)


class PolicyMemory:
    """Policies by response id, of which a digest is kept."""

    def __init__(self, size: int = SIZE, now: Callable[[], float] = time.monotonic) -> None:
        """Hold at most about `size` bytes; `now` tells the seconds."""
        self.size = size
        self.used = 0
        self._now = now
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, tuple[float, _Shared]] = OrderedDict()
        self._shared: dict[tuple[_Rules, str | None], _Shared] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def remember(self, response_id: str, policy: Policy, upstream: str | None = None) -> None:
        """Keep `policy`, and the upstream's name. The policy of a known response is only tightened."""
        self._expire()
        digest = self._digest(response_id)
        policy = self._pop(digest).join(policy)
        rules = tuple((stage, name, rule) for stage in Stage for name, rule in policy.stage(stage).items())
        shared = self._shared.get((rules, upstream))
        if shared is None:
            shared = self._shared[rules, upstream] = _Shared(rules, policy, upstream)
            self.used += shared.cost
        shared.uses += 1
        self._entries[digest] = (self._now() + KEPT, shared)
        self.used += ENTRY_BYTES
        while self.used > self.size:
            self._pop(next(iter(self._entries)))

    def recall(self, response_id: str) -> Policy:
        """The policy; an empty one when none is known."""
        self._expire()
        found = self._entries.get(self._digest(response_id))
        return found[1].policy if found else Policy()

    def upstream(self, response_id: str) -> str | None:
        """The name of the upstream that has the response; None when it is not known."""
        self._expire()
        found = self._entries.get(self._digest(response_id))
        return found[1].upstream if found else None

    def _digest(self, response_id: str) -> bytes:
        data = response_id.encode("utf-8", "replace")
        return hashlib.blake2b(data, digest_size=16, key=self._key).digest()

    def _expire(self) -> None:
        now = self._now()
        while self._entries:
            digest, (end, _) = next(iter(self._entries.items()))
            if end > now:
                return
            self._pop(digest)

    def _pop(self, digest: bytes) -> Policy:
        entry = self._entries.pop(digest, None)
        if entry is None:
            return Policy()
        shared = entry[1]
        self.used -= ENTRY_BYTES
        shared.uses -= 1
        if not shared.uses:
            del self._shared[shared.rules, shared.upstream]
            self.used -= shared.cost
        return shared.policy


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of the response that one exchange makes or asks for.

    `owner` is whose responses are here, where the front door keeps them: what is another's is not known.
    """

    memory: PolicyMemory
    route: Route
    response_id: str | None  # of the path
    owner: str | None = None

    def policy(self) -> Policy:
        """The policy that the response was made under; an empty one when it is not known."""
        if not self.response_id:
            return Policy()
        is_here = self.owner is not None and self.route.method != "POST"
        return self.memory.recall(self._owned(self.response_id) if is_here else self.response_id)

    def upstream(self) -> str | None:
        """The name of the upstream that has the response, where it is one of several and known."""
        return self.memory.upstream(self.response_id) if self.response_id else None

    def learned(self, exchange: Exchange, response_id: object) -> None:
        """Call it with the id of a response that is made, whatever it is, before the client learns it."""
        wanted = exchange.upstream is not None or not exchange.policy.empty
        if self.route.remembers and isinstance(response_id, str) and wanted:
            self.memory.remember(response_id, exchange.policy, exchange.upstream)
            if self.owner is not None:
                self.memory.remember(self._owned(response_id), exchange.policy)

    def _owned(self, response_id: str) -> str:
        return f"{self.owner} {response_id}"
