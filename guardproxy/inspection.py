"""Find every match in whole texts: blocks and pieces, readings, and the cache of what was seen before.

The same text gives the same matches here and in a stream (streaming.py uses the same pieces).
"""

from collections.abc import Sequence

from guardproxy.blocks import blocks
from guardproxy.readings import Reading, back_from, clean, fold, on_from
from guardproxy.scanning import DetectorRef, Meter, Scanner
from guardproxy.types import Match

PIECE = 8192  # characters of a text that a local detector sees at a time, beside its reach


async def find(
    scanner: Scanner,
    guard: str,
    texts: Sequence[str],
    digests: Sequence[bytes],
    meter: Meter | None = None,
    *,
    local: bool = False,
) -> list[Sequence[Match]]:
    """The matches of a guard in each of `texts`, with offsets of the text as it is.

    `digests` are the scanner's of each text: made once for all guards. `local` leaves out the
    blockwise detectors.
    """
    get, slot = scanner.cache.get, scanner.slot(guard, local=local)
    found = [get(slot, digest) for digest in digests]
    missing: dict[bytes, list[int]] = {}
    for index, matches in enumerate(found):
        if matches is None:
            missing.setdefault(digests[index], []).append(index)
    if missing:
        news = [texts[indexes[0]] for indexes in missing.values()]
        results: list[list[Match]] = [[] for _ in news]
        for ref in scanner.refs(guard):
            if ref.reach is not None:
                fresh = await _local(scanner, ref, news, meter)
            elif not local:
                fresh = await _blockwise(scanner, ref, news, meter)
            else:
                continue
            for result, more in zip(results, fresh, strict=True):
                result += more
        for (digest, indexes), result in zip(missing.items(), results, strict=True):
            scanner.cache.put(slot, digest, result)
            for index in indexes:
                found[index] = tuple(result)
    return [matches or () for matches in found]


async def _local(
    scanner: Scanner, ref: DetectorRef, texts: Sequence[str], meter: Meter | None
) -> list[list[Match]]:
    cuts = [
        (index, start, min(start + PIECE, len(text)))
        for index, text in enumerate(texts)
        for start in range(0, max(1, len(text)), PIECE)
    ]
    slices = [local_slice(ref, texts[index], start, end) for index, start, end in cuts]
    results = await seen(scanner, ref, [text for text, _ in slices], meter)
    found: list[list[Match]] = [[] for _ in texts]
    for (index, start, end), (_, offset), matches in zip(cuts, slices, results, strict=True):
        last = end == len(texts[index])
        for match in matches:
            at = match.start + offset
            if not (start <= at and (at < end or last)):
                continue
            whole = shifted(match, offset)
            if match.open and whole.end < len(texts[index]):
                whole = await _closed(scanner, ref, texts[index], whole, meter)
            found[index].append(whole)
    return found


async def _closed(scanner: Scanner, ref: DetectorRef, text: str, match: Match, meter: Meter | None) -> Match:
    """An open match that a piece's end had cut, up to where it closes in the whole text."""
    first = back_from(text, match.start, ref.reach or 0)
    end = match.end
    while match.open and end < len(text):
        end = min(len(text), 2 * end - first)
        for candidate in (await seen(scanner, ref, [text[first:end]], meter))[0]:
            if candidate.start + first == match.start and candidate.category == match.category:
                match = shifted(candidate, first)
                break
        else:
            return match
    return match


async def _blockwise(
    scanner: Scanner, ref: DetectorRef, texts: Sequence[str], meter: Meter | None
) -> list[list[Match]]:
    cuts = [(index, block) for index, text in enumerate(texts) for block in blocks(text)]
    results = await seen(scanner, ref, [texts[index][b.seen : b.end] for index, b in cuts], meter)
    found: list[list[Match]] = [[] for _ in texts]
    for (index, block), matches in zip(cuts, results, strict=True):
        found[index] += block.own(matches)
    return found


def local_slice(ref: DetectorRef, text: str, start: int, end: int) -> tuple[str, int]:
    """What a local detector must see to know all matches that start in [start, end), and its offset."""
    assert ref.reach is not None
    first = back_from(text, start, ref.reach)
    return text[first : on_from(text, end, ref.reach)], first


def shifted(match: Match, offset: int) -> Match:
    """`match` with its offsets moved."""
    if not offset:
        return match
    return Match(
        match.start + offset,
        match.end + offset,
        match.category,
        match.score,
        match.validated,
        match.open,
    )


async def seen(
    scanner: Scanner, ref: DetectorRef, slices: Sequence[str], meter: Meter | None = None
) -> list[list[Match]]:
    """The matches in each slice: in the text itself, and in its reading where it has another form."""
    texts = [clean(text) for text in slices]
    readings: list[tuple[int, Reading]] = []
    for index, text in enumerate(texts):
        if not text.isascii() and (reading := fold(text)) is not None:
            readings.append((index, reading))
    results = await scanner.scan(ref, [*texts, *(reading.text for _, reading in readings)], meter)
    found = results[: len(texts)]
    if readings:
        found = [list(matches) for matches in found]
        for (index, reading), matches in zip(readings, results[len(texts) :], strict=True):
            found[index] += [back for m in matches if (back := reading.back(m)) not in found[index]]
    return found
