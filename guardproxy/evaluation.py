"""`guardproxy eval`: score guards on labelled texts, and tell the figures."""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pluggy
import rich_click as click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from guardproxy import gold, plugins, scoring
from guardproxy.errors import ConfigError, GuardProxyError
from guardproxy.gold import GoldError, Record, TypedRange
from guardproxy.offline import Offline, bar, offline
from guardproxy.scan_report import printable
from guardproxy.settings import Settings
from guardproxy.types import Guard, Match, TextPart

FORMS = ("human", "json")
LONG = 64 * 1024  # bytes of text that are worth a progress bar
_HEADS = {
    "gold": "gold",
    "found": "found",
    "recall": "recall",
    "precision": "precision",
    "f2": "F2",
    "exact": "exact",
    "leaked": "leaked",
    "false_per_10k": "false/10k",
    "texts": "texts",
    "texts_hit": "texts hit",
    "texts_false": "texts false",
    "positive": "label 1",
    "auc": "ROC-AUC",
    "false_rate": "false rate",
}
Row = Mapping[str, float | int | None]


class Judged(NamedTuple):
    """What was found in one text, and how long that took."""

    matches: list[Match]
    seconds: float

    @property
    def score(self) -> float:
        """The highest; 0 where nothing was found."""
        return max((match.score for match in self.matches), default=0.0)


