"""Values of OTEL_* variables that OpenTelemetry would ignore, replace or fail on stop the startup."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from guardproxy import ConfigError
from guardproxy_metrics import MetricsSettings
from guardproxy_metrics.provider import exporters_from as metric_exporters
from guardproxy_tracing import TracingSettings
from guardproxy_tracing.environment import Signal
from guardproxy_tracing.provider import Provider
from guardproxy_tracing.provider import exporters_from as span_exporters
from guardproxy_tracing.variables import check

SECRET = "sk-" + "canary"
SECONDS = "must be seconds, more than 0."
COUNT = "must be a whole number, more than 0."
MILLISECONDS = "must be milliseconds, more than 0."
FILE = "must be a file that can be read."


def environment(protocol: str = "http/protobuf", **given: str) -> dict[str, str]:
    base = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    return base | {f"OTEL_{name}": value for name, value in given.items()}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("TIMEOUT", "10s", f" = '10s' {SECONDS}"),
        ("TIMEOUT", "0", f" = '0' {SECONDS}"),
        ("TIMEOUT", "inf", f" = 'inf' {SECONDS}"),
        ("TIMEOUT", "nan", f" = 'nan' {SECONDS}"),
        ("CERTIFICATE", "no/such", " = 'no/such' must be a file"),
        ("CLIENT_CERTIFICATE", "no/such", f" = 'no/such' {FILE}"),
        ("CLIENT_KEY", "no/such", f" = 'no/such' {FILE}"),
        ("HEADERS", SECRET, " must be name=value, more of them after commas"),
        ("HEADERS", f"a=b,{SECRET}", " must be name=value"),
        ("HEADERS", f"a b={SECRET}", " must be name=value"),
        ("HEADERS", f'a="{SECRET}"', " must be name=value"),
        ("HEADERS", f"a=b;{SECRET}", " must be name=value"),
        ("HEADERS", f"a={SECRET}ö", " must be name=value"),
    ],
)
def test_a_wrong_value_of_otlp_is_refused(
    protocol: str, signal: Signal, name: str, value: str, problem: str
) -> None:
    for variable in (f"EXPORTER_OTLP_{signal}_{name}", f"EXPORTER_OTLP_{name}"):
        with pytest.raises(ConfigError) as caught:
            check(environment(protocol, **{variable: value}), signal)
        assert str(caught.value).startswith(f"OTEL_{variable}{problem}")
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
@pytest.mark.parametrize(
    ("protocol", "name", "value", "problem"),
    [
        ("http/protobuf", "COMPRESSION", "brotli", " = 'brotli' must be one of none, gzip, deflate."),
        ("grpc", "COMPRESSION", "deflate", " = 'deflate' must be gzip with grpc, or not set."),
        ("grpc", "COMPRESSION", "none", " = 'none' must be gzip with grpc, or not set."),
        ("grpc", "COMPRESSION", "", " must be gzip with grpc, or not set."),
        ("grpc", "TIMEOUT", "", f" {SECONDS}"),
        ("grpc", "INSECURE", "1", " = '1' must be one of true, false."),
    ],
)
def test_a_value_that_a_protocol_does_not_know_is_refused(
    protocol: str, signal: Signal, name: str, value: str, problem: str
) -> None:
    variable = f"EXPORTER_OTLP_{signal}_{name}"
    with pytest.raises(ConfigError) as caught:
        check(environment(protocol, **{variable: value}), signal)
    assert str(caught.value) == f"OTEL_{variable}{problem}"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "1.5"},
            "SAMPLER_ARG = '1.5' must be a number",
        ),
        ({"TRACES_SAMPLER": "parentbased_traceidratio", "TRACES_SAMPLER_ARG": "a"}, "from 0 to 1."),
        ({"TRACES_SAMPLER": "Traceidratio", "TRACES_SAMPLER_ARG": "nan"}, "from 0 to 1."),
        (
            {"BSP_SCHEDULE_DELAY": "5s"},
            "OTEL_BSP_SCHEDULE_DELAY = '5s' must be whole milliseconds, more than 0.",
        ),
        ({"BSP_SCHEDULE_DELAY": "0.5"}, "must be whole milliseconds"),
        ({"BSP_EXPORT_TIMEOUT": "-1"}, "OTEL_BSP_EXPORT_TIMEOUT = '-1' must be whole milliseconds"),
        ({"BSP_MAX_QUEUE_SIZE": "2k"}, f"OTEL_BSP_MAX_QUEUE_SIZE = '2k' {COUNT}"),
        ({"BSP_MAX_QUEUE_SIZE": "0"}, f"OTEL_BSP_MAX_QUEUE_SIZE = '0' {COUNT}"),
        ({"BSP_MAX_EXPORT_BATCH_SIZE": "-1"}, f"OTEL_BSP_MAX_EXPORT_BATCH_SIZE = '-1' {COUNT}"),
        (
            {"BSP_MAX_QUEUE_SIZE": "10"},
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE (512) must be no larger than OTEL_BSP_MAX_QUEUE_SIZE (10).",
        ),
        (
            {"BSP_MAX_EXPORT_BATCH_SIZE": "4096"},
            "(4096) must be no larger than OTEL_BSP_MAX_QUEUE_SIZE (2048).",
        ),
        (
            {"ATTRIBUTE_COUNT_LIMIT": "-1"},
            "OTEL_ATTRIBUTE_COUNT_LIMIT = '-1' must be a whole number, 0 or more.",
        ),
        ({"SPAN_EVENT_COUNT_LIMIT": "none"}, "OTEL_SPAN_EVENT_COUNT_LIMIT = 'none' must be a whole number"),
    ],
)
def test_a_wrong_value_of_spans_is_refused(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(environment(**given), "TRACES")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"METRIC_EXPORT_INTERVAL": "1m"}, f"OTEL_METRIC_EXPORT_INTERVAL = '1m' {MILLISECONDS}"),
        ({"METRIC_EXPORT_INTERVAL": "0"}, f"OTEL_METRIC_EXPORT_INTERVAL = '0' {MILLISECONDS}"),
        ({"METRIC_EXPORT_TIMEOUT": "1m"}, f"OTEL_METRIC_EXPORT_TIMEOUT = '1m' {MILLISECONDS}"),
        (
            {"EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sometimes"},
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE = 'sometimes' must be one of",
        ),
    ],
)
def test_a_wrong_value_of_metrics_is_refused(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(environment(**given), "METRICS")
    assert str(caught.value).startswith(problem)


def test_what_is_right_is_taken_by_the_exporters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_text("", "utf-8")
    for protocol, compression in (("http/protobuf", "Deflate "), ("grpc", "gzip")):
        given = environment(
            protocol,
            EXPORTER_OTLP_COMPRESSION=compression,
            EXPORTER_OTLP_TIMEOUT="1.5",
            EXPORTER_OTLP_METRICS_TIMEOUT=" 2",
            EXPORTER_OTLP_HEADERS="authorization=Basic YTpi==, x-team=a%20b,,y=",
            EXPORTER_OTLP_CERTIFICATE=str(pem),
            EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="LowMemory",
            TRACES_SAMPLER="traceidratio",
            TRACES_SAMPLER_ARG="0.25",
            BSP_SCHEDULE_DELAY="500",
            BSP_MAX_QUEUE_SIZE="",
            METRIC_EXPORT_INTERVAL="1e3",
            SPAN_LINK_COUNT_LIMIT="0",
            ATTRIBUTE_COUNT_LIMIT="",
        )
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            check(given, "TRACES", drawn=True)
            check(given, "METRICS")
            spans: list[Any] = span_exporters(given)
            metrics: list[Any] = metric_exporters(given)
            provider = Provider(spans)
        assert [exporter._timeout for exporter in metrics if protocol == "grpc"] in ([], [2.0])
        assert "0.25" in provider.sampler.get_description()
        provider.close(5)
        for exporter in metrics:
            exporter.shutdown()


def test_a_folder_of_certificates_is_one_for_http_alone(tmp_path: Path) -> None:
    check(environment(EXPORTER_OTLP_CERTIFICATE=str(tmp_path)), "TRACES")
    with pytest.raises(
        ConfigError, match=r"^OTEL_EXPORTER_OTLP_CERTIFICATE.* must be a file that can be read"
    ):
        check(environment("grpc", EXPORTER_OTLP_CERTIFICATE=str(tmp_path)), "TRACES")


def test_a_signals_own_variable_counts() -> None:
    own = {"EXPORTER_OTLP_TRACES_COMPRESSION": "gzip", "EXPORTER_OTLP_COMPRESSION": "deflate"}
    check(environment("grpc", **own), "TRACES")
    with pytest.raises(ConfigError, match=r"^OTEL_EXPORTER_OTLP_COMPRESSION = 'deflate'"):
        check(environment("grpc", **own), "METRICS")


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_the_switch_is_on_or_off(signal: Signal) -> None:
    for base in ({}, environment()):
        for word in ("yes", "1", "tru"):
            with pytest.raises(ConfigError) as caught:
                check(base | {"OTEL_SDK_DISABLED": word}, signal)
            assert str(caught.value) == f"OTEL_SDK_DISABLED = '{word}' must be one of true, false."
        for word in ("", " ", "true", "False", " TRUE "):
            check(base | {"OTEL_SDK_DISABLED": word}, signal)


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_a_resource_is_made_of_pairs(signal: Signal) -> None:
    for wrong in (SECRET, f"a=b,{SECRET}", f"={SECRET}", f"a=b, ={SECRET}"):
        with pytest.raises(ConfigError) as caught:
            check(environment(RESOURCE_ATTRIBUTES=wrong), signal)
        assert str(caught.value) == ("OTEL_RESOURCE_ATTRIBUTES must be key=value, more of them after commas.")
        check({"OTEL_RESOURCE_ATTRIBUTES": wrong}, signal)
    for right in ("", "a=b", "a=b, c.d=e%20f=g,", "a="):
        check(environment(RESOURCE_ATTRIBUTES=right), signal)


def test_what_is_off_is_not_looked_at() -> None:
    wrong = {
        "OTEL_TRACES_SAMPLER": "pigeon",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "a",
        "OTEL_BSP_MAX_QUEUE_SIZE": "a",
    }
    check(wrong, "TRACES")
    check(environment(SDK_DISABLED="true", EXPORTER_OTLP_TIMEOUT="a"), "METRICS")
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER"):  # trees on the terminal are made of spans
        check(wrong, "TRACES", drawn=True)


@pytest.mark.parametrize("struct", [TracingSettings, MetricsSettings])
@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_time_out_is_no_less_than_nothing(struct: type[msgspec.Struct], seconds: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"shutdown_timeout": seconds}, struct)
