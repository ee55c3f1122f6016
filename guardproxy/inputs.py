"""Inspect a request's body, and make the body that is forwarded."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from guardproxy import document
from guardproxy.capture import Captured
from guardproxy.document import walk
from guardproxy.errors import GuardProxyError, InvalidRequest, Uninspectable
from guardproxy.rules import Draft, Rule
from guardproxy.shapes import REQUEST
from guardproxy.stage import StageRun
from guardproxy.threads import off_loop
from guardproxy.types import Path, Stage, TextPart, is_text, pointer

OWN = "opper:"  # the type of items that are ours, never the upstream's
# The type as it stands, or with an escaped letter, which no serialiser writes of its own accord.
_MAYBE_OWN = re.compile(rb"opper:|\\u00(?:6[Ff]|70|65|72|3[Aa])")
# What the API repeats of a request in the response. Nothing else may be left unjudged there: a client could
# forward the text that it wants to get, as an `output` or an `error` that the upstream passes over.
_ECHOED = frozenset(
    (
        *("background", "context_management", "conversation", "include", "instructions", "metadata", "model"),
        *("previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning"),
        *("safety_identifier", "service_tier", "text", "tool_choice", "tools", "truncation", "user"),
    )
)


# What guardproxy itself goes by, and other known names: to some upstreams capitals are no difference.
_GOES_BY = _ECHOED | {"input", "messages", "models", "session_id", "store", "stream", "trace"}


class Forwarded(NamedTuple):
    """The body to forward, the texts in it that the response may repeat, and whether the body changed.

    `asked` is the model as the client spelled it, where another name is forwarded.
    """

    body: bytes
    echoes: Mapping[Path, str]
    changed: bool
    asked: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's body, read: its JSON as its front door has it sent on, less our own items.

    `changed`: it is not what came. `moved` says where a part was as it came, by its path now.
    """

    text: str
    value: Mapping[str, Any]
    changed: bool = False
    moved: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def model(self) -> str | None:
        """The model that it asks for, where it names one."""
        return model if is_text(model := self.value.get("model")) else None

    def named(self, *, in_turn: bool) -> Iterator[tuple[str, Any]]:
        """The places where it names models, `model` and then those of `models`, and whatever stands there.

        Where `models` are tried in turn, they can do without a `model`.
        """
        model, others = self.value.get("model"), self.value.get("models")
        if model is not None or not in_turn or others is None or others == []:
            yield "model", model
        if isinstance(others, list):  # there may be millions
            yield from ((f"models[{index}]", other) for index, other in enumerate(others))
        elif others is not None:
            yield "models", others

    def as_sent(self, path: Path) -> Path:
        """Where the part at `path` was as it came."""
        if self.moved:
            for length in range(len(path), 0, -1):
                if (was := self.moved.get(path[:length])) is not None:
                    return (*was, *path[length:])
        return path


def stripped(body: bytes) -> bytes:
    """`body` less our own items in `input`; nothing else is looked at, and nothing raises."""
    if not _MAYBE_OWN.search(body):
        return body
    try:
        text = document.decode(body)
        new = without_own(text, document.parse(text), "input")
    except GuardProxyError:
        return body
    return body if new is text else new.encode()


async def read(body: bytes, rules: Sequence[Rule] = ()) -> Asked:
    """The request in `body`, in the form that `rules` give it.

    Raises:
        InvalidRequest: there is none, it is no JSON object or one that could be read in two ways, or a
            rule refuses it.
    """
    return await off_loop(len(body), _read, body, rules)


async def inspect(
    run: StageRun | None,
    asked: Asked,
    unscannable: Mapping[str, str],
    observe: Callable[[Mapping[str, Any]], None] = lambda _: None,
    *,
    echoed: bool = True,
) -> Forwarded:
    """Run the guards of the input over what is `asked`; without a run, only see what is there.

    `observe` gets its members less those in which something was found. One that is not `echoed` has no
    echoes.

    Raises:
        InvalidRequest: it cannot be inspected.
        GuardProxyError: a guard failed.
    """
    text, value = asked.text, asked.value
    walked = await off_loop(len(text), walk, value, REQUEST)
    parts = walked.parts
    found: set[Path] = set()
    texts: Mapping[Path, str] = {}
    new = text
    if run is not None:
        place = asked.as_sent
        if run.captures:
            run.captured = Captured(Stage.INPUT, text, parts, place)
        run.count(parts, walked.skipped)
        run.unscannable(walked.skipped, unscannable)
        hits = await run.hits(parts, run.enforced, joined=True)
        run.watch(parts, place, value)
        edits = run.apply(parts, hits, place, value)
        found = {part.path for part, of_part in zip(parts, hits, strict=True) if of_part}
        if edits and not run.blocked:
            _check_sealed(run, asked, edits)
            new = await off_loop(len(text), edits.apply, text)
            texts = edits.texts
    observe(_less(value, found))
    echoes = {p.path: texts.get(p.path, p.text) for p in parts if echoed and p.path and p.path[0] in _ECHOED}
    return Forwarded(new.encode(), echoes, asked.changed or new is not text)


