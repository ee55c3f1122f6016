"""The values that flow through guardproxy: what plugins return and what the core decides. No I/O."""

import abc
import enum
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

JSON: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None


class Stage(enum.StrEnum):
    """Where a guard looks: at what goes to the upstream, or at what comes back."""

    INPUT = "input"
    OUTPUT = "output"


class Action(enum.IntEnum):
    """What happens on a finding. Ordered: a stricter action is greater."""

    FLAG = 1
    REDACT = 2
    BLOCK = 3

    @property
    def word(self) -> str:
        """The spelling in headers, settings and reports."""
        return self._name_.lower()  # `name` is a call

    @classmethod
    def parse(cls, word: str) -> "Action | None":
        """The action that `word` spells, in any case; None when there is none."""
        return cls.__members__.get(word.upper())


class OnError(enum.StrEnum):
    """What happens when a guard fails: the exchange fails (closed), or goes on and is marked."""

    FAIL = "fail"
    FLAG = "flag"


class PathMark(enum.Enum):
    """The steps of a path that are neither a key nor an index."""

    PARSED = "#"  # into a string that holds JSON
    DATA = "data"  # into the text that a data: URL or base64 holds
    KEY = "~"  # the last key itself is the text, not its value


Path: TypeAlias = tuple[str | int | PathMark, ...]


