"""`guardproxy scan`: the guards over files, in bounded memory where a file is text.

A text goes through the hold-back window piece by piece, as a stream does; a JSON document is walked as a
request is, but for the table of the API's own words: every string, key and long number is a text.
"""

import asyncio
import bisect
import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pluggy
import rich_click as click

from guardproxy import document, scan_report
from guardproxy.errors import GuardProxyError, Uninspectable
from guardproxy.findings import Hit
from guardproxy.inspection import PIECE
from guardproxy.offline import Offline, bar, offline
from guardproxy.scan_report import MOST_FINDINGS, STDIN, Found, Region, Scanned
from guardproxy.settings import Settings
from guardproxy.shapes import FREE
from guardproxy.stage import StageRun
from guardproxy.types import Guard, TextPart, pointer
from guardproxy.types import Path as Place
from guardproxy.window import Window

FORMS = ("human", "json", "sarif")
LONG = 64 * 1024  # bytes of input that are worth a progress bar; standard input may be of any length


class Unreadable(Exception):
    """A file that cannot be inspected; the message says why, and what would be right."""


def run(
    manager: pluggy.PluginManager,
    settings: Settings,
    guards: Mapping[str, Guard],
    names: Sequence[str],
    form: str,
) -> int:
    """Scan the files (or `-`) and print what was found; the exit code.

    Raises:
        ConfigError: a guard does not start.
    """
    total = None if STDIN in names else sum(map(_size, names))
    files = asyncio.run(_scan(manager, settings, guards, names, total))
    told = tuple(guards)
    if form == "human":
        for line in scan_report.human(files, told):
            click.echo(line)
    else:
        click.echo((scan_report.as_json if form == "json" else scan_report.sarif)(files, told))
    failed = [file for file in files if file.error is not None]
    for file in failed:
        click.echo(f"guardproxy: {scan_report.printable(file.name)}: {file.error}", err=True)
    return 2 if failed else int(any(file.total for file in files))


def _size(name: str) -> int:
    try:
        return Path(name).stat().st_size
    except OSError:
        return 0


async def _scan(
    manager: pluggy.PluginManager,
    settings: Settings,
    guards: Mapping[str, Guard],
    names: Sequence[str],
    total: int | None,
) -> list[Scanned]:
    async with offline(manager, settings, guards) as work:
        with bar("scanning", total, LONG) as advance:
            return [await _file(work, name, settings.max_body, advance) for name in names]


async def _file(work: Offline, name: str, limit: int, advance: Callable[[int], None]) -> Scanned:
    scanned = Scanned(name)
    kind = Path(name).suffix.lower()
    try:
        with click.open_file(name, "rb") as stream:
            pieces = decoded(stream, advance)
            if kind == ".json":
                text = _whole(pieces, limit)
                await _document(work.run(), text, scanned, Lines(text))
            elif kind == ".jsonl":
                for number, line in _lines(pieces, limit):
                    await _line(work.run(), line, scanned, number)
            else:
                await _text(work.run(), pieces, scanned)
    except IsADirectoryError:
        scanned.error = "It is a folder; name its files."
    except OSError as error:
        scanned.error = f"It cannot be read: {error.strerror}."
    except Unreadable as error:
        scanned.error = str(error)
    except GuardProxyError as error:
        scanned.error = error.message
    scanned.found.sort()
    return scanned


