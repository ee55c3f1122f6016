"""What `guardproxy scan` found, and how it is told: to people, as JSON, as SARIF. Pure.

Nothing here has a text of the files: a finding is a place, a category and a score, and a key in which
something was found shows redacted in every path. So the output may go to a log or a public report.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from guardproxy.types import Receipt

STDIN = "-"
MOST_FINDINGS = 10_000  # listed of one file; `total` counts all
FINGERPRINT = "guardproxy/v1"
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


class Region(NamedTuple):
    """Where a finding stands in its file: from 1, in code points, the end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


class Found(NamedTuple):
    """One finding. In JSON `start` and `end` count in the string at `path`, and `region` in the file."""

    region: Region
    guard: str
    category: str
    path: str
    start: int
    end: int
    score: float


@dataclass(slots=True)
class Scanned:
    """What was found in one file; with `error` it was not inspected to its end."""

    name: str
    found: list[Found] = field(default_factory=list)
    total: int = 0
    receipt: Receipt = field(default_factory=Receipt)
    error: str | None = None

    @property
    def outcome(self) -> str:
        """The word of a verdict; clean is only what was inspected to its end."""
        if self.error is not None:
            return "failed"
        return "flagged" if self.total else "clean"


def human(files: Sequence[Scanned], guards: Sequence[str]) -> Iterator[str]:
    """A line for each finding, and one for all."""
    categories: Counter[str] = Counter()
    for file in files:
        for found in file.found:
            categories[found.category] += 1
            place = f" at {printable(found.path)}" if found.path else ""
            yield (
                f"{printable(file.name)}:{found.region.line}:{found.region.column}: "
                f"{found.guard} {found.category}{place} ({found.score:.2f})"
            )
        if file.total > len(file.found):
            yield f"{printable(file.name)}: {file.total - len(file.found)} more"
    inspected = sum(file.error is None for file in files)
    of = f"{inspected} {'file' if inspected == 1 else 'files'}"
    if failed := len(files) - inspected:
        of += f" ({failed} more could not be inspected to the end)"
    number = sum(file.total for file in files)
    kinds = ", ".join(f"{category} {count}" for category, count in sorted(categories.items()))
    findings = f"{number} {'finding' if number == 1 else 'findings'} in {of}: {kinds}" if number else ""
    yield f"{findings or f'No findings in {of}'}. Guards: {', '.join(guards)}."


def printable(text: str) -> str:
    """A name or a path on one line, with which nobody can write to a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def as_json(files: Sequence[Scanned], guards: Sequence[str]) -> str:
    """One object for all files."""
    told = {
        "guardproxy": importlib.metadata.version("guardproxy"),
        "guards": list(guards),
        "files": [
            {
                "file": file.name,
                "outcome": file.outcome,
                "error": file.error,
                "receipt": dataclasses.asdict(file.receipt),
                "findings": [
                    {**found._asdict(), "region": found.region._asdict(), "score": round(found.score, 4)}
                    for found in file.found
                ],
                "total": file.total,
            }
            for file in files
        ],
    }
    return json.dumps(told, indent=2)


def sarif(files: Sequence[Scanned], guards: Sequence[str]) -> str:
    """A log of SARIF 2.1.0 with one run: a rule for each category, a notification for each error."""
    categories = sorted({(f.category, f.guard) for file in files for f in file.found})
    rules = dict(reversed(categories))  # of two guards with one category the first names it
    numbers = {category: index for index, category in enumerate(sorted(rules))}
    errors = [file for file in files if file.error is not None]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "guardproxy",
                "version": importlib.metadata.version("guardproxy"),
                "rules": [_rule(category, rules[category]) for category in numbers],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not errors,
                "toolExecutionNotifications": [
                    {
                        "level": "error",
                        "message": {"text": file.error},
                        "locations": [{"physicalLocation": {"artifactLocation": _artifact(file.name)}}],
                    }
                    for file in errors
                ],
            }
        ],
        "results": [result for file in files for result in _results(file, numbers)],
        "properties": {"guards": list(guards)},
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(category: str, guard: str) -> dict[str, Any]:
    return {
        "id": category,
        "shortDescription": {"text": f"{category}, found by the guard {guard}."},
        "defaultConfiguration": {"level": "warning"},
    }


def _results(file: Scanned, numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    seen: Counter[tuple[str, str, str]] = Counter()
    for found in file.found:
        same = (found.guard, found.category, found.path)
        seen[same] += 1
        location: dict[str, Any] = {
            "physicalLocation": {
                "artifactLocation": _artifact(file.name),
                "region": {
                    "startLine": found.region.line,
                    "startColumn": found.region.column,
                    "endLine": found.region.end_line,
                    "endColumn": found.region.end_column,
                },
            }
        }
        if found.path:
            location["logicalLocations"] = [{"fullyQualifiedName": found.path}]
        place = f" at {found.path}" if found.path else ""
        yield {
            "ruleId": found.category,
            "ruleIndex": numbers[found.category],
            "level": "warning",
            "rank": round(found.score * 100, 2),
            "message": {"text": f"The guard {found.guard} found {found.category}{place}."},
            "locations": [location],
            # Of no text, not even a digest: one of a card number or a name can be guessed. The how many-th of
            # its kind in its place it is outlives lines that move.
            "partialFingerprints": {FINGERPRINT: _digest(file.name, *same, str(seen[same]))},
        }


def _digest(*facts: str) -> str:
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _artifact(name: str) -> dict[str, str]:
    if name == STDIN:
        return {"uri": "stdin"}
    path = Path(name)
    return {"uri": path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))}
