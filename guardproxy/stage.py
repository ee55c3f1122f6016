"""One stage of one exchange: run its guards over text parts, and gather findings, receipt and verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from guardproxy import policy
from guardproxy.document import Edits, shown
from guardproxy.errors import GuardFailed, Overloaded
from guardproxy.inspection import find
from guardproxy.redaction import Range, delivered, merge, splice
from guardproxy.scanning import Meter, Scanner
from guardproxy.types import (
    Action,
    Finding,
    Match,
    OnError,
    Path,
    PathMark,
    Receipt,
    Rule,
    Stage,
    Step,
    StepKind,
    TextPart,
    Verdict,
)

MOST_FINDINGS = 10_000  # kept for the verdict of one stage; all of them count and are acted on

StepOpener = Callable[[Step], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Hit:
    """A guard's match in one text part."""

    guard: str
    match: Match


@dataclass(slots=True)
class GuardRun:
    """One guard at one stage: its rule, its step, and the time that its detectors took."""

    name: str
    rule: Rule
    step: Step
    meter: Meter = field(default_factory=Meter)

    @property
    def holds(self) -> bool:
        """Whether text must wait for this guard: it may change or stop what is delivered."""
        return not self.rule.shadow and self.rule.action > Action.FLAG

    @property
    def tolerant(self) -> bool:
        """Whether a failure of this guard leaves the exchange alone."""
        return self.rule.shadow or self.rule.on_error is OnError.FLAG


