"""How well ranges and scores fit labelled texts. Pure.

A labelled range is found when at least half of its characters lie in found ranges of its type; a found
range is right when at least half of its characters lie in labelled ranges of its type. Found ranges of one
character, and those of which half lies in a range to ignore, do not count. F2 weighs recall twice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from guardproxy.gold import Record, TypedRange

HALF = 0.5
ANY = "*"  # in a map of types: those that it does not name
_BLANK = " \t\n\r\"'`,;.()<>"  # around a range it makes no difference to being exact


@dataclass(slots=True)
class Counts:
    """Of one type of range: what was labelled, what was found."""

    gold: int = 0
    hit: int = 0
    exact: int = 0
    characters: int = 0  # of the labelled ranges
    leaked: int = 0  # those of them that no found range covers, of whatever type
    found: int = 0
    right: int = 0

    @property
    def recall(self) -> float | None:
        """The share of the labelled ranges that were found; None where there is none."""
        return self.hit / self.gold if self.gold else None

    @property
    def precision(self) -> float | None:
        """The share of the found ranges that are right; None where there is none."""
        return self.right / self.found if self.found else None

    @property
    def f2(self) -> float | None:
        """Both as one figure, recall weighing twice."""
        if self.recall is None:
            return None
        precision = self.precision or 0.0
        return 5 * precision * self.recall / (4 * precision + self.recall) if precision + self.recall else 0.0

    @property
    def wrong(self) -> int:
        """The found ranges that are not right."""
        return self.found - self.right

    def row(self, characters: int) -> dict[str, float | int | None]:
        """The figures by name; `characters` are those of all texts."""
        return {
            "gold": self.gold,
            "found": self.found,
            "recall": self.recall,
            "precision": self.precision,
            "f2": self.f2,
            "exact": self.exact / self.gold if self.gold else None,
            "leaked": self.leaked / self.characters if self.characters else None,
            "false_per_10k": self.wrong * 10_000 / characters if characters else None,
        }

    def add(self, other: "Counts") -> None:
        """Count what `other` counted."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class GroupCounts:
    """Of one group of texts, all types together."""

    texts: int = 0
    characters: int = 0
    with_gold: int = 0
    with_hit: int = 0  # of those with labelled ranges
    alarmed: int = 0  # of those without: something wrong was found
    counts: Counts = field(default_factory=Counts)

    def row(self) -> dict[str, float | int | None]:
        """The figures by name."""
        without = self.texts - self.with_gold
        return {
            "texts": self.texts,
            "recall": self.counts.recall,
            "precision": self.counts.precision,
            "texts_hit": self.with_hit / self.with_gold if self.with_gold else None,
            "texts_false": self.alarmed / without if without else None,
            "false_per_10k": self.counts.wrong * 10_000 / self.characters if self.characters else None,
        }


@dataclass(slots=True)
class RangeScores:
    """The counts by type, those with the most labelled ranges first, and by group."""

    types: dict[str, Counts]
    groups: dict[str, GroupCounts]

    @property
    def characters(self) -> int:
        """Of all texts."""
        return sum(group.characters for group in self.groups.values())

    @property
    def total(self) -> Counts:
        """All types together."""
        total = Counts()
        for counts in self.types.values():
            total.add(counts)
        return total


def renamer(names: Mapping[str, str]) -> Callable[[str], str]:
    """A type's name by a map; `*` there names all types that it does not have."""
    rest = names.get(ANY)
    return lambda kind: names.get(kind, kind if rest is None else rest)


def score_ranges(
    records: Sequence[Record], found: Sequence[Sequence[TypedRange]], name: Callable[[str], str] = str
) -> RangeScores:
    """Compare what was found in each text with its labels; `name` renames the types of both."""
    types: dict[str, Counts] = {}
    groups: dict[str, GroupCounts] = {}
    for record, ranges in zip(records, found, strict=True):
        group = groups.setdefault(record.group, GroupCounts())
        gold = [TypedRange(s.start, s.end, name(s.type)) for s in record.ranges or ()]
        asked = None if record.types is None else {name(kind) for kind in record.types}
        here = _compare(record, gold, [s._replace(type=name(s.type)) for s in ranges], asked)
        group.texts += 1
        group.characters += len(record.text)
        group.with_gold += bool(gold)
        group.with_hit += any(counts.hit for counts in here.values())
        group.alarmed += not gold and any(counts.wrong for counts in here.values())
        for kind, counts in here.items():
            types.setdefault(kind, Counts()).add(counts)
            group.counts.add(counts)
    return RangeScores(dict(sorted(types.items(), key=lambda item: (-item[1].gold, item[0]))), groups)


