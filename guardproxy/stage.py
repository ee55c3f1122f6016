"""One stage of one exchange: run its guards over text parts, and gather findings, receipt and verdict."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from guardproxy import policy
from guardproxy.capture import Captured
from guardproxy.document import Edits, keys_at
from guardproxy.errors import GuardFailed, Overloaded, Uninspectable, Violation
from guardproxy.exchange import clock, moment
from guardproxy.findings import Findings, Hit
from guardproxy.inspection import Read, find
from guardproxy.labels import Labelled, labelled
from guardproxy.names import Names
from guardproxy.readings import clean, spelled_out
from guardproxy.redaction import Placeholder, splice
from guardproxy.scanning import Meter, Scanner
from guardproxy.seams import Chain, chains
from guardproxy.types import (
    Action,
    Content,
    Match,
    OnError,
    Outcome,
    Path,
    PathMark,
    Receipt,
    Rule,
    Stage,
    Step,
    StepKind,
    TextPart,
    Verdict,
    pointer,
)

MOST_NEW = 1024 * 1024  # characters of text not seen before, for a blockwise detector
LONGEST_ALLOWED = 4096  # characters of a match that an allow-list may have
CANCELLED = "cancelled"  # the error type of a stage that was given up before it had a verdict

_log = structlog.stdlib.get_logger("guardproxy")

StepOpener = Callable[[Step], AbstractContextManager[object]]


def _covered(match: Match, known: Sequence[Match]) -> bool:
    return any(other.start <= match.start and match.end <= other.end for other in known)


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
        too_large: str | None = None,
        most_new: int = MOST_NEW,
    ) -> None:
        self.stage = stage
        self.rules = rules
        self.scanner = scanner
        self.placeholder = Placeholder(placeholder, scanner.replacements)
        self._too_large = too_large  # what `[unscannable]` says of it
        self._most_new = most_new
        self.step = Step(StepKind.STAGE, stage.value, parent, stage)
        self._open: list[AbstractContextManager[object]] = []
        self._enter(open_step(self.step))
        self.guards = [
            GuardRun(name, rule, Step(StepKind.GUARD, name, self.step, stage, rule))
            for name, rule in rules.items()
        ]
        for guard in self.guards:
            self._enter(open_step(guard.step))
        self.enforced = [guard for guard in self.guards if not guard.rule.shadow]
        self._watching: list[asyncio.Task[None]] = []
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, int] = {}
        self.parts = 0
        self.flagged = False  # something that cannot be inspected is to be told of
        self.problem: str | None = None  # the code of an error that the stage could not raise any more
        self.found = Findings(stage, rules, self.placeholder)
        self._allowed: set[bytes] = set()  # digests of guard and value
        self._finished: Verdict | None = None
        self.cut = False  # a stream was stopped before its end
        self.unread = False  # the document could not be inspected, and passes all the same
        self.passed = False  # the guards that traffic waits for are through
        self.captures = False  # whether content is told, to traces; then whoever reads a document says which
        self.captured: Captured | None = None

    @property
    def blocked(self) -> bool:
        """Whether a blocking guard found something."""
        return self.found.blocked

    def _enter(self, manager: AbstractContextManager[object]) -> None:
        manager.__enter__()
        self._open.append(manager)

    @property
    def holds(self) -> bool:
        """Whether any guard of this stage may change or stop the traffic."""
        return any(guard.holds for guard in self.guards)

    def unscannable(self, skipped: Mapping[str, int], rules: Mapping[str, str]) -> None:
        """Apply the deployment's rules (pass, flag or block, by reason) to what cannot be inspected.

        Raises:
            Uninspectable: such a reason blocks, and a guard is on that may block or redact.
        """
        for reason in skipped:
            word = rules.get(reason, "pass")
            if word == "block" and self.holds:
                raise Uninspectable(f"The {self.stage} holds what cannot be inspected here: {reason}.")
            self.flagged |= word != "pass"

    def count(self, parts: Iterable[TextPart], skipped: Mapping[str, int]) -> None:
        """Note for the receipt what is being inspected (names and ids aside) and what cannot be."""
        self.parts += sum(not part.structural for part in parts)
        for reason, number in skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + number

    async def hits(
        self, parts: Sequence[TextPart], guards: Sequence[GuardRun], *, joined: bool = False
    ) -> list[list[Hit]]:
        """The matches of `guards` in each of `parts`; `joined`: and what is split over neighbours.

        Raises:
            GuardFailed, Overloaded: a guard failed, and its failure is not to be tolerated.
        """
        found: list[list[Hit]] = [[] for _ in parts]
        digests = [self.scanner.digest(part.text) for part in parts]
        read: Read | None = {} if len(guards) > 1 else None
        # A blockwise detector's matches are never validated: names and ids are not for it.
        kinds = {local: [i for i, p in enumerate(parts) if p.structural is local] for local in (False, True)}
        for guard in guards:
            if guard.name in self.failed:
                continue
            try:
                for structural, indexes in kinds.items():
                    texts = [parts[index].text for index in indexes]
                    of_texts = [digests[index] for index in indexes]
                    local = structural or self._too_much(guard, texts, of_texts)
                    matches = await find(
                        self.scanner, guard.name, texts, of_texts, guard.meter, local=local, read=read
                    )
                    for index, of_part in zip(indexes, matches, strict=True):
                        if of_part:
                            hits = [Hit(guard.name, m) for m in of_part if m.validated or not structural]
                            found[index] += self.kept(hits, parts[index].text)
            except (GuardFailed, Overloaded) as error:
                self.fail(guard, error)
        if named := list(labelled(parts)):
            await self._add_labelled(named, parts, guards, found)
        if joined and (together := chains(parts)):
            await self._add_split(together, guards, found)
        return found

    async def _add_labelled(
        self,
        named: Sequence[Labelled],
        parts: Sequence[TextPart],
        guards: Sequence[GuardRun],
        found: Sequence[list[Hit]],
    ) -> None:
        """Add what shows itself by the label of a text, to what was `found` in each part."""
        texts = [text.text for text in named]
        for guard, matches in (await self._local(texts, guards)).items():
            for text, of_text in zip(named, matches, strict=True):
                known = [hit.match for hit in found[text.index] if hit.guard == guard]
                new = [match for match in map(text.own, of_text) if match and not _covered(match, known)]
                found[text.index].extend(
                    self.kept([Hit(guard, match) for match in new], parts[text.index].text)
                )

    async def _add_split(
        self, together: Sequence[Chain], guards: Sequence[GuardRun], found: Sequence[list[Hit]]
    ) -> None:
        """Add the validated matches that reach over a seam, in pieces, to what was `found` in each part.

        Not where a part alone holds a match there: the neighbour's word only looks like a piece of it.
        """
        alone = [[hit for hit in hits if hit.match.validated] for hits in found]
        of_chains = await self._local([chain.text for chain in together], guards)
        for guard, matches in of_chains.items():
            for chain, of_chain in zip(together, matches, strict=True):
                for hit in self.kept([Hit(guard, m) for m in of_chain if m.validated], chain.text):
                    pieces = chain.split(hit.match)
                    if not any(
                        other.guard == guard
                        and other.match.start < piece.end
                        and piece.start < other.match.end
                        for part, piece in pieces
                        for other in alone[part]
                    ):
                        for part, piece in pieces:
                            found[part].append(Hit(guard, piece))

    async def _local(
        self, texts: Sequence[str], guards: Sequence[GuardRun]
    ) -> dict[str, list[Sequence[Match]]]:
        """The matches of each guard's local detectors in texts that are no parts themselves."""
        found: dict[str, list[Sequence[Match]]] = {}
        digests = [self.scanner.digest(text) for text in texts]
        read: Read | None = {} if len(guards) > 1 else None
        for guard in guards:
            if guard.name in self.failed:
                continue
            try:
                found[guard.name] = await find(
                    self.scanner, guard.name, texts, digests, guard.meter, local=True, read=read
                )
            except (GuardFailed, Overloaded) as error:
                self.fail(guard, error)
        return found

    def kept(self, hits: Sequence[Hit], text: str, offset: int = 0) -> list[Hit]:
        """The `hits` in `text` (which begins at `offset`) less those that an allow-list has."""
        kept = []
        for hit in hits:
            allow = self.scanner.allow.get(hit.guard)
            start, end = hit.match.start, hit.match.end
            # What is longer may be delivered, redacted, before its end is known. What base64 or hex looks
            # like says nothing of what it holds.
            whole = allow and end - start <= LONGEST_ALLOWED and not hit.match.packed
            found = text[start - offset : end - offset] if whole else ""
            if allow and found and any(map(allow.allows, spelled_out(clean(found)))):
                self._allowed.add(self.scanner.digest(f"{hit.guard} {found}"))
            else:
                kept.append(hit)
        return kept

    def _too_much(self, guard: GuardRun, texts: Sequence[str], digests: Sequence[bytes]) -> bool:
        """Whether there is more new text than the guard's blockwise detectors look at."""
        if sum(map(len, texts)) <= self._most_new or all(
            ref.reach is not None for ref in self.scanner.refs(guard.name)
        ):
            return False
        get, slot = self.scanner.cache.get, self.scanner.slot(guard.name, local=False)
        new = sum(len(t) for t, digest in zip(texts, digests, strict=True) if get(slot, digest) is None)
        if new <= self._most_new:
            return False
        if guard.holds and self._too_large in (None, "block"):
            raise Uninspectable(
                f"There are {new} characters of new text, and the guard '{guard.name}' inspects at most "
                f"{self._most_new} at a time; send less."
            )
        self.count((), {"too_large": 1})
        self.flagged |= self._too_large in ("flag", "block")
        return True

    def fail(self, guard: GuardRun, error: GuardFailed | Overloaded) -> None:
        """Note that a guard failed, once, and log it in an exchange; raise unless its rule tolerates that."""
        step = guard.step
        if step.failure is None:
            step.error_type, step.failure, step.detector = error.error_code, error.kind, error.detector
            if self.step.parent is not None:  # outside of an exchange what is raised is all that is told
                facts = {"detector": error.detector, "failure": error.kind, "error": error.raised}
                told = {name: value for name, value in facts.items() if value is not None}
                _log.warning("guard_failed", guard=guard.name, stage=self.stage.value, **told)
        if not guard.tolerant:
            try:
                raise error
            finally:
                del error  # it knows this frame, and neither would go without the other
        self.failed[guard.name] = error.error_code

    def apply(
        self,
        parts: Sequence[TextPart],
        hits: Sequence[Sequence[Hit]],
        place: Callable[[Path], Path] = lambda path: path,
        document: Any = None,
    ) -> Edits:
        """Note the findings; the edits that redacting guards ask for.

        `place` maps a part's path to the path that findings name. `document` is what the parts are of:
        a key that is redacted takes no name that another key there has.
        """
        edits = Edits()
        names: dict[Path, Names] = {}
        parsed: dict[Path, Any] = {}
        for part, of_part in zip(parts, hits, strict=True):
            if not of_part:
                continue
            path = pointer(place(part.path))
            ranges = self.found.ranges(of_part)
            new = splice(part.text, ranges, self.placeholder)
            if part.path[-1:] == (PathMark.KEY,):
                parent = part.path[:-2]
                if parent not in names:
                    names[parent] = Names(keys_at(document, parent, parsed))
                new += self.found.note_key(path, part.text, of_part, new if ranges else None, names[parent])
                path += PathMark.KEY.value
            if ranges:
                edits.texts[part.path] = new
            self.found.note(path, of_part)
        return edits

    def watch(
        self,
        parts: Sequence[TextPart],
        place: Callable[[Path], Path] = lambda path: path,
        document: Any = None,
        keys: Sequence[TextPart] = (),
    ) -> None:
        """Have the guards in shadow look at `parts` beside the traffic; else as `apply` and `hide`."""
        guards = [guard for guard in self.guards if guard.rule.shadow]

        async def look() -> None:
            self.hide(keys, await self.hits(keys, guards), place)
            self.apply(parts, await self.hits(parts, guards, joined=True), place, document)

        if guards:
            self._watching.append(asyncio.create_task(look()))

    @property
    def watching(self) -> bool:
        """Whether a guard in shadow is not done yet."""
        return not all(task.done() for task in self._watching)

    async def settle(self) -> None:
        """Wait for the guards in shadow; traffic never does. Raises what they raised."""
        if self._watching:
            try:
                await asyncio.wait(self._watching)
            except asyncio.CancelledError:
                self.cancel()
                raise
        for task in self._watching:
            if not task.cancelled():
                task.result()

    def cancel(self) -> None:
        """Give up what is not done yet: the stage has no verdict then."""
        if self.watching:
            self.give_up(CANCELLED)
        for task in self._watching:
            task.cancel()

    def give_up(self, problem: str) -> None:
        """Note what stops the guards in shadow, where there are any."""
        if self.problem is None and len(self.enforced) < len(self.guards):
            self.problem = problem

    def hide(
        self, keys: Sequence[TextPart], hits: Sequence[Sequence[Hit]], place: Callable[[Path], Path]
    ) -> None:
        """Show `keys` redacted in every path; what was found in them is not judged."""
        for part, of_part in zip(keys, hits, strict=True):
            if of_part:
                self.found.note_key(pointer(place(part.path)), part.text, of_part, None, Names(set()))

    def verdict(self, error_type: str | None = None) -> Verdict:
        """The policy applied to what was found so far; `error_type` says what stopped the stage."""
        receipt = Receipt(self.parts, dict(self.skipped), len(self._allowed))
        verdict = policy.verdict(self.stage, self.rules, self.found.findings(), tuple(self.failed), receipt)
        cut_off = self.cut and not all(guard.holds for guard in self.guards)
        if self.found.more or cut_off or self.unread or self.problem is not None:
            verdict = replace(verdict, partial=True)
        if self.blocked:
            return replace(verdict, outcome=Outcome.BLOCKED)
        if error_type is not None:
            failed = error_type in (GuardFailed.code, Overloaded.code)
            return replace(verdict, outcome=Outcome.FAILED if failed else Outcome.INTERRUPTED)
        if verdict.outcome is Outcome.CLEAN and (self.flagged or self.unread):
            return replace(verdict, outcome=Outcome.FLAGGED if self.flagged else Outcome.INTERRUPTED)
        return verdict

    def content(self) -> Content | None:
        """The inspected document less all that was found in it; None unless every guard saw all of it."""
        unseen = self.failed or self.problem or self.cut or "too_large" in self.skipped
        if self.captured is None or unseen or self.found.more:
            return None
        return self.captured.content(self.found.matches_at, self.placeholder)

    def let_pass(self) -> None:
        """The traffic waits for this stage no longer; the first call counts.

        Enforced guards' steps end here, and the stage's, whatever time those in shadow take yet.
        """
        if not self.passed:
            self.passed = True
            if self.enforced:
                now = moment(clock())
                for step in (self.step, *(guard.step for guard in self.enforced)):
                    step.ended = now

    def finish(self, error_type: str | None = None) -> Verdict:
        """The last verdict; closes the steps. Later calls return the same verdict."""
        if self._finished is None:
            # A whole document is looked at before it is blocked.
            stopped = self.cut or error_type not in (None, Violation.code)
            error_type = error_type or self.problem
            verdict = self.verdict(error_type)
            steps = {guard.name: guard.step for guard in self.guards}
            for guard in self.guards:
                guard.step.seconds = guard.meter.seconds
                guard.step.scanned, guard.step.cached = guard.meter.scanned, guard.meter.cached
                if guard.rule.shadow:  # it has waited since, with the exchange
                    guard.step.ended = moment(guard.meter.last)
            if not self.enforced:
                self.step.ended = max((step.ended for step in steps.values() if step.ended), default=None)
            for finding in (*verdict.findings, *verdict.shadowed):
                step = steps[finding.guard]
                step.findings[finding.category] = step.findings.get(finding.category, 0) + 1
                step.score = max(step.score or 0.0, finding.score)
            for guard in self.guards:
                guard.step.outcome = self._outcome(guard, stopped)
            self.step.verdict = self._finished = verdict
            self.step.error_type = error_type
            for manager in reversed(self._open):
                manager.__exit__(None, None, None)
        return self._finished

    def _outcome(self, guard: GuardRun, stopped: bool) -> Outcome:
        """What became of a guard; `stopped` are those that the traffic waits for."""
        step = guard.step
        if step.failure is not None:
            return Outcome.FAILED
        if step.findings:
            return policy.OUTCOMES[guard.rule.action]
        stopped |= self.unread or (guard.rule.shadow and self.problem is not None)
        if not stopped:
            return Outcome.CLEAN
        return Outcome.INTERRUPTED if step.scanned or step.cached else Outcome.NOT_RUN
