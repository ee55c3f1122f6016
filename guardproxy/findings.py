"""What the guards of a stage found, by the place of the text, and how places are told. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from guardproxy.names import Key, Names
from guardproxy.redaction import Moves, Placeholder, Range, merge, order
from guardproxy.types import Action, Finding, Match, Path, PathMark, Rule, Stage, pointer

MOST_FINDINGS = 10_000  # kept of each guard for the verdict of one stage; all of them are acted on
_EDGE = re.compile(r"(?=[/#])|\Z")  # where a step of a pointer may end


@dataclass(frozen=True, slots=True)
class Hit:
    """A guard's match in one text part."""

    guard: str
    match: Match


class Findings:
    """The findings of one stage. `more`: there are others than those that are kept."""

    def __init__(self, stage: Stage, rules: Mapping[str, Rule], placeholder: Placeholder) -> None:
        self.blocked = False  # a blocking guard found something
        self.more = False
        self._stage = stage
        self._rules = rules
        self._placeholder = placeholder
        self._hits: dict[str, set[Hit]] = {}  # by the pointer of the text's place; `~` ends that of a key
        self._noted: dict[str, int] = {}  # by guard
        self._keys: dict[str, Key] = {}  # keys that hold something, by the pointer of their value

    def note_key(self, path: str, text: str, hits: Sequence[Hit], new: str | None, names: Names) -> str:
        """Remember a key that holds something; what to put behind it so that it stays one of its own."""
        key = self._keys.setdefault(path, Key(text))
        key.matches.update(hit.match for hit in hits)
        shown = key.shown(self._placeholder)
        key.suffix = names.suffix({shown} if new is None else {shown, new})
        return key.suffix

    def ranges(self, hits: Iterable[Hit]) -> list[Range]:
        """What redaction replaces: the ranges of redacting (or blocking) guards."""
        return merge(hit.match for hit in hits if self._redacts(hit.guard))

    def _redacts(self, guard: str) -> bool:
        rule = self._rules[guard]
        return not rule.shadow and rule.action > Action.FLAG

    def ranges_at(self, path: Path) -> list[Range]:
        """What is replaced in the text that findings call `path`."""
        return self.ranges(self._hits.get(pointer(path), ()))

    def redacts_below(self, path: Path) -> bool:
        """Whether something is replaced in a text below what findings call `path`."""
        above = pointer(path) + "/"
        return any(at.startswith(above) and self.ranges(hits) for at, hits in self._hits.items())

    def note(self, path: str, hits: Iterable[Hit]) -> None:
        """Remember hits at `path`, a pointer; the same hit in another copy of the text counts once."""
        of_path = self._hits.setdefault(path, set())
        for hit in hits:
            rule = self._rules[hit.guard]
            self.blocked |= not rule.shadow and rule.action is Action.BLOCK
            if hit in of_path:
                continue
            if self._noted.get(hit.guard, 0) < MOST_FINDINGS:
                of_path.add(hit)
                self._noted[hit.guard] = self._noted.get(hit.guard, 0) + 1
            else:
                self.more = True

    def shown(self, path: str) -> str:
        """The pointer `path`, in which keys that any guard found something in are shown redacted."""
        path = path.removesuffix(PathMark.KEY.value)
        steps: list[tuple[int, int, str]] = []
        for edge in _EDGE.finditer(path) if self._keys else ():
            key = self._keys.get(path[: edge.start()])
            if key is not None:
                begin = path.rindex("/", 0, edge.start())
                if steps and steps[-1][0] == begin:
                    steps.pop()  # a `#` in a key is no edge
                steps.append((begin, edge.start(), pointer((key.shown(self._placeholder) + key.suffix,))))
        out, done = "", 0
        for begin, end, step in steps:
            out, done = out + path[done:begin] + step, end
        return out + path[done:]

    def findings(self) -> list[Finding]:
        """All that are kept; their ranges, at the output, are those of the text as delivered."""
        return [finding for path, hits in self._hits.items() for finding in self._at(path, hits)]

    def _at(self, path: str, hits: Iterable[Hit]) -> list[Finding]:
        at_output = self._stage is Stage.OUTPUT
        moves = Moves(self.ranges(hits) if at_output else [], self._placeholder)
        found: dict[tuple[str, int, int, str], Finding] = {}
        path = self.shown(path)
        for hit in sorted(hits, key=lambda hit: (*order(hit.match), hit.guard)):
            start, end = moves.of(hit.match.start, hit.match.end)
            key = (hit.guard, start, end, hit.match.category)
            if key not in found:
                found[key] = Finding(
                    hit.guard, self._stage, path, start, end, hit.match.category, hit.match.score
                )
        return list(found.values())

    def matches_at(self, path: Path) -> Iterable[Match]:
        """The matches in the text (or the key) that findings call `path`."""
        at = pointer(path) + (PathMark.KEY.value if path[-1:] == (PathMark.KEY,) else "")
        return (hit.match for hit in self._hits.get(at, ()))
