"""Credentials and client keys."""

import hashlib
from collections.abc import Iterator

import pytest

from guardproxy import inputs
from guardproxy.auth import Client, Credentials, check_models, digest, identify, tenant
from guardproxy.errors import InvalidRequest, ModelNotAllowed, Unauthorized
from guardproxy.headers import Raw
from guardproxy.settings import ClientKey, Settings

TOKEN = "team-token"
KEY = ClientKey(name="team-a", sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), allowed_models=("small",))


@pytest.mark.parametrize("headers", [{"authorization": "Bearer x"}, {"api-key": "x"}, {"x-api-key": "x"}])
def test_some_credential_is_enough_without_keys(headers: dict[str, str]) -> None:
    credentials = Credentials(Settings())
    assert credentials.identify(headers) is None
    assert credentials.authorization(None) is None


def test_no_credential_is_refused() -> None:
    with pytest.raises(Unauthorized, match="has no credential"):
        Credentials(Settings()).identify({})


def test_no_credential_is_needed_where_the_deployment_says_so() -> None:
    assert Credentials(Settings(auth="none")).identify({}) is None
    assert Credentials(Settings(upstream_api_key="k")).identify({}) is None


def test_keys() -> None:
    credentials = Credentials(Settings(keys=(KEY,), upstream_api_key="k"))
    assert credentials.identify({"authorization": f"bearer {TOKEN}"}) is KEY
    assert credentials.authorization("k") == "Bearer k"


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, TOKEN),
        ({"authorization": f"bearer   {TOKEN} ", "api-key": "other"}, TOKEN),
        ({"api-key": TOKEN, "x-api-key": "other"}, TOKEN),
        ({"x-api-key": TOKEN}, TOKEN),
        ({"authorization": "Bearer ", "api-key": TOKEN}, TOKEN),
        ({"authorization": "Bearer", "api-key": ""}, None),
        ({"authorization": TOKEN}, TOKEN),
        ({"authorization": f"Bearer\t{TOKEN}"}, TOKEN),
        ({"authorization": f" {TOKEN} ", "api-key": "other"}, TOKEN),
        ({}, None),
    ],
)
def test_which_credential_was_sent(headers: dict[str, str], given: str | None) -> None:
    assert digest(headers) == (None if given is None else hashlib.sha256(given.encode()).hexdigest())


def test_each_credential_is_a_tenant_of_its_own_and_all_without_one_are_one() -> None:
    given: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer a"},
        {"authorization": "b"},  # without a scheme
        {"authorization": "c"},
        {"api-key": "d"},
        {"authorization": "Bearer none", "api-key": "e"},  # what an SDK asks for, and what the upstream does
        {"authorization": "Bearer none", "api-key": "f"},
        {"authorization": "Bearer none", "x-api-key": "f"},
    ]
    assert len({tenant(None, headers) for headers in given}) == len(given)
    for nothing in ({"authorization": ""}, {"authorization": "Bearer "}, {"api-key": ""}):
        assert tenant(None, nothing) == tenant(None, {}) == "none"
    assert tenant(None, {"authorization": "bearer  a "}) == tenant(None, given[1])
    assert tenant(KEY, given[1]) == tenant(KEY, given[4]) == "key:team-a"


def test_a_key_is_compared_with_all_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(known: str, given: str) -> bool:
        compared.append((known, given))
        return known == given

    monkeypatch.setattr("guardproxy.auth.hmac.compare_digest", compare)
    others = [ClientKey(name, hashlib.sha256(name.encode()).hexdigest().upper()) for name in ("b", "c")]
    for keys, found in (((KEY, *others), KEY), ((*others, KEY), KEY)):
        compared.clear()
        assert Credentials(Settings(keys=keys)).identify({"authorization": f"Bearer {TOKEN}"}) is found
        assert compared == [(key.sha256.lower(), KEY.sha256) for key in keys]
    assert Credentials(Settings(keys=(KEY, *others))).identify({"authorization": "Bearer b"}) is others[0]


def test_a_key_of_ours_is_never_sent_on() -> None:
    assert Credentials(Settings(keys=(KEY,))).authorization(None) == ""


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer other", f"Basic {TOKEN}", KEY.sha256])
def test_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized, match="missing or not known"):
        Credentials(Settings(keys=(KEY,))).identify({"authorization": value})