def run(
    manager: pluggy.PluginManager,
    settings: Settings,
    guards: Mapping[str, Guard],
    file: Path,
    form: str,
    names: Mapping[str, str],
) -> int:
    """Score `guards` on the labelled texts of `file` and print the figures; the exit code.

    Raises:
        ConfigError: the file holds none, or a guard does not start.
    """
    try:
        records = gold.read(file.read_text("utf-8-sig").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"byte {error.start} is not UTF-8"
        raise ConfigError(f"{file}: cannot be read: {why}.") from None
    except GoldError as error:
        raise ConfigError(f"{file}: {error}") from None
    try:
        told = asyncio.run(evaluate(manager, settings, guards, records, names))
    except GuardProxyError as error:
        click.echo(f"guardproxy: {file}: {error.message}", err=True)
        return 2
    told = {"gold": str(file), **told}
    if form == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        _show(told)
    return 0


async def evaluate(
    manager: pluggy.PluginManager,
    settings: Settings,
    guards: Mapping[str, Guard],
    records: Sequence[Record],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """The figures of `guards` on `records`, by name; `names` maps types.

    Raises:
        ConfigError: a guard does not start.
        GuardProxyError: a guard failed: there are no figures of half of the texts.
    """
    settings = msgspec.structs.replace(settings, cache_size=0)  # a text that comes twice takes as long
    judged = await judge(manager, settings, guards, records)
    told = {
        "guards": list(guards),
        "texts": len(records),
        "characters": sum(len(record.text) for record in records),
        "ms_per_kb": ms_per_kb(records, [one.seconds for one in judged]),
    }
    if records[0].label is None:
        return told | range_figures(records, [ranges_of(one.matches) for one in judged], names)
    ranked = judged
    if lowered := _lowered(manager, settings, guards):
        ranked = await judge(manager, lowered, _same(manager, lowered, guards), records)
    scores = [one.score for one in ranked]
    return told | {"labels": label_figures(records, scores, [bool(one.matches) for one in judged])}


def range_figures(
    records: Sequence[Record], found: Sequence[Sequence[TypedRange]], names: Mapping[str, str]
) -> dict[str, Any]:
    """The figures of ranges by type (`all` is all types), and by group of texts."""
    scores = scoring.score_ranges(records, found, scoring.renamer(names))
    rows = {kind: counts.row(scores.characters) for kind, counts in scores.types.items()}
    groups = {name: counts.row() for name, counts in sorted(scores.groups.items()) if name}
    return {"entities": {**rows, "all": scores.total.row(scores.characters)}, "groups": groups}


def label_figures(
    records: Sequence[Record], scores: Sequence[float], flagged: Sequence[bool]
) -> dict[str, Row]:
    """The figures of labels, by group of texts (`all` is all texts)."""
    return {name: group.row() for name, group in scoring.score_labels(records, scores, flagged).items()}


async def judge(
    manager: pluggy.PluginManager, settings: Settings, guards: Mapping[str, Guard], records: Sequence[Record]
) -> list[Judged]:
    """What `guards` find in each text, one after the other."""
    sizes = [len(record.text.encode("utf-8", "surrogatepass")) for record in records]
    async with offline(manager, settings, guards) as work:
        with bar("judging", sum(sizes), LONG) as advance:
            judged = []
            for record, size in zip(records, sizes, strict=True):
                judged.append(await _judge(work, record.text))
                advance(size)
            return judged


async def _judge(work: Offline, text: str) -> Judged:
    run = work.run()
    began = time.perf_counter()
    (hits,) = await run.hits([TextPart((), text)], run.enforced)
    return Judged(list(dict.fromkeys(hit.match for hit in hits)), time.perf_counter() - began)


def ranges_of(matches: Iterable[Match]) -> list[TypedRange]:
    """The ranges of matches, each once."""
    return list(dict.fromkeys(TypedRange(match.start, match.end, match.category) for match in matches))


def ms_per_kb(records: Sequence[Record], seconds: Sequence[float]) -> float | None:
    """The median over the texts of milliseconds for each 1,024 bytes."""
    rates = [
        taken * 1000 / (size / 1024)
        for record, taken in zip(records, seconds, strict=True)
        if (size := len(record.text.encode("utf-8", "surrogatepass")))
    ]
    return round(statistics.median(rates), 3) if rates else None


def _lowered(
    manager: pluggy.PluginManager, settings: Settings, guards: Mapping[str, Guard]
) -> Settings | None:
    """The settings with the guards' `threshold` at 0, so that every text gets its score.

    None where no guard has one: then a text in which nothing was found ranks lowest.
    """
    owners = {owner for owner, guard in plugins.guards_by_plugin(manager, settings) if guard.name in guards}
    lowered = {
        name: msgspec.structs.replace(own, threshold=0.0)
        for name, own in settings.plugins.items()
        if name in owners and hasattr(own, "threshold")
    }
    return msgspec.structs.replace(settings, plugins={**settings.plugins, **lowered}) if lowered else None


def _same(manager: pluggy.PluginManager, settings: Settings, guards: Iterable[str]) -> dict[str, Guard]:
    made = plugins.collect_guards(manager, settings)
    return {name: made[name] for name in guards}


def parse_names(words: Iterable[str]) -> dict[str, str]:
    """`--map A=B`, repeated.

    Raises:
        ConfigError: another form.
    """
    names: dict[str, str] = {}
    for word in words:
        old, equals, new = (piece.strip() for piece in word.partition("="))
        if not (old and equals and new):
            raise ConfigError("--map must be TYPE=TYPE, or '*=TYPE' for all types that are not named.")
        names[old] = new
    return names


def _show(told: Mapping[str, Any]) -> None:
    # In a pipe each row keeps to its line.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    latency = "" if told["ms_per_kb"] is None else f" Latency, median: {told['ms_per_kb']:.2f} ms per KB."
    guards = ", ".join(told["guards"])
    texts = f"{told['texts']} texts, {told['characters']} characters"
    console.print(
        f"{printable(told['gold'])}: {texts}. Guards: {guards}.{latency}",
        soft_wrap=True,
        markup=False,
    )
    for name, first in (("entities", "type"), ("groups", "group"), ("labels", "group")):
        if told.get(name):
            console.print(_table(first, told[name]))


def _table(first: str, rows: Mapping[str, Row]) -> Table:
    table = Table(first, box=box.SIMPLE_HEAD)
    for name in next(iter(rows.values())):
        table.add_column(_HEADS[name], justify="right")
    for name, row in rows.items():
        table.add_row(escape(printable(name)), *map(shown, row.values()))
    return table


def shown(value: float | int | None) -> str:
    """A figure as the tables show it."""
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