def renamed(forwarded: Forwarded, number: int, asked: object, model: str | None, *, picks: bool) -> Forwarded:
    """`forwarded` as it is sent for a model by another name; with `picks` for the one at `number` alone.

    The client called it `asked`, the upstream calls it `model`. A model that was redacted stays so.
    """
    text = document.decode(forwarded.body)
    now = Asked(text, document.parse(text))
    if not picks:
        if now.model != asked or model is None or model == asked:
            return forwarded
        edits = document.Edits()
        edits.put((), "model", document.dumps(model), True)
        body = edits.apply(text)
    else:
        name = [named for _, named in now.named(in_turn=True)][number]
        model = model if name == asked else name
        others = {key: member for key, member in now.value.items() if key != "models"}
        body = document.rendered(others if model is None else {**others, "model": model})
    echoes = {**forwarded.echoes, ("model",): model or ""} if forwarded.echoes else {}
    return Forwarded(body.encode(), echoes, True, now.model if now.model == asked else None)


async def clean_label(run: StageRun, name: str, value: str | None) -> str | None:
    """The value of a client's label (a header such as X-Opper-Name); None where a guard found something.

    Raises:
        GuardProxyError: a guard failed.
    """
    if value is None:
        return None
    parts = [TextPart((name,), value)]
    hits = await run.hits(parts, run.enforced)
    run.watch(parts)
    run.apply(parts, hits)
    return None if hits[0] else value


async def inspect_query(run: StageRun, query: bytes) -> None:
    """Inspect the values of a query; they go on as they came, or not at all.

    Raises:
        InvalidRequest: one would have to be redacted.
        GuardProxyError: a guard failed.
    """
    values = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    parts = [TextPart((f"?{name}",), value) for name, value in values if value]
    hits = await run.hits(parts, run.enforced)
    run.watch(parts)
    run.apply(parts, hits)
    for part, of_part in zip(parts, hits, strict=True):
        if run.found.ranges(of_part) and not run.blocked:
            name = str(part.path[0]).removeprefix("?")
            raise InvalidRequest(
                f"The query's '{name}' would have to be redacted, and cannot be; leave it out.",
                param=pointer(part.path),
                code="uninspectable",
            )


def _read(body: bytes, rules: Sequence[Rule]) -> Asked:
    if not body:
        raise InvalidRequest("The request has no body; send a JSON object.")
    text = document.decode(body)
    value = document.parse(text)
    if not isinstance(value, dict):
        raise Uninspectable("The body is no JSON object; send a Responses request.")
    for name in value:
        if name not in _GOES_BY and (meant := name.casefold()) in _GOES_BY:
            raise InvalidRequest(f"A member's name has capitals; write '{meant}'.", param=meant)
    new, shifts = text, dict[Path, Path]()
    if own := _own(value, "input"):
        new = document.without(text, ("input",), own)
        kept = (index for index in range(len(value["input"])) if index not in own)
        shifts = {("input", now): ("input", was) for now, was in enumerate(kept) if now != was}
        value = document.parse(new)
    draft = Draft(value)
    for rule in rules:
        rule(draft)
    if draft.changed:
        new = document.rendered(value)
    elif draft.added:
        new = document.with_first(new, {name: document.dumps(value) for name, value in draft.added.items()})
    return Asked(new, value, new is not text, _composed(draft.moved, shifts))


def _composed(moved: Mapping[Path, Path], shifts: Mapping[Path, Path]) -> Mapping[Path, Path]:
    """Where parts were as they came, that were `moved` after items had been taken from before them."""
    if not shifts:
        return moved
    before = {now: (*shifts.get(was[:2], was[:2]), *was[2:]) for now, was in moved.items()}
    # Rules that move items say of each one where it was.
    return before if any(path[:1] == ("input",) for path in moved) else {**shifts, **before}


def _less(value: Mapping[str, Any], found: Collection[Path]) -> dict[str, Any]:
    """The members of `value` in which nothing was found; of an object, its members."""
    heads = {path[0] for path in found}
    inner = {path[:2] for path in found}
    less = {name: member for name, member in value.items() if name not in heads}
    for name in heads:
        if isinstance(name, str) and isinstance(member := value.get(name), dict):
            less[name] = {key: kept for key, kept in member.items() if (name, key) not in inner}
    return less


def without_own(text: str, value: Any, name: str) -> str:
    """`text`, whose value is `value`, less the items of ours in the list that is its member `name`."""
    own = _own(value, name)
    return document.without(text, (name,), own) if own else text


def _own(value: Any, name: str) -> set[int]:
    """The indexes of the items of ours in the list that is the member `name`."""
    items = value.get(name) if isinstance(value, dict) else None
    return {index for index, item in enumerate(items) if is_own(item)} if isinstance(items, list) else set()


def is_own(item: Any) -> bool:
    """Whether an item is one of ours, such as those of the report."""
    kind = item.get("type") if isinstance(item, dict) else None
    return isinstance(kind, str) and kind.startswith(OWN)


def _check_sealed(run: StageRun, asked: Asked, edits: document.Edits) -> None:
    """A redaction next to `encrypted_content` blocks: the sealed copy still says what was removed.

    Raises:
        InvalidRequest: names the item, and says to drop it.
    """
    for path in edits.texts:
        item: Any = asked.value
        for depth, step in enumerate(document.outer(path)):
            sealed = isinstance(item, dict) and isinstance(item.get("encrypted_content"), str)
            if sealed and step != "encrypted_content":
                place = run.found.shown(pointer(asked.as_sent(path[:depth])))
                run.found.blocked = True
                raise InvalidRequest(
                    f"The item at {place} would have to be redacted, but its encrypted_content cannot be; "
                    "drop the item.",
                    param=place,
                    code="guardrail_violation",
                )
            if isinstance(step, str | int):
                item = item[step] if not isinstance(item, str) else item
