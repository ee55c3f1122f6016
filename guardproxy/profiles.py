"""The dialects that front doors speak, as data, and the doors that there are without being set."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardproxy import members
from guardproxy.coercion import coerced, no_file_ids
from guardproxy.errors import GuardProxyError, ModelNotAllowed
from guardproxy.members import Completion
from guardproxy.rules import (
    AtMost,
    Default,
    Dropped,
    Each,
    Few,
    OfType,
    OneOf,
    OnlyFalse,
    Pairs,
    Refused,
    Required,
    Rule,
    ToolTypes,
    nested_tools,
)


class Form(enum.StrEnum):
    """How the client is told: a field of the response, items in its output, or not at all."""

    FIELDS = "fields"
    ITEMS = "items"
    NONE = "none"


class Envelope(enum.Enum):
    """How an error is wrapped: in a member `error`, as OpenAI does, or not at all."""

    NESTED = "nested"
    FLAT = "flat"


class Keeps(enum.Enum):
    """What is kept in the store: responses with `store: true`, or the turns of a `conversation`."""

    RESPONSES = "responses"
    TURNS = "turns"


@dataclass(frozen=True, slots=True)
class Profile:
    """One dialect: what its requests must be, how it reports and fails, and where its requests go.

    `target` is below the upstream's base. `rules` are called in their order. `codes` are the codes that the
    dialect has for ours. With `falls_back`, `models` are models to try in turn. With `observes`, members
    of a request for traces are noted: `session_id` (or the header `x-session-id`) and `trace`. With
    `own_errors` the upstream's errors come in this envelope, too, and with `bad_gateway` its 5xx are 502.
    With `by_name` what stands before an `@` in a model must be the name of an upstream. `completion` says
    which members its responses have; without one, answers are left as they come. With `tells_cost` whole
    answers have the header `X-Opper-Cost`, where the cost is known. `keeps` is what it keeps in the store.
    `refusal` is what it says of a model that a key may not use, with `{model}`. `per_address` and `per_key`
    are the rates (rates.py) of requests where the deployment sets none.
    """

    name: str
    form: Form
    target: str = "/responses"
    rules: tuple[Rule, ...] = ()
    envelope: Envelope = Envelope.NESTED
    codes: Mapping[str, str] = field(default_factory=dict)
    falls_back: bool = False
    observes: bool = False
    own_errors: bool = False
    bad_gateway: bool = False
    by_name: bool = False
    keeps: Keeps | None = None
    refusal: str | None = None
    per_address: str | None = None
    per_key: str | None = None
    completion: Completion | None = None
    tells_cost: bool = False

    def rules_of(self, *, creates: bool) -> tuple[Rule, ...]:
        """The rules of a request that `creates` a response; any other one has no defaults to be sent."""
        return self.rules if creates else tuple(r for r in self.rules if not isinstance(r, Default))

    def told(self, error: GuardProxyError) -> dict[str, Any]:
        """The body of the answer to `error`."""
        inner: dict[str, Any] = error.envelope["error"]
        inner["code"] = self.codes.get(inner["code"], inner["code"])
        if self.refusal is not None and isinstance(error, ModelNotAllowed) and error.model is not None:
            inner["message"] = self.refusal.format(model=error.model)
        return inner if self.envelope is Envelope.FLAT else {"error": inner}


LONGEST_SESSION: Final = 256  # characters
MOST_MODELS: Final = 16  # in turn: each may be a call, and the limits count the request
OPENRESPONSES: Final = Profile("openresponses", Form.FIELDS)
OPPER: Final = Profile("opper", Form.ITEMS, completion=members.OPPER, tells_cost=True)
OPENROUTER: Final = Profile(
    "openrouter",
    Form.FIELDS,
    rules=(
        OfType("input", ("a string", "a list of objects")),
        Pairs("metadata", 16, 64, 512),
        AtMost("user", 256),
        AtMost("session_id", LONGEST_SESSION),
        OnlyFalse("store"),
        Default("store", False),
        OfType("models", ("a list of strings",)),
        Few("models", MOST_MODELS),
        OfType("provider", ("an object",)),
        OfType("plugins", ("a list of objects",)),
        OfType("trace", ("an object",)),
    ),
    falls_back=True,
    observes=True,
    completion=members.OPENROUTER,
)
GATEWAY: Final = Profile(
    "gateway",
    Form.FIELDS,
    rules=(
        Required("model"),
        OneOf(("input", "messages")),
        OfType("instructions", ("a string",)),
        OfType("conversation", ("a string that is not empty",)),
        Refused("previous_response_id", "use 'conversation' for context over several turns"),
        OnlyFalse("store"),
        Default("store", False),
        Refused("truncation", "leave it out"),
        Each(
            "include",
            (
                "code_interpreter_call.outputs",
                "computer_call_output.output.image_url",
                "file_search_call.results",
                "message.input_image.image_url",
                "message.output_text.logprobs",
                "reasoning.encrypted_content",
                "web_search_call.action.sources",
            ),
        ),
        nested_tools,
        ToolTypes(("function", "web_search"), {"web_search_preview": "web_search"}),
        no_file_ids,
        coerced,
        Dropped(("safety_identifier", "prompt_cache_retention", "temperature", "max_output_tokens")),
    ),
    codes={"invalid_request": "invalid_request_error"},
    own_errors=True,
    bad_gateway=True,
    keeps=Keeps.TURNS,
    refusal="This API key does not have access to model '{model}'",
    completion=members.GATEWAY,
)
JULEP: Final = Profile(
    "julep",
    Form.FIELDS,
    rules=(nested_tools, OfType("store", ("true or false",)), Default("store", False)),
    envelope=Envelope.FLAT,
    codes={"rate_limit_exceeded": "rate_limit"},
    own_errors=True,
    by_name=True,
    keeps=Keeps.RESPONSES,
    per_address="100/minute",
    per_key="1000/day",
    completion=members.JULEP,
)
PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile for profile in (OPENRESPONSES, OPPER, OPENROUTER, GATEWAY, JULEP)
}
MAIN: Final = "/v1/responses"  # the door whose profile is a scalar
DOORS: Final[Mapping[str, Profile]] = {
    MAIN: OPENRESPONSES,
    "/v3/compat/openresponses": OPPER,
    "/v3/compat/responses": OPPER,
    "/api/v1/responses": OPENROUTER,
}