class StageRun:
    """The guards of one stage at work. `finish` closes their steps and returns the verdict."""

    def __init__(
        self,
        stage: Stage,
        rules: Mapping[str, Rule],
        scanner: Scanner,
        placeholder: str,
        open_step: StepOpener,
        parent: Step | None = None,
    ) -> None:
        self.stage = stage
        self.rules = rules
        self.scanner = scanner
        self.placeholder = placeholder
        self.step = Step(StepKind.STAGE, stage.value, parent, stage)
        self._steps = ExitStack()
        self._steps.enter_context(open_step(self.step))
        self.guards = [
            GuardRun(name, rule, Step(StepKind.GUARD, name, self.step, stage, rule))
            for name, rule in rules.items()
        ]
        for guard in self.guards:
            self._steps.enter_context(open_step(guard.step))
        self.failed: dict[str, str] = {}
        self.findings: dict[tuple[str, str, int, int, str], Finding] = {}
        self.skipped: dict[str, int] = {}
        self.parts = 0
        self._verdict: Verdict | None = None

    @property
    def holds(self) -> bool:
        """Whether any guard of this stage may change or stop the traffic."""
        return any(guard.holds for guard in self.guards)

    def count(self, parts: int, skipped: Mapping[str, int]) -> None:
        """Note for the receipt what is being inspected and what cannot be."""
        self.parts += parts
        for reason, number in skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + number

    async def hits(self, parts: Sequence[TextPart], guards: Iterable[GuardRun]) -> list[list[Hit]]:
        """The matches of `guards` in each of `parts`.

        Raises:
            GuardFailed, Overloaded: a guard failed, and its failure is not to be tolerated.
        """
        found: list[list[Hit]] = [[] for _ in parts]
        plain = [index for index, part in enumerate(parts) if not part.structural]
        for guard in guards:
            if guard.name in self.failed:
                continue
            try:
                for ref in self.scanner.refs(guard.name):
                    # A blockwise detector's matches are never validated: structure is not for it.
                    indexes = plain if ref.reach is None else range(len(parts))
                    texts = [parts[index].text for index in indexes]
                    matches = await find(self.scanner, ref, texts, guard.meter)
                    for index, of_part in zip(indexes, matches, strict=True):
                        if of_part:
                            strict = parts[index].structural
                            found[index] += [Hit(guard.name, m) for m in of_part if m.validated or not strict]
            except (GuardFailed, Overloaded) as error:
                self.fail(guard, error)
        return found

    def fail(self, guard: GuardRun, error: GuardFailed | Overloaded) -> None:
        """Note that a guard failed; raise unless its rule tolerates that."""
        guard.step.error_type = error.error_code
        if not guard.tolerant:
            raise error
        self.failed[guard.name] = error.error_code

    def apply(
        self,
        parts: Sequence[TextPart],
        hits: Sequence[Sequence[Hit]],
        place: Callable[[Path], Path] = lambda path: path,
    ) -> Edits:
        """Record findings, and the edits that redacting guards ask for.

        `place` maps a part's path to the path that findings name.
        """
        edits = Edits()
        keys: dict[Path, str] = {}
        for part, of_part in zip(parts, hits, strict=True):
            if not of_part:
                continue
            ranges = self.ranges(of_part)
            if ranges:
                edits.texts[part.path] = splice(part.text, ranges, self.placeholder)
            if part.path[-1:] == (PathMark.KEY,):
                # A path must not show what was found in a key, whatever the action.
                every = merge(hit.match for hit in of_part)
                keys[place(part.path)] = splice(part.text, every, self.placeholder)
        for part, of_part in zip(parts, hits, strict=True):
            if of_part:
                self.record(shown(place(part.path), keys), of_part, self.ranges(of_part))
        return edits

    def ranges(self, hits: Iterable[Hit]) -> list[Range]:
        """What redaction replaces: the ranges of redacting (or blocking) guards."""
        return merge(hit.match for hit in hits if self._redacts(hit.guard))

    def _redacts(self, guard: str) -> bool:
        rule = self.rules[guard]
        return not rule.shadow and rule.action > Action.FLAG

    def record(self, path: str, hits: Iterable[Hit], ranges: Sequence[Range]) -> None:
        """Note findings at `path`; offsets are those of the delivered text at the output."""
        placed = delivered(ranges, self.placeholder) if self.stage is Stage.OUTPUT else []
        for hit in hits:
            start, end = hit.match.start, hit.match.end
            if self.stage is Stage.OUTPUT:
                start, end = _moved(start, end, ranges, placed)
            key = (hit.guard, path, start, end, hit.match.category)
            if key not in self.findings and len(self.findings) < MOST_FINDINGS:
                self.findings[key] = Finding(
                    hit.guard, self.stage, path, start, end, hit.match.category, hit.match.score
                )

    @property
    def blocked(self) -> bool:
        """Whether a blocking guard found something."""
        return any(
            not self.rules[f.guard].shadow and self.rules[f.guard].action is Action.BLOCK
            for f in self.findings.values()
        )

    def finish(self, error_type: str | None = None) -> Verdict:
        """The verdict; closes the steps. Later calls return the same verdict."""
        if self._verdict is None:
            receipt = Receipt(self.parts, dict(self.skipped))
            verdict = policy.verdict(
                self.stage, self.rules, tuple(self.findings.values()), tuple(self.failed), receipt
            )
            for guard in self.guards:
                guard.step.seconds = guard.meter.seconds
            for finding in self.findings.values():
                self._count(finding)
            self.step.verdict = self._verdict = verdict
            self.step.error_type = error_type
            self._steps.close()
        return self._verdict

    def _count(self, finding: Finding) -> None:
        step = next(guard.step for guard in self.guards if guard.name == finding.guard)
        step.findings[finding.category] = step.findings.get(finding.category, 0) + 1
        step.score = max(step.score or 0.0, finding.score)


def _moved(
    start: int, end: int, ranges: Sequence[Range], placed: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """A match's range in the delivered text: its placeholder's, or its own moved by those before it."""
    shift = 0
    for found, (new_start, new_end) in zip(ranges, placed, strict=True):
        if found.end <= start:
            shift = new_end - found.end
        elif found.start < end:
            return new_start, new_end
    return start + shift, end + shift
