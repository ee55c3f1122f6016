"""What must change with a text that was rewritten, so that all of a response agrees. Pure.

Log probabilities spell the text token by token and are dropped; annotations' offsets move with it;
`encrypted_content` seals what the text said before, so it goes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from guardproxy.document import Edits, outer
from guardproxy.redaction import Placeholder, Range, moved
from guardproxy.types import Number, Path, PathMark


def follow(
    document: Any, edits: Edits, ranges_at: Callable[[Path], Sequence[Range]], placeholder: Placeholder
) -> int:
    """Add to `edits` what follows from its new texts; how many `encrypted_content` were dropped.

    `ranges_at` gives what is replaced in the text at a path of `document`.
    """
    dropped = 0
    for path in {outer(path) for path in edits.texts}:
        if not path or path[-1] is PathMark.KEY:
            continue
        value, parents = document, []
        for depth, step in enumerate(path):
            parents.append((path[:depth], value))
            value = value[step]
        for above, parent in parents:
            sealed = (*above, "encrypted_content")
            if (
                isinstance(parent, dict)
                and isinstance(parent.get("encrypted_content"), str)
                and sealed != path
            ):
                dropped += sealed not in edits.raw
                edits.raw[sealed] = "null"
        above, parent = parents[-1]
        if isinstance(parent, dict):
            if parent.get("logprobs"):
                edits.raw[(*above, "logprobs")] = "[]"
            annotations = parent.get("annotations")
            if isinstance(annotations, list):
                for index, annotation in enumerate(annotations):
                    place = (*above, "annotations", index)
                    move_annotation(annotation, place, edits, ranges_at(path), placeholder)
    return dropped


def move_annotation(
    annotation: Any, place: Path, edits: Edits, ranges: Sequence[Range], placeholder: Placeholder
) -> None:
    """Move the offsets of the annotation at `place` with the text that it is about."""
    if not isinstance(annotation, dict) or not ranges:
        return
    first, last = _offset(annotation, "start_index"), _offset(annotation, "end_index")
    if first is not None and last is not None:
        start, end = moved(first, last, ranges, placeholder)
        edits.raw[(*place, "start_index")] = str(start)
        edits.raw[(*place, "end_index")] = str(end)
    if (point := _offset(annotation, "index")) is not None:
        edits.raw[(*place, "index")] = str(moved(point, point + 1, ranges, placeholder)[0])


def _offset(annotation: dict[str, Any], key: str) -> int | None:
    value = annotation.get(key)
    return int(value) if isinstance(value, Number) and value.isdigit() and len(value) < 16 else None
