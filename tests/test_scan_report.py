"""What a scan found, as JSON and SARIF."""

import json
from typing import Any

from guardproxy.scan_report import Found, Region, Scanned, as_json, human, sarif
from guardproxy.types import Receipt

REGION = Region(2, 3, 2, 11)


def scanned() -> list[Scanned]:
    one = Found(REGION, "pii", "EMAIL_ADDRESS", "/a", 1, 9, 0.51234)
    two = Found(REGION._replace(line=4, end_line=5), "secrets", "TOKEN", "", 1, 9, 1.0)
    return [
        Scanned("dir/a b.json", [one, one, two], 4, Receipt(3, {"image": 1})),
        Scanned("-", error="It is not UTF-8."),
        Scanned("/etc/c.txt", [Found(REGION, "other", "TOKEN", "", 1, 9, 1.0)], 1),
    ]


def log(files: list[Scanned]) -> Any:
    (run,) = json.loads(sarif(files, ("pii", "secrets")))["runs"]
    return run


def test_sarif_has_rules_by_category_and_results_with_regions() -> None:
    run = log(scanned())
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["EMAIL_ADDRESS", "TOKEN"]
    assert run["columnKind"] == "unicodeCodePoints"
    first, _, third, last = run["results"]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "dir/a%20b.json"}
    assert place["region"] == {"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 11}
    assert first["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "/a"}]
    assert first["rank"] == 51.23
    assert "logicalLocations" not in third["locations"][0]
    assert last["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///etc/c.txt"}
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])


def test_sarif_says_what_could_not_be_inspected() -> None:
    (invocation,) = log(scanned())["invocations"]
    assert invocation["executionSuccessful"] is False
    (note,) = invocation["toolExecutionNotifications"]
    assert (note["level"], note["message"]["text"]) == ("error", "It is not UTF-8.")
    assert note["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "stdin"}
    assert log([Scanned("a")])["invocations"][0]["executionSuccessful"] is True


def test_fingerprints_differ_and_outlive_lines_that_move() -> None:
    def prints(files: list[Scanned]) -> list[str]:
        return [result["partialFingerprints"]["guardproxy/v1"] for result in log(files)["results"]]

    before = prints(scanned())
    files = scanned()
    files[0].found[:] = [
        found._replace(region=Region(9, 9, 9, 9), start=40, end=50) for found in files[0].found
    ]
    assert len(set(before)) == len(before)
    assert prints(files) == before


def test_json_and_what_people_read() -> None:
    told = json.loads(as_json(scanned(), ("pii", "secrets")))
    assert told["guards"] == ["pii", "secrets"]
    assert [(f["file"], f["outcome"], f["total"]) for f in told["files"]] == [
        ("dir/a b.json", "flagged", 4),
        ("-", "failed", 0),
        ("/etc/c.txt", "flagged", 1),
    ]
    assert told["files"][0]["findings"][0]["score"] == 0.5123
    assert told["files"][0]["receipt"] == {"parts": 3, "skipped": {"image": 1}, "allowed": 0}
    assert list(human(scanned(), ("pii", "secrets"))) == [
        "dir/a b.json:2:3: pii EMAIL_ADDRESS at /a (0.51)",
        "dir/a b.json:2:3: pii EMAIL_ADDRESS at /a (0.51)",
        "dir/a b.json:4:3: secrets TOKEN (1.00)",
        "dir/a b.json: 1 more",
        "/etc/c.txt:2:3: other TOKEN (1.00)",
        "5 findings in 2 files (1 more could not be inspected to the end): "
        "EMAIL_ADDRESS 2, TOKEN 2. Guards: pii, secrets.",
    ]


def test_a_name_writes_no_line_of_its_own_and_nothing_to_a_terminal() -> None:
    found = Found(REGION, "pii", "TOKEN", "/a\n\x1b[2J/é", 1, 9, 1.0)
    line, _ = human([Scanned("b\x07", [found], 1)], ("pii",))
    assert line == "b\\u0007:2:3: pii TOKEN at /a\\u000a\\u001b[2J/é (1.00)"
