"""What the standard OTEL_* environment asks for, read alike for every signal; and who it says that we are."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

from guardproxy import ConfigError

Signal = Literal["TRACES", "METRICS"]


def disabled(environ: Mapping[str, str]) -> bool:
    """Whether OTEL_SDK_DISABLED switches all of OpenTelemetry off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def wanted(environ: Mapping[str, str], signal: Signal) -> list[str]:
    """The names of the exporters that the environment asks for, unchecked.

    None unless an endpoint or OTEL_<signal>_EXPORTER is set, or where OTEL_SDK_DISABLED is `true`.
    """
    if disabled(environ):
        return []
    implied = "otlp" if any(environ.get(name, "").strip() for name in endpoints(signal)) else "none"
    listed = environ.get(f"OTEL_{signal}_EXPORTER", "").strip() or implied
    names = dict.fromkeys(name.strip().lower() for name in listed.split(",") if name.strip())
    return [name for name in names if name != "none"]


def exporters(environ: Mapping[str, str], signal: Signal) -> list[str]:
    """The exporters that are `wanted`: `console`, and for OTLP the protocol, `http/protobuf` or `grpc`.

    Raises:
        ConfigError: an exporter or a protocol that there is not, or an endpoint that is no URL.
    """
    names = wanted(environ, signal)
    for name in names:
        check_word(f"OTEL_{signal}_EXPORTER", name, ("otlp", "console", "none"))
    return [_protocol(environ, signal) if name == "otlp" else name for name in names]


def endpoints(signal: Signal) -> tuple[str, str]:
    """The variables that name an endpoint: the signal's own, which is used as it is, and that of all."""
    return f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"


def _protocol(environ: Mapping[str, str], signal: Signal) -> str:
    variables = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    variable = next((name for name in variables if environ.get(name)), variables[0])
    protocol = environ.get(variable) or "http/protobuf"
    check_word(variable, protocol, ("http/protobuf", "grpc"))
    for endpoint in endpoints(signal):
        if value := environ.get(endpoint, "").strip():
            _check_endpoint(endpoint, value, protocol)
    return protocol


def check_word(variable: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a value of `variable` that is none of the words.

    Raises:
        ConfigError: names them.
    """
    if value.lower() not in allowed:
        raise ConfigError(f"{variable}{shown(value)} must be one of {', '.join(allowed)}.")


def _check_endpoint(variable: str, value: str, protocol: str) -> None:
    if protocol == "grpc" and "://" not in value:
        return  # gRPC has names of its own, such as host:port
    try:
        parts = urlsplit(value)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ConfigError(f"{variable}{shown(value)} must be an http:// or https:// URL.")


def shown(value: str) -> str:
    """A variable's value where it is a plain word: what else it holds may be a credential."""
    return f" = {value!r}" if re.fullmatch(r"[A-Za-z0-9/_.-]{1,40}", value) else ""


def resource() -> Resource:
    """Who exports: the service, and this process as an instance of it (`service.instance.id`)."""
    found = Resource.create({SERVICE_VERSION: importlib.metadata.version("guardproxy")})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "guardproxy"}))
    return found


def destinations(environ: Mapping[str, str], signal: Signal) -> list[str]:
    """Where the `exporters` send to, in words; of a URL no more than its host is told.

    Raises:
        ConfigError: as `exporters`.
    """
    return [_destination(environ, signal, name) for name in exporters(environ, signal)]


def _destination(environ: Mapping[str, str], signal: Signal, exporter: str) -> str:
    if exporter == "console":
        return "standard output, as JSON"
    return f"{origin(environ, signal, exporter)} ({exporter})"


def origin(environ: Mapping[str, str], signal: Signal, protocol: str) -> str:
    """Scheme, host and port of the OTLP endpoint."""
    default = "http://localhost:4317" if protocol == "grpc" else "http://localhost:4318"
    given = (environ.get(name, "").strip() for name in endpoints(signal))
    endpoint = next(filter(None, given), default)
    try:
        return place(urlsplit(endpoint if "://" in endpoint else f"//{endpoint}"))
    except ValueError:  # `dns:host:port`, and what else gRPC resolves
        return "a name of gRPC's"


def place(parts: SplitResult) -> str:
    """Scheme, host and port of a URL, of which the rest may be a credential.

    Raises:
        ValueError: the port is none.
    """
    port = f":{parts.port}" if parts.port is not None else ""
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{scheme}{host}{port}"