class Number(str):
    """A number literal of a JSON document, kept as it was written: 1e5 stays 1e5, and big integers exact."""

    __slots__ = ()


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value of a parsed document is a string, and not the digits of a number."""
    return isinstance(value, str) and not isinstance(value, Number)


def pointer(path: Path) -> str:
    """`path` as an RFC 6901 JSON pointer; a step into a decoded string follows `#`.

    >>> pointer(("input", 2, "arguments", PathMark.PARSED, "to"))
    '/input/2/arguments#/to'
    """
    out = ""
    for step in path:
        if step is PathMark.PARSED or step is PathMark.DATA:
            out += "#"
        elif not isinstance(step, PathMark):
            out += "/" + str(step).replace("~", "~0").replace("/", "~1")
    return out


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text and its place in a document.

    `structural` marks a place where the API expects a name or an id (`type`, `call_id`): only
    validated matches count there.
    """

    path: Path
    text: str
    structural: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A range in one text: what a detector reports.

    `start` and `end` count characters (code points), end exclusive. `category` is UPPER_SNAKE and
    becomes the placeholder. `score` is 0 to 1. `validated` says that the match rests on more than
    its looks: a checksum, a provider's prefix, mail syntax. `open` says that the match touches the
    end of the text and may grow when more text follows (a PEM block without its last line). `packed` is
    the core's: the match was found in what base64 or hex holds.
    """

    start: int
    end: int
    category: str
    score: float = 1.0
    validated: bool = False
    open: bool = False
    packed: bool = field(default=False, compare=False)


CONTEXT = 200  # characters before a block that a blockwise detector sees with it


class Detector(abc.ABC):
    """A guard's working part: a pure function of texts, without headers, paths or chunks.

    `reach` makes it *local*: whether a range is a match depends on at most `reach` characters,
    match and context together, and every candidate is reported, overlapping ones too. Prove it
    with `guardproxy.testing.locality.check_locality`. `reach = None` makes it *blockwise*: it sees
    blocks of up to 2,000 characters, cut by the core, each with the `context` characters before it,
    and owns what begins in the nearer half of these; a match over the whole of a block stands for the block.

    `def scan` runs in a worker process; when `inline_below` is greater than 0, texts shorter than
    that many characters are scanned on the event loop (declare it only for linear time).
    `async def scan` runs on the event loop. Detectors are pickled to the workers before `load`.
    """

    name: str = ""
    reach: int | None = None
    context: int = CONTEXT
    inline_below: int = 0

    def load(self) -> None:  # noqa: B027 - most detectors have nothing to load
        """Load models and compile rules; called once in each process that scans. May raise: startup stops."""

    @abc.abstractmethod
    def scan(self, texts: Sequence[str]) -> list[list[Match]] | Awaitable[list[list[Match]]]:
        """The matches of each text, in any order."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What `X-Opper-Guard-Input` names: detectors under one name, and the stages they serve.

    `companions` are guards that run wherever this one does, each with its action or this one's, if
    that is stricter. `replacements` are what redaction writes, by category, where it is not the placeholder.
    """

    name: str
    detectors: tuple[Detector, ...]
    stages: frozenset[Stage] = frozenset(Stage)
    summary: str = ""
    companions: Mapping[str, Action] = field(default_factory=dict)
    replacements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """A match at its place in the document. It never holds the text that it found.

    At the input `start` and `end` count code points in the text as sent, at the output in the
    text as delivered (there it is the placeholder's range).
    """

    guard: str
    stage: Stage
    path: str
    start: int
    end: int
    category: str
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Rule:
    """How one guard runs at one stage.

    A `shadow` rule runs and is traced, and never changes traffic.
    """

    action: Action = Action.FLAG
    shadow: bool = False
    on_error: OnError = OnError.FAIL

    def join(self, other: "Rule") -> "Rule":
        """The stricter of both: an enforcing rule wins over a shadow, then the greater action."""
        if self.shadow != other.shadow:
            return other if self.shadow else self
        on_error = OnError.FAIL if OnError.FAIL in (self.on_error, other.on_error) else OnError.FLAG
        return Rule(max(self.action, other.action), self.shadow, on_error)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which guards run at which stage, with which rule. Joined policies form a lattice."""

    input: Mapping[str, Rule] = field(default_factory=dict)
    output: Mapping[str, Rule] = field(default_factory=dict)

    def stage(self, stage: Stage) -> Mapping[str, Rule]:
        """The rules by guard name, in the order in which they were named."""
        return self.input if stage is Stage.INPUT else self.output

    def join(self, other: "Policy") -> "Policy":
        """The policy that is at least as strict as both."""
        return Policy(_join(self.input, other.input), _join(self.output, other.output))

    @property
    def empty(self) -> bool:
        """No guard runs at all."""
        return not self.input and not self.output

    def enforced(self, *stages: Stage) -> bool:
        """Whether a guard that is no shadow runs at one of `stages` (at any, when none is named)."""
        return any(not rule.shadow for s in stages or Stage for rule in self.stage(s).values())

    def holds(self, *stages: Stage) -> bool:
        """Whether traffic may be changed or stopped at one of `stages` (at any, when none is named)."""
        rules = [rule for s in stages or Stage for rule in self.stage(s).values()]
        return any(not rule.shadow and rule.action > Action.FLAG for rule in rules)


def _join(left: Mapping[str, Rule], right: Mapping[str, Rule]) -> Mapping[str, Rule]:
    joined = dict(left)
    for name, rule in right.items():
        joined[name] = joined[name].join(rule) if name in joined else rule
    return joined


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was inspected and what could not be: text parts, and skipped places by reason.

    `allowed` counts the different values that were found and let be, because an allow-list has them.
    """

    parts: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    allowed: int = 0

    def __add__(self, other: "Receipt") -> "Receipt":
        reasons = {*self.skipped, *other.skipped}
        counts = {r: self.skipped.get(r, 0) + other.skipped.get(r, 0) for r in reasons}
        return Receipt(self.parts + other.parts, counts, self.allowed + other.allowed)

    def __str__(self) -> str:
        skipped = " ".join(f"{reason}:{count}" for reason, count in sorted(self.skipped.items()))
        words = (
            f"parts={self.parts}",
            f"skipped={skipped}" if skipped else "",
            f"allowed={self.allowed}" if self.allowed else "",
        )
        return ", ".join(filter(None, words))


class Outcome(enum.StrEnum):
    """The word for one stage: of a verdict, on spans, in the log, and (most) in `X-Guardproxy-Verdict`."""

    OFF = "off"  # no guard is on
    PENDING = "pending"  # in the header only: not known yet
    NOT_RUN = "not_run"  # the exchange never came to it
    CLEAN = "clean"
    FLAGGED = "flagged"
    REDACTED = "redacted"
    BLOCKED = "blocked"
    FAILED = "failed"  # a guard failed
    INTERRUPTED = "interrupted"  # something else stopped it before its guards were through


@dataclass(frozen=True, slots=True)
class Verdict:
    """The policy applied to the findings of one stage.

    `findings` are those of enforcing guards, `shadowed` those of guards in shadow, `failed` the
    guards that failed under `on_error = "flag"`. `partial`: they may have found
    more than is here.
    """

    stage: Stage
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    shadowed: tuple[Finding, ...] = ()
    failed: tuple[str, ...] = ()
    receipt: Receipt = field(default_factory=Receipt)
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What traces may tell of a stage's texts: JSON of the messages, and of the instructions."""

    messages: str
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class LocalReply:
    """A response made by the proxy itself; the upstream is never called."""

    status: int
    body: JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class StepKind(enum.StrEnum):
    """The pieces of an exchange that are timed and traced, outermost first."""

    EXCHANGE = "exchange"
    STAGE = "stage"
    GUARD = "guard"
    CALL = "call"
    ATTEMPT = "attempt"


@dataclass(slots=True, eq=False)
class Step:
    """One timed piece of an exchange, as `guardproxy_step` sees it.

    Facts are filled in while the step runs and can be read when it is left: `verdict` (stage),
    `findings` by category, `score` the highest, `seconds` of scanning, and how many texts or pieces of
    texts were `scanned`, or `cached` from an earlier scan (guard), `status` (attempt, call, exchange),
    `error_type` (a short code, never a message), `failure` says how it failed: `timeout`, `overloaded`,
    `died` with its worker, or `raised` for all that is wrong with what it did, and `detector` where (guard);
    `dns`, `refused`, `unreachable`, `proxy`, `tls`, `broke_off`, `invalid` or `redirect`, by why the upstream
    did not answer (attempt). `outcome` (guard) is what became of it: `clean`, what its action makes of its
    findings (in shadow: would make), `failed`, `interrupted`, or `not_run` where the stage was stopped before
    the guard looked at a text. `ended`, in nanoseconds since 1970, is when a step was over that is left
    later, for all its facts to be there: with the upstream's last byte (attempt, call), the last piece that
    the client got (exchange), or the moment from which the traffic waited for it no longer (stage, guard; not
    of a guard in shadow, or a stage of such guards only). `url` is where an attempt goes, with `{id}` for an
    id. `request_headers` (attempt) may be added to before the request is sent.
    """

    kind: StepKind
    name: str
    parent: "Step | None" = None
    stage: Stage | None = None
    rule: Rule | None = None
    url: str | None = None
    ended: int | None = None
    request_headers: dict[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    findings: dict[str, int] = field(default_factory=dict)
    score: float | None = None
    seconds: float = 0.0
    scanned: int = 0
    cached: int = 0
    status: int | None = None
    error_type: str | None = None
    failure: str | None = None
    detector: str | None = None
    outcome: Outcome | None = None
