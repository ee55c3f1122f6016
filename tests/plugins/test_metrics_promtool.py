"""What Prometheus' own linter says of the page, and of the queries in the docs."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from guardproxy import Policy
from tests.plugins.metering import EXCHANGES, ROOT, SHADOW, exchange, metered

pytestmark = [pytest.mark.backend, pytest.mark.usefixtures("metrics_off")]


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        missing = "promtool is in Debian's package `prometheus`"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


async def test_the_linter_has_nothing_to_say(promtool: str) -> None:
    for floor in (Policy(), SHADOW):
        async with metered(floor=floor, guard_timeout=0.05) as client:
            for name in EXCHANGES:
                await exchange(client, name)
            page = await client.post(b"", path="/metrics", method="GET")
        assert b"guardproxy_exchanges_total" in page.body
        checked = await asyncio.to_thread(lint, promtool, page.body)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def lint(promtool: str, page: bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True)


def test_the_queries_of_the_docs_are_queries(promtool: str, tmp_path: Path) -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    queries = re.findall(r"^```promql\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rules = [{"alert": f"Example{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "docs", "rules": rules}]}), "utf-8")  # JSON is YAML
    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(queries)} rules found" in checked.stdout