def test_models_of_a_key() -> None:
    check_models(KEY, [("model", "small")])
    check_models(KEY, [("model", "small"), ("models[0]", "small")])
    check_models(None, [("model", None)])


def test_a_key_without_a_list_may_use_all_models_and_with_an_empty_one_none() -> None:
    check_models(ClientKey("a", KEY.sha256), [("model", "large")])
    with pytest.raises(ModelNotAllowed, match="may not use this model"):
        check_models(ClientKey("a", KEY.sha256, allowed_models=()), [("model", "large")])


def test_of_millions_of_models_none_is_looked_at_where_all_may_be_used() -> None:
    def models() -> Iterator[tuple[str, object]]:
        raise AssertionError("looked at")
        yield "model", "m"

    check_models(None, models())
    check_models(ClientKey("a", KEY.sha256), models())


def test_who_names_no_model_is_told_so() -> None:
    with pytest.raises(ModelNotAllowed, match=r"names no model, and .* Allowed: small\.$"):
        check_models(KEY, [("model", None)])


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", ""])
def test_no_key_is_never_a_key(value: str) -> None:
    nobody = ClientKey("a", hashlib.sha256(b"").hexdigest())
    for other in ({}, {"api-key": TOKEN}):  # the keys are bearer tokens
        with pytest.raises(Unauthorized):
            Credentials(Settings(keys=(nobody, KEY))).identify({"authorization": value, **other})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"model": "large"}', "model"),
        (b"{}", "model"),
        (b'{"models": []}', "model"),
        (b'{"models": null}', "model"),
        (b'{"models": ["small"]}', "model"),  # whatever a prompt's own model is
        (b'{"model": null, "models": ["small"]}', "model"),
        (b'{"model": "small", "models": ["small", "large"]}', "models[1]"),
        (b'{"model": "small", "models": "large"}', "models"),
        (b'{"model": "small", "models": [["small"]]}', "models[0]"),
    ],
)
async def test_models_that_a_key_may_not_use(body: bytes, place: str) -> None:
    with pytest.raises(ModelNotAllowed, match="Allowed: small") as raised:
        check_models(KEY, (await inputs.read(body)).named(in_turn=False))
    assert raised.value.param == place


@pytest.mark.parametrize(
    ("body", "why"), [(b"[]", "no JSON object"), (b'{"model": "large", "model": "small"}', "occurs twice")]
)
async def test_a_body_that_does_not_say_which_model_it_names(body: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        await inputs.read(body)


@pytest.mark.parametrize("body", [b'{"model": "small"}', b'{"model": "small", "models": null}'])
async def test_models_that_a_key_may_use(body: bytes) -> None:
    check_models(KEY, (await inputs.read(body)).named(in_turn=False))


async def test_where_models_are_tried_in_turn_they_need_no_model() -> None:
    check_models(KEY, (await inputs.read(b'{"models": ["small", "small"]}')).named(in_turn=True))
    with pytest.raises(ModelNotAllowed) as raised:
        check_models(KEY, (await inputs.read(b'{"models": ["small", "large"]}')).named(in_turn=True))
    assert raised.value.param == "models[1]"


def bearer(value: str) -> Raw:
    return [(b"Authorization", value.encode())]


def test_a_client_is_told_apart_by_its_credential() -> None:
    first = identify(Settings(), bearer("Bearer one"))
    assert first.name is None
    assert identify(Settings(), bearer("bearer  one ")) == first
    others = [bearer("Bearer two"), bearer("Basic one"), [(b"api-key", b"one")], [(b"x-api-key", b"one")]]
    assert len({first.id, *(identify(Settings(), headers).id for headers in others)}) == 5


def test_a_client_of_the_deployments_has_its_keys_name() -> None:
    settings = Settings(keys=(KEY,))
    assert identify(settings, bearer(f"Bearer {TOKEN}")) == Client("team-a", KEY.sha256)
    with pytest.raises(Unauthorized, match="not known here"):
        identify(settings, bearer("Bearer other"))


def test_all_that_need_no_credential_and_send_none_are_one_client() -> None:
    assert identify(Settings(auth="none"), []) == identify(Settings(auth="none"), [(b"accept", b"x")])
    with pytest.raises(Unauthorized, match="has no credential"):
        identify(Settings(), [])
