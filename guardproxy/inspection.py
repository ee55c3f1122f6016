"""Find every match in whole texts: blocks and pieces, readings, and the cache of what was seen before.

The same text gives the same matches here and in a stream (streaming.py uses the same pieces).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from guardproxy.blocks import blocks
from guardproxy.decodings import packing_end
from guardproxy.readings import Reading, back_from, clean, on_from, plain, readings, squeezed
from guardproxy.redaction import order
from guardproxy.scanning import DetectorRef, Meter, Scanner
from guardproxy.types import Match

PIECE = 8192  # characters of a text that a local detector sees at a time, beside its reach
LONGEST_OPEN = 16 * 1024  # characters of an open match that are seen as one
GROUP = 8  # pieces that are read and scanned before the others on the loop have their turn


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
        refs = scanner.refs(guard)
        await _local(scanner, [ref for ref in refs if ref.reach is not None], news, results, meter)
        for ref in refs:
            if ref.reach is None and not local:
                await _blockwise(scanner, ref, news, results, meter)
        for (digest, indexes), result in zip(missing.items(), results, strict=True):
            scanner.cache.put(slot, digest, result)
            for index in indexes:
                found[index] = tuple(result)
    return [matches or () for matches in found]


async def _local(
    scanner: Scanner,
    refs: Sequence[DetectorRef],
    texts: Sequence[str],
    found: Sequence[list[Match]],
    meter: Meter | None,
) -> None:
    reach = reach_of(refs)
    forms = [squeezed(text) for text in texts]
    texts = [form.text for form in forms]
    cuts = [
        (index, start, min(start + PIECE, len(text)))
        for index, text in enumerate(texts)
        for start in range(0, max(1, len(text)), PIECE)
    ]
    closed: dict[tuple[int, DetectorRef], tuple[int, int]] = {}  # the open match that was followed last
    for group in (cuts[i : i + GROUP] for i in range(0, len(cuts), GROUP)):
        slices = [local_slice(reach, texts[index], start, end) for index, start, end in group]
        read = [readings(clean(text)) for text, _ in slices]
        for ref in refs:
            results = await seen(scanner, ref, read, meter)
            for (index, start, end), (_, offset), matches in zip(group, slices, results, strict=True):
                text, last = texts[index], end == len(texts[index])
                for match in sorted(matches, key=order):
                    at = match.start + offset
                    if not (start <= at and (at < end or last)):
                        continue
                    whole = shifted(match, offset)
                    if match.open and whole.end < len(text):
                        first, close = closed.get((index, ref), (0, 0))
                        if not first <= whole.start < close:
                            close = await _close(scanner, ref, text, whole, reach, meter)
                            closed[index, ref] = (whole.start, close)
                        # What begins within an open match and is open too ends where that does.
                        whole = replace(whole, end=max(close, whole.end), open=False)
                    found[index].append(forms[index].back(whole))
        if len(cuts) > GROUP:
            await asyncio.sleep(0)  # the others on the loop have their turn


async def _close(
    scanner: Scanner, ref: DetectorRef, text: str, match: Match, reach: int, meter: Meter | None
) -> int:
    """Where a match closes that the end of a slice had left open; as a stream finds it (window.py)."""
    first = back_from(text, match.start, reach)
    end = match.end
    while end < len(text) and end - match.start < LONGEST_OPEN:
        end = min(len(text), max(end + PIECE, match.start + LONGEST_OPEN))
        found = await _at(scanner, ref, [readings(clean(text[first:end]))], match, match.start - first, meter)
        stop = first + max((m.end for m in found), default=match.end - first)
        if not any(m.open for m in found) or stop < end:
            return stop
    if await is_packed(scanner, ref, text[match.start : end], match.category, meter):
        return packing_end(text, end)
    # Its opening and the last characters tell whether it goes on.
    opening = text[match.start : on_from(text, match.start, reach)]
    while end < len(text):
        tail = back_from(text, end, reach)
        end = min(len(text), end + PIECE)
        piece = opening + text[tail:end]
        found = await _at(scanner, ref, [readings(clean(piece))], match, 0, meter)
        stop = max((m.end for m in found), default=0)
        if not any(m.open for m in found) or stop < len(piece):
            return tail + max(0, stop - len(opening))
    return end


async def _at(
    scanner: Scanner,
    ref: DetectorRef,
    read: Sequence[Sequence[Reading]],
    match: Match,
    start: int,
    meter: Meter | None,
) -> list[Match]:
    (found,) = await seen(scanner, ref, read, meter)
    return [m for m in found if m.start == start and m.category == match.category]


async def is_packed(
    scanner: Scanner, ref: DetectorRef, text: str, category: str, meter: Meter | None = None
) -> bool:
    """Whether the match with which `text` begins is one in base64 or hex: it ends where its packing does."""
    unpacked = [reading for reading in readings(clean(text)) if not reading.packed]
    (found,) = await seen(scanner, ref, [unpacked], meter)
    return all(m.start for m in found if m.category == category)


def reach_of(refs: Iterable[DetectorRef]) -> int:
    """The longest reach of the local ones among `refs`: all see the same slices, which are read once."""
    return max((ref.reach for ref in refs if ref.reach is not None), default=0)


async def _closed(scanner: Scanner, ref: DetectorRef, text: str, match: Match, meter: Meter | None) -> Match:
    """An open match that a piece's end had cut, up to where it closes in the whole text."""
    first = back_from(text, match.start, ref.reach or 0)
    end = match.end
    while match.open and end < len(text):
        end = min(len(text), 2 * end - first)
        for candidate in (await seen(scanner, ref, [readings(clean(text[first:end]))], meter))[0]:
            if candidate.start + first == match.start and candidate.category == match.category:
                match = shifted(candidate, first)
                break
        else:
            return match
    return match


async def _blockwise(
    scanner: Scanner,
    ref: DetectorRef,
    texts: Sequence[str],
    found: Sequence[list[Match]],
    meter: Meter | None,
) -> None:
    cuts = [(index, block) for index, text in enumerate(texts) for block in blocks(text)]
    read = [plain(clean(texts[index][b.seen : b.end])) for index, b in cuts]
    for (index, block), matches in zip(cuts, await seen(scanner, ref, read, meter), strict=True):
        found[index].extend(block.own(matches))


def local_slice(reach: int, text: str, start: int, end: int) -> tuple[str, int]:
    """What a local detector must see to know all matches that start in [start, end), and its offset."""
    first = back_from(text, start, reach) if start else 0
    return text[first : on_from(text, end, reach)], first


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
    scanner: Scanner, ref: DetectorRef, read: Sequence[Sequence[Reading]], meter: Meter | None = None
) -> list[list[Match]]:
    """The matches in each slice, by its readings; of a derived reading only the validated ones."""
    texts = [reading.text for of_slice in read for reading in of_slice]
    results = iter(await scanner.scan(ref, texts, meter))
    found: list[list[Match]] = []
    for of_slice in read:
        matches = next(results)
        if len(of_slice) > 1:
            every = dict.fromkeys(matches)
            for reading in of_slice[1:]:
                every |= dict.fromkeys(
                    reading.back(m) for m in next(results) if m.validated or not reading.derived
                )
            matches = list(every)
        found.append(matches)
    return found