def _compare(
    record: Record, gold: Sequence[TypedRange], found: Sequence[TypedRange], asked: set[str] | None
) -> dict[str, Counts]:
    """The counts of one text, by type."""
    counted = [s for s in found if s.end - s.start > 1 and not (record.ignore and _covers(record.ignore, s))]
    exact = {_trimmed(record.text, s) for s in counted}
    here: dict[str, Counts] = {}
    for place in gold:
        counts = here.setdefault(place.type, Counts())
        counts.gold += 1
        counts.hit += _covers([s for s in counted if s.type == place.type], place)
        counts.exact += _trimmed(record.text, place) in exact
        counts.characters += place.end - place.start
        counts.leaked += place.end - place.start - _covered(counted, place)
    for place in counted:
        if asked is None or place.type in asked:
            counts = here.setdefault(place.type, Counts())
            counts.found += 1
            counts.right += _covers([s for s in gold if s.type == place.type], place)
    return here


def _covers(ranges: Iterable[TypedRange], place: TypedRange) -> bool:
    return _covered(ranges, place) >= HALF * (place.end - place.start)


def _covered(ranges: Iterable[TypedRange], within: TypedRange) -> int:
    """How many characters of `within` lie in `spans`."""
    count, done = 0, within.start
    for place in sorted(ranges):
        start, end = max(place.start, done), min(place.end, within.end)
        if start < end:
            count, done = count + end - start, end
    return count


def _trimmed(text: str, place: TypedRange) -> TypedRange:
    inside = text[place.start : place.end]
    start = place.start + len(inside) - len(inside.lstrip(_BLANK))
    return TypedRange(start, start + len(inside.strip(_BLANK)), place.type)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How well a score tells the texts with the label 1 from the others."""

    texts: int
    positive: int
    auc: float | None  # None where there is one label only
    recall: float | None
    false_rate: float | None

    def row(self) -> dict[str, float | int | None]:
        """The figures by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def score_labels(
    records: Sequence[Record], scores: Sequence[float], flagged: Sequence[bool]
) -> dict[str, LabelScores]:
    """The figures of each group, and of all texts as `all`.

    `scores` rank the texts, `flagged` are those in which the guard found something.
    """
    groups: dict[str, list[int]] = {"all": list(range(len(records)))}
    for index, record in enumerate(records):
        if record.group not in ("", "all"):
            groups.setdefault(record.group, []).append(index)
    return {
        group: _of_labels([(bool(records[i].label), scores[i], flagged[i]) for i in indexes])
        for group, indexes in groups.items()
    }


def _of_labels(texts: Sequence[tuple[bool, float, bool]]) -> LabelScores:
    high = [(score, flagged) for label, score, flagged in texts if label]
    low = [(score, flagged) for label, score, flagged in texts if not label]
    return LabelScores(
        len(texts),
        len(high),
        _auc([score for score, _ in high], [score for score, _ in low]),
        sum(flagged for _, flagged in high) / len(high) if high else None,
        sum(flagged for _, flagged in low) / len(low) if low else None,
    )


def _auc(high: Sequence[float], low: Sequence[float]) -> float | None:
    """The chance that one of `high` is greater than one of `low`; equal ones count half."""
    if not high or not low:
        return None
    order = sorted([(score, True) for score in high] + [(score, False) for score in low])
    ranks, at = 0.0, 0
    while at < len(order):
        end = at
        while end < len(order) and order[end][0] == order[at][0]:
            end += 1
        ranks += (at + end + 1) / 2 * sum(label for _, label in order[at:end])
        at = end
    return (ranks - len(high) * (len(high) + 1) / 2) / (len(high) * len(low))