def decoded(stream: IO[bytes], advance: Callable[[int], None] = lambda _: None) -> Iterator[str]:
    """The text of `stream` in pieces, less a byte order mark; `advance` gets the bytes that were dealt with.

    Raises:
        Unreadable: not UTF-8, with the offset in bytes.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, begun = 0, False
    while True:
        data = stream.read(PIECE)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise Unreadable(
                f"It is not UTF-8: byte {done - pending + error.start}. Convert it first."
            ) from None
        if (at := data.find(0)) >= 0:
            raise Unreadable(f"It is no text: byte {done + at} is NUL. UTF-16 has to be converted first.")
        if text:
            yield text if begun else text.removeprefix("\ufeff")
            begun = True
        done += len(data)
        advance(len(data))
        if not data:
            return


def _whole(pieces: Iterator[str], limit: int) -> str:
    kept: list[str] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > limit:
            raise Unreadable(
                f"It has more than {limit} characters (max_body), and a JSON document is read whole; "
                "send JSON Lines (.jsonl), or raise max_body."
            )
    return "".join(kept)


def _lines(pieces: Iterator[str], limit: int) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    number, rest = 1, ""
    for piece in pieces:
        *ended, rest = (rest + piece).split("\n")
        for line in ended:
            if line.strip():
                yield number, line
            number += 1
        if len(rest) > limit:
            raise Unreadable(f"Line {number} has more than {limit} characters (max_body).")
    if rest.strip():
        yield number, rest


class Lines:
    """Where the lines of a text begin, which may come in pieces; the first one has the number `first`."""

    def __init__(self, text: str = "", first: int = 1) -> None:
        self._first = first
        self._starts = [0]
        self._end = 0
        self.add(text)

    def add(self, text: str) -> None:
        """More of the text."""
        at = text.find("\n")
        while at >= 0:
            self._starts.append(self._end + at + 1)
            at = text.find("\n", at + 1)
        self._end += len(text)

    def region(self, start: int, end: int) -> Region:
        """Where [start, end) stands."""
        return Region(*self._at(start), *self._at(end))

    def _at(self, offset: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._starts, offset) - 1
        return line + self._first, offset - self._starts[line] + 1


async def _text(run: StageRun, pieces: Iterable[str], scanned: Scanned) -> None:
    window, lines = Window(run, run.enforced), Lines()
    seen: set[Hit] = set()

    def note(hits: Iterable[Hit]) -> None:
        for hit in hits:
            if hit not in seen:
                seen.add(hit)
                _note(scanned, hit, "", lines.region(hit.match.start, hit.match.end))

    for piece in pieces:
        lines.add(piece)
        note(await window.push(piece))
        window.forget(window.safe)
    note(await window.close())
    run.count([TextPart((), "")], {})
    scanned.receipt += run.finish().receipt


async def _line(run: StageRun, line: str, scanned: Scanned, number: int) -> None:
    try:
        await _document(run, line, scanned, Lines("", number))
    except Uninspectable as error:
        raise Unreadable(f"Line {number}: {error.message}") from None


async def _document(run: StageRun, text: str, scanned: Scanned, lines: Lines) -> None:
    value = document.parse(text, "It")
    parts, skipped = document.walk(value, FREE)
    run.count(parts, skipped)
    hits = await run.hits(parts, run.enforced, joined=True)
    run.apply(parts, hits, document=value)  # from here on paths show keys redacted
    literals = _literals(text, {part.path for part, of_part in zip(parts, hits, strict=True) if of_part})
    for part, of_part in zip(parts, hits, strict=True):
        if of_part:
            path, offsets = run.found.shown(pointer(part.path)), offsets_of(text, *literals[part.path])
            for hit in dict.fromkeys(of_part):
                region = lines.region(offsets[hit.match.start], offsets[hit.match.end])
                _note(scanned, hit, path, region)
    scanned.receipt += run.finish().receipt


def _literals(text: str, wanted: set[Place]) -> dict[Place, tuple[int, int]]:
    if not wanted:
        return {}
    return {path: (start, end) for path, start, end in document.spans(text, wanted) if path in wanted}


def offsets_of(text: str, start: int, end: int) -> list[int]:
    """Where each character of the JSON literal [start, end) stands in `text`, and where the last ends."""
    if text[start] != '"':
        return list(range(start, end + 1))  # a number
    found: list[int] = []
    at, end = start + 1, end - 1
    while at < end:
        found.append(at)
        length = 1 if text[at] != "\\" else 6 if text[at + 1] == "u" else 2
        # A character beyond the first 65,536 is two escapes.
        if length == 6 and _half(text, at, "dD", "89abAB") and _half(text, at + 6, "dD", "cdefCDEF"):
            length = 12
        at += length
    return [*found, end]


def _half(text: str, at: int, first: str, second: str) -> bool:
    return text[at : at + 2] == "\\u" and text[at + 2] in first and text[at + 3] in second


def _note(scanned: Scanned, hit: Hit, path: str, region: Region) -> None:
    scanned.total += 1
    if len(scanned.found) < MOST_FINDINGS:
        match = hit.match
        scanned.found.append(
            Found(region, hit.guard, match.category, path, match.start, match.end, match.score)
        )
