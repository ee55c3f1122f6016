"""Measured floors of the guard `secrets` on the shared detection data."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardproxy import Match
from guardproxy_secrets import Contexts, PrivateKeys, Tokens

DATA = Path(__file__).parents[2] / "../shared/detection"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared detection data is not here")


def records(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@pytest.fixture(scope="module")
def rates() -> dict[str, float]:
    """By group: the share of secrets found, and of texts without secrets that were flagged."""
    detectors = (Tokens(), Contexts(), PrivateKeys())
    for detector in detectors:
        detector.load()
    counts: dict[str, list[bool]] = defaultdict(list)
    for record in (*records("secrets_dev"), *records("neg_dev")):
        text, spans = record["text"], record.get("spans", [])
        found: list[Match] = [m for detector in detectors for m in detector.scan([text])[0]]
        for span in spans:
            place = range(span["start"], span["end"])
            covered = {i for m in found for i in range(m.start, m.end)}
            counts[record["group"]].append(2 * len(covered & set(place)) >= len(place))
        if not spans:
            counts[record["group"]].append(bool(found))
    return {group: sum(hits) / len(hits) for group, hits in counts.items()}


@pytest.mark.parametrize(
    ("group", "least"),
    [("gitleaks/core", 0.975), ("kingfisher/core", 0.88), ("gitleaks/tail", 0.89), ("kingfisher/tail", 0.88)],
)
def test_recall(rates: dict[str, float], group: str, least: float) -> None:
    assert rates[group] >= least


@pytest.mark.parametrize(
    ("group", "most"),
    [
        *((f"neg/{group}", 0) for group in ("lockfile", "code", "alpaca-seed", "base64-image", "svg-path")),
        *((f"neg/{group}", 0) for group in ("uuid", "git-sha", "version4", "kingfisher-negative")),
        ("neg/gitleaks-fps", 0.05),
    ],
)
def test_false_alarms(rates: dict[str, float], group: str, most: float) -> None:
    assert rates[group] <= most
