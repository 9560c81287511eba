"""Each route of the application, asked with each key: the table is what the server does."""

import itertools
from pathlib import Path

import pytest
from aiohttp import hdrs

from livecaption import keys
from livecaption.keys import Key, Role
from livecaption.server import build_app
from livecaption.server.access import ACCESS, CHANGES, FIGURES, LISTS, OPEN, PRIVATE, PUBLISHING, Access, access_of
from livecaption.store.config import StoreConfig
from tests.support.cases import for_each
from tests.support.serving import Client, StartServer, read_event

STREAM = "/v1/stream"
TOKENS = {role: f"lc_token-for-{role.value}" for role in Role}
ADDRESSES = itertools.count(1)


def routes() -> set[tuple[str, str]]:
    """Return methods and paths of all routes of the real application, apart from HEAD, which is as GET."""
    found = {(route.method, route.resource.canonical) for route in build_app().router.routes() if route.resource}
    return {(method, path) for method, path in found if method != "HEAD"}


def test_the_table_has_every_route_and_no_other() -> None:
    assert routes() == {
        *ACCESS,
        ("GET", STREAM),
        *((method, path) for method, path in routes() if method == "OPTIONS"),
    }


def test_a_route_without_a_row_cannot_be_added() -> None:
    with pytest.raises(KeyError):
        access_of("POST", "/v1/sessions", [STREAM])
    assert access_of("GET", "/v1/other-protocol", ["/v1/other-protocol"]) == PUBLISHING
    assert access_of("HEAD", "/metrics", [STREAM]) == FIGURES


@for_each(
    ("access", "roles"),
    [
        (PUBLISHING, {Role.PUBLISH}),
        (FIGURES, {Role.READ}),
        (LISTS, {Role.READ}),
        (CHANGES, set()),
    ],
)
def test_each_need_is_met_by_its_role_and_by_an_administrator(access: Access, roles: set[Role]) -> None:
    assert access.role is not None
    assert {role for role in Role if Key("one", frozenset({role}), "").allows(access.role)} == roles | {
        Role.ADMINISTRATE
    }


@pytest.fixture
async def client(start_server: StartServer, tmp_path: Path) -> Client:
    file = tmp_path / "keys.toml"
    file.write_text(
        "".join(
            keys.as_toml(Key(f"the {role.value} key", frozenset({role}), keys.hash_of(TOKENS[role].encode())))
            for role in Role
        )
    )
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    return await start_server(tokens=str(file), store=store, trusted_proxies=("127.0.0.1",))


async def refusal(client: Client, method: str, path: str, token: str | None) -> str | None:
    """Return the code of a refusal because of the token; None: it was judged by other things."""
    url = path.replace("{room}", "hall").replace("{session}", "nobody").replace("{format}", "txt")
    url = url.replace("{sink}", "zoom").replace("{segment}", "0")
    url = url.replace("/captions", "/captions?event=hall") if url == "/captions" else url
    headers: dict[str, str] = {} if token is None else {hdrs.AUTHORIZATION: f"Bearer {token}"}
    headers["X-Forwarded-For"] = f"192.0.2.{next(ADDRESSES) % 250}"  # wrong tokens of one address are counted
    async with client.request(method, "/static/main.js" if url == "/static" else url, headers=headers) as answer:
        if answer.status not in (401, 403, 429):
            return None
        code: str = (await answer.json())["code"]
        return code


async def test_every_route_answers_each_key_by_the_table(client: Client) -> None:
    answers, expected = {}, {}
    for method, path in sorted(routes()):
        access = access_of(method, path, [STREAM])
        row = (method, path)
        for shown in (None, "wrong", *Role):
            token = TOKENS[shown] if isinstance(shown, Role) else shown
            answers[(*row, shown)] = await refusal(client, method, path, token)
            expected[(*row, shown)] = None
            if access.role is not None:
                if not isinstance(shown, Role):
                    expected[(*row, shown)] = "unauthorized"
                elif shown not in (access.role, Role.ADMINISTRATE):
                    expected[(*row, shown)] = "forbidden_role"
    assert answers == expected


async def test_private_captions_are_for_their_reader_token_and_for_keys_that_read(client: Client) -> None:
    publisher = await client.ws_connect(STREAM, headers={hdrs.AUTHORIZATION: f"Bearer {TOKENS[Role.PUBLISH]}"})
    room = {"name": "hall", "secret": "s" * 16}
    await publisher.send_json({"type": "start", "private": True, "room": room})
    ready = await read_event(publisher)
    shown = {None: "wrong_token", "wrong": "wrong_token", ready["room"]["reader_token"]: None}
    by_key = {TOKENS[Role.PUBLISH]: "forbidden_role", TOKENS[Role.READ]: None, TOKENS[Role.ADMINISTRATE]: None}
    for (method, path), access in ACCESS.items():
        address = path.replace("{session}", ready["session"])
        if access == PRIVATE:
            for token, code in (shown | by_key).items():
                assert await refusal(client, method, address, token) == code, (path, token)
        elif path.endswith("qr.svg"):
            # The code has what opens it, and a key must not be on a screen.
            assert access == OPEN
            for token, code in (shown | dict.fromkeys(by_key, "refused")).items():
                page = f"{address}?page=http://{client.host}:{client.port}/"
                found = await refusal(client, method, page, token)
                assert (found is None) == (code is None), (path, token)
    await publisher.close()


async def test_a_private_session_that_is_over_is_for_keys_that_read(client: Client) -> None:
    publisher = await client.ws_connect(STREAM, headers={hdrs.AUTHORIZATION: f"Bearer {TOKENS[Role.PUBLISH]}"})
    await publisher.send_json({"type": "start", "private": True})
    ready = await read_event(publisher)
    await publisher.send_json({"type": "stop"})
    while (await read_event(publisher))["type"] != "end":
        pass
    await publisher.close()
    listed = {}
    for role in (Role.READ, Role.ADMINISTRATE):
        answer = await client.get("/v1/sessions", headers={hdrs.AUTHORIZATION: f"Bearer {TOKENS[role]}"})
        listed[role] = [session["id"] for session in (await answer.json())["sessions"]]
    assert listed == {role: [ready["session"]] for role in listed}
