"""What in the settings can work but is hardly meant. Pure."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from guardproxy.entries import entry
from guardproxy.settings import Settings, UpstreamSettings, is_secret
from guardproxy.values import is_near

_BASE = "set the base URL, such as https://api.openai.com/v1"
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/models")


def doubts(settings: Settings) -> Iterator[str]:
    """What is doubtful, a sentence each; none repeats a URL or a secret."""
    for place, upstream in _placed(settings):
        yield from _of_url(place, upstream.url)
        if settings.keys and _lacks_credential(upstream):
            name = "its api_key" if settings.upstreams else "upstream_api_key"
            yield (
                f"No credential is sent to {place}: where there are [[keys]], the client's is one of those "
                f"and is not passed on. Set {name}."
            )
    yield from _of_patterns(settings)


def _placed(settings: Settings) -> Iterator[tuple[str, UpstreamSettings]]:
    for index, upstream in enumerate(settings.all_upstreams()):
        yield entry("upstreams", index, upstream.name) if settings.upstreams else "the upstream", upstream


def _of_url(place: str, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    endpoint = next((end for end in _ENDPOINTS if parts.path.lower().endswith(end)), None)
    if endpoint is not None:
        yield f"The URL of {place} ends in {endpoint}, and requests would go below that: {_BASE}."
    elif not parts.path and not is_near(parts.hostname or ""):
        yield f"The URL of {place} has no path, and most providers' ends in /v1: {_BASE}."


def _lacks_credential(upstream: UpstreamSettings) -> bool:
    """Models on this machine or in its network seldom ask for one."""
    near = is_near(urlsplit(upstream.url).hostname or "")
    return upstream.api_key is None and not near and not any(map(is_secret, upstream.headers))


def _of_patterns(settings: Settings) -> Iterator[str]:
    first: dict[str, str] = {}  # the upstream that gets the models, by the pattern
    for place, upstream in _placed(settings):
        for pattern in upstream.models:
            if first.setdefault(pattern, place) != place:
                shown = json.dumps(pattern[:64])
                yield f"No model by {shown} goes to {place}: {first[pattern]} has the same pattern."
