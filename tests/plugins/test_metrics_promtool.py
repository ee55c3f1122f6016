"""What Prometheus' own linter says of the page, and of the queries in the docs."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec
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


SERIES = {
    "GuardproxyDown": [('up{job="guardproxy"}', "0x30")],
    "GuardproxyGuardsFail": [('guardproxy_guard_errors_total{guardproxy_guard="pii"}', "0+1x30")],
    "GuardproxyExchangesFail": [
        ('guardproxy_exchanges_total{guardproxy_outcome="error",guardproxy_status_class="5xx"}', "0+1x30")
    ],
    "GuardproxyProviderRefuses": [
        ('guardproxy_exchanges_total{guardproxy_status_class="4xx",error_type="401"}', "0+1x30")
    ],
    "GuardproxySlow": [
        (f'guardproxy_overhead_seconds_bucket{{le="{bound}"}}', values)
        for bound, values in (("0.25", "0x30"), ("1", "0+1x30"), ("+Inf", "0+1x30"))
    ],
    "GuardproxySpansLost": [('guardproxy_trace_spans_total{guardproxy_result="dropped"}', "0+1x30")],
}
QUIET = (
    ('up{job="guardproxy"}', "1x30"),
    ('guardproxy_guard_errors_total{guardproxy_guard="pii"}', "7x30"),
    ('guardproxy_exchanges_total{guardproxy_outcome="allowed",guardproxy_status_class="2xx"}', "0+9x30"),
    ('guardproxy_exchanges_total{guardproxy_outcome="blocked",guardproxy_status_class="4xx"}', "0+9x30"),
    *(
        (
            'guardproxy_exchanges_total{guardproxy_outcome="error",'
            f'guardproxy_status_class="{status}",error_type="{error}"}}',
            values,
        )
        for status, error, values in (
            ("4xx", "invalid_api_key", "0+9x30"),
            ("4xx", "429", "0+2x30"),
            ("5xx", "not_implemented", "0+9x30"),
        )
    ),
    ('guardproxy_overhead_seconds_bucket{le="0.1"}', "0+9x30"),
    ('guardproxy_overhead_seconds_bucket{le="+Inf"}', "0+9x30"),
    ('guardproxy_trace_spans_total{guardproxy_result="exported"}', "0+9x30"),
)


def fires(promtool: str, folder: Path, alert: str, series: Iterable[tuple[str, str]]) -> bool:
    """Whether an alert of deploy/ fires after half an hour of `series`, a value a minute."""
    given = [{"series": name, "values": values} for name, values in series]
    expected = {"eval_time": "30m", "alertname": alert, "exp_alerts": []}
    test = {"interval": "1m", "input_series": given, "alert_rule_test": [expected]}
    file = folder / "test.yaml"
    told = {"rule_files": [str(ROOT / "deploy/alerts.yaml")], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(json.dumps(told), "utf-8")
    checked = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0 or "got:[" in re.sub(r"\s", "", checked.stdout + checked.stderr)
    return checked.returncode != 0


def test_each_alert_fires_when_it_must_and_not_before(promtool: str, tmp_path: Path) -> None:
    (group,) = msgspec.yaml.decode((ROOT / "deploy/alerts.yaml").read_bytes())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == list(SERIES)
    for alert, bad in SERIES.items():
        assert fires(promtool, tmp_path, alert, bad), alert
        assert not fires(promtool, tmp_path, alert, QUIET), alert


@pytest.mark.parametrize("error", ["401", "403", "429", "model_not_allowed"])
def test_a_provider_that_refuses_is_told_from_guardproxy_that_does(
    promtool: str, tmp_path: Path, error: str
) -> None:
    refused = f'guardproxy_exchanges_total{{guardproxy_status_class="4xx",error_type="{error}"}}'
    fine = 'guardproxy_exchanges_total{guardproxy_status_class="2xx"}'
    alert, is_the_providers = "GuardproxyProviderRefuses", error.isdecimal()
    for of_fine, told in (("0+1x30", is_the_providers), ("0+9x30", False)):
        assert fires(promtool, tmp_path, alert, [(refused, "0+1x30"), (fine, of_fine)]) is told
