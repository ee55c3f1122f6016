"""Find every match in whole texts: blocks and pieces, readings, and the cache of what was seen before.

The same text gives the same matches here and in a stream (lanes.py).
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from guardproxy.blocks import blocks
from guardproxy.lanes import ENDLESS, LONGEST_OPEN, LocalLane, Tail, goes_on, seen, shifted
from guardproxy.readings import Reading, back_from, clean, on_from, plain, readings, squeezed
from guardproxy.scanning import DetectorRef, Meter, Scanner
from guardproxy.types import Match

PIECE = 8192  # characters of a text that a local detector sees at a time, beside its reach
MOST_SHARED = 256  # texts whose readings are kept from one guard to the next
Read: TypeAlias = dict[str, list[Reading]]
GROUP = 8  # pieces that are read and scanned before the others on the loop have their turn


async def find(
    scanner: Scanner,
    guard: str,
    texts: Sequence[str],
    digests: Sequence[bytes],
    meter: Meter | None = None,
    *,
    local: bool = False,
    read: Read | None = None,
) -> list[Sequence[Match]]:
    """The matches of a guard in each of `texts`, with offsets of the text as it is.

    `digests` are the scanner's of each text: made once for all guards, like the readings in `read`.
    `local` leaves out the blockwise detectors.
    """
    get, slot = scanner.cache.get, scanner.slot(guard, local=local)
    found = [get(slot, digest) for digest in digests]
    missing: dict[bytes, list[int]] = {}
    for index, matches in enumerate(found):
        if matches is None:
            missing.setdefault(digests[index], []).append(index)
        elif meter is not None:
            meter.cached += 1
    if missing:
        news = [texts[indexes[0]] for indexes in missing.values()]
        results: list[list[Match]] = [[] for _ in news]
        refs = scanner.refs(guard)
        await _local(scanner, [ref for ref in refs if ref.reach is not None], news, results, meter, read)
        for ref in refs:
            if ref.reach is None and not local:
                await _blockwise(scanner, ref, news, results, meter)
        for (digest, indexes), result in zip(missing.items(), results, strict=True):
            scanner.cache.put(slot, digest, result)
            for index in indexes:
                found[index] = tuple(result)
    if meter is not None:
        meter.last = time.perf_counter()
    return [matches or () for matches in found]


async def _local(
    scanner: Scanner,
    refs: Sequence[DetectorRef],
    texts: Sequence[str],
    found: Sequence[list[Match]],
    meter: Meter | None,
    shared: Read | None,
) -> None:
    reach = reach_of(refs)
    forms = [squeezed(text) for text in texts]
    texts = [form.text for form in forms]
    cuts = [
        (index, start, min(start + PIECE, len(text)))
        for index, text in enumerate(texts)
        for start in range(0, max(1, len(text)), PIECE)
    ]
    followed: dict[DetectorRef, dict[int, int]] = {ref: {} for ref in refs}  # texts, and from where on
    for group in (cuts[i : i + GROUP] for i in range(0, len(cuts), GROUP)):
        slices = [local_slice(reach, texts[index], start, end) for index, start, end in group]
        read = [_readings(text, shared) for text, _ in slices]
        for ref in refs:
            results = await seen(scanner, ref, read, meter)
            for (index, start, end), (piece, offset), matches in zip(group, slices, results, strict=True):
                if index in followed[ref]:
                    continue
                length = len(texts[index])
                moved = [shifted(match, offset) for match in matches]
                own = [m for m in moved if start <= m.start and (m.start < end or end == length)]
                ends = offset + len(piece) == length
                if any(m.end - m.start >= LONGEST_OPEN or (goes_on(m, end, reach) and not ends) for m in own):
                    followed[ref][index] = start
                else:
                    found[index].extend(map(forms[index].back, own))
        if len(cuts) > GROUP:
            await asyncio.sleep(0)  # the others on the loop have their turn
    for ref, begun in followed.items():
        for index, start in begun.items():
            matches = await _followed(scanner, ref, texts[index], start, reach, meter)
            # One that goes to the end takes the invisible characters that were cut off there with it.
            length = len(texts[index])
            found[index].extend(forms[index].back(replace(m, open=m.end == length)) for m in matches)


def _readings(text: str, shared: Read | None) -> list[Reading]:
    read = None if shared is None else shared.get(text)
    if read is None:
        read = readings(clean(text))
        if shared is not None and len(shared) < MOST_SHARED:
            shared[text] = read
    return read


async def _followed(
    scanner: Scanner, ref: DetectorRef, text: str, start: int, reach: int, meter: Meter | None
) -> list[Match]:
    """The matches from `start` on of a text with one that is longer than a piece, as a stream finds them."""
    first = back_from(text, start, reach)
    lane = LocalLane(scanner, ref, reach, meter, start, first)
    tail = Tail(first)
    found: list[Match] = []
    for end in range(start, len(text), PIECE):
        tail.text += text[tail.end : end + PIECE]
        found += await lane.advance(tail, tail.end == len(text))
        tail.drop(lane.needs)
        await asyncio.sleep(0)
    return [match for match in found if match.end != ENDLESS]


def reach_of(refs: Iterable[DetectorRef]) -> int:
    """The longest reach of the local ones among `refs`: all see the same slices, which are read once."""
    return max((ref.reach for ref in refs if ref.reach is not None), default=0)


async def _blockwise(
    scanner: Scanner,
    ref: DetectorRef,
    texts: Sequence[str],
    found: Sequence[list[Match]],
    meter: Meter | None,
) -> None:
    cuts = [(index, block) for index, text in enumerate(texts) for block in blocks(text, ref.context)]
    read = [plain(clean(texts[index][b.seen : b.end])) for index, b in cuts]
    for (index, block), matches in zip(cuts, await seen(scanner, ref, read, meter), strict=True):
        found[index].extend(block.own(matches))


def local_slice(reach: int, text: str, start: int, end: int) -> tuple[str, int]:
    """What a local detector must see to know all matches that start in [start, end), and its offset."""
    first = back_from(text, start, reach) if start else 0
    return text[first : on_from(text, end, reach)], first
