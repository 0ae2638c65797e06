"""Who may do what."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvicorn
from dashboard_client import BEARER, TOKEN, client_of
from dashboard_seed import Seeded
from starlette.testclient import TestClient

from qrie_dagster.dashboard.app import create_app
from qrie_dagster.dashboard.auth import CLIENTS_REMEMBERED, GUESSES, SESSION_HOURS, Guesses, Keys
from qrie_dagster.dashboard.serve import kept_token, serve
from qrie_dagster.errors import QrieError
from qrie_dagster.settings import Settings
from qrie_dagster.times import HOUR_MS, now_ms

OPEN = {"/healthz", "/login", "/static"}


@pytest.fixture
def stranger(seeded_settings: Settings, seeded: object) -> TestClient:
    return TestClient(create_app(seeded_settings), follow_redirects=False)


@pytest.fixture
def visitor(stranger: TestClient) -> TestClient:
    answer = stranger.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return stranger


def test_every_route_wants_the_token(stranger: TestClient) -> None:
    paths = set(stranger.app.openapi()["paths"]) | {"/openapi.json", "/session", "/logout", "/nonsense"}
    for path in paths - OPEN:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = stranger.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "QRIE_API_TOKEN" in answer.json()["message"]


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer é"])
def test_wrong_tokens(stranger: TestClient, value: str) -> None:
    assert stranger.get("/accounts", headers={"Authorization": value.encode("latin-1")}).status_code == 401


def test_the_page_is_open_and_holds_nothing(stranger: TestClient, seeded: Seeded) -> None:
    """Of those who follow a link from elsewhere, browsers send no strict cookie: the page sees who they are."""
    answer = stranger.get("/")
    assert answer.status_code == 200
    assert not any(word in answer.text for account in seeded.accounts for word in (account.account_id, account.name))
    assert "<form" in stranger.get("/login").text


def test_a_wrong_token_is_refused(stranger: TestClient) -> None:
    answer = stranger.post("/login", data={"token": "wrong"})
    assert (answer.status_code, "That is not the token." in answer.text) == (401, True)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"token", b"\xff\xfe", b"token=" + b"x" * 10_000])
def test_odd_logins_are_refused(stranger: TestClient, body: bytes) -> None:
    assert stranger.post("/login", content=body).status_code == 401


def test_the_session_cookie(visitor: TestClient) -> None:
    answer = visitor.post("/login", data={"token": TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert f"max-age={SESSION_HOURS * 3600}" in cookie
    assert TOKEN not in answer.headers["set-cookie"]
    assert visitor.get("/accounts").status_code == 200
    assert "<html" in visitor.get("/").text


@pytest.mark.parametrize(
    ("server", "dashboard_url", "secure"),
    [
        ("http://testserver", None, False),
        ("https://testserver", None, True),
        # A proxy ends TLS in front of this server.
        ("http://testserver", "https://qrie.example/", True),
        ("http://testserver", "http://qrie.example/", False),
    ],
)
def test_the_cookie_is_secure_over_tls(
    seeded_settings: Settings, server: str, dashboard_url: str | None, secure: bool
) -> None:
    settings = seeded_settings.model_copy(update={"dashboard_url": dashboard_url})
    client = TestClient(create_app(settings), base_url=server, follow_redirects=False)
    cookie = client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()
    assert ("secure" in cookie) is secure


def test_changes_by_cookie_want_the_csrf_token(visitor: TestClient) -> None:
    change = {"policy_id": "Nonsense"}
    assert visitor.post("/policies", json=change).status_code == 403
    assert visitor.post("/policies", json=change, headers={"X-CSRF-Token": "0" * 40}).status_code == 403
    token = visitor.get("/session").json()["csrf_token"]
    assert visitor.post("/policies", json=change, headers={"X-CSRF-Token": token}).status_code == 404
    for method, path in (("PUT", "/policies/x"), ("DELETE", "/policies/x"), ("POST", "/scans"), ("POST", "/logout")):
        assert visitor.request(method, path).status_code == 403


def test_the_csrf_token_of_another_session(visitor: TestClient, seeded_settings: Settings) -> None:
    other = TestClient(create_app(seeded_settings))
    other.post("/login", data={"token": TOKEN})
    token = other.get("/session").json()["csrf_token"]
    assert visitor.post("/policies", json={}, headers={"X-CSRF-Token": token}).status_code == 403


def test_logging_out(visitor: TestClient) -> None:
    token = visitor.get("/session").json()["csrf_token"]
    assert visitor.post("/logout", headers={"X-CSRF-Token": token}).status_code == 204
    assert visitor.get("/accounts").status_code == 401


@pytest.mark.parametrize("cookie", ["", "x", ".", "..", "9999999999999.aa.bb", "é"])
def test_forged_sessions(stranger: TestClient, cookie: str) -> None:
    headers = {"Cookie": f"qrie_session={cookie}".encode()}
    assert stranger.get("/accounts", headers=headers).status_code == 401


def test_sessions_end() -> None:
    keys = Keys(TOKEN)
    session = keys.new_session(0)
    assert keys.is_session(session, SESSION_HOURS * HOUR_MS - 1)
    assert not keys.is_session(session, SESSION_HOURS * HOUR_MS)
    assert not Keys("another-token-altogether").is_session(session, 0)


def test_guessing_is_slowed_down(stranger: TestClient) -> None:
    for _ in range(GUESSES):
        assert stranger.post("/login", data={"token": "wrong"}).status_code == 401
    answer = stranger.post("/login", data={"token": TOKEN})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 301


def test_guessing_at_the_api_is_slowed_down(visitor: TestClient) -> None:
    for _ in range(GUESSES):
        assert visitor.get("/accounts", headers={"Authorization": "Bearer wrong"}).status_code == 401
    answer = visitor.get("/accounts", headers=BEARER)
    assert (answer.status_code, "Too many wrong tokens" in answer.json()["message"]) == (429, True)
    assert 0 < int(answer.headers["retry-after"]) <= 301
    # Whoever is logged in, or logs in, is not kept out by a script with an old token.
    assert visitor.get("/accounts").status_code == 200
    assert visitor.post("/login", data={"token": TOKEN}).status_code == 303


def test_guessing_all_at_once_is_slowed_down_as_well(seeded_settings: Settings) -> None:
    """Logins whose bodies come only when all of them have been begun."""
    several = 3 * GUESSES

    async def statuses() -> list[int]:
        begun = 0
        all_begun = asyncio.Event()

        async def late_body() -> AsyncIterator[bytes]:
            nonlocal begun
            begun += 1
            if begun == several:
                all_begun.set()
            await all_begun.wait()
            yield b"token=wrong"

        transport = httpx.ASGITransport(create_app(seeded_settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            answers = await asyncio.gather(*(client.post("/login", content=late_body()) for _ in range(several)))
        return [answer.status_code for answer in answers]

    assert Counter(asyncio.run(statuses())) == {401: GUESSES, 429: several - GUESSES}


@pytest.mark.parametrize(("trusted", "each_for_itself"), [(["10.0.0.0/24"], True), (["10.0.1.7"], False), ([], False)])
def test_only_trusted_proxies_say_who_the_client_is(
    seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch, trusted: list[str], each_for_itself: bool
) -> None:
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: configs.append(uvicorn.Config(app, **options)))
    serve(seeded_settings.model_copy(update={"trusted_proxies": trusted}))
    (config,) = configs
    config.load()
    client = TestClient(config.loaded_app, client=("10.0.0.7", 1234))

    def log_in(token: str, address: str) -> int:
        headers = {"X-Forwarded-For": address}
        return client.post("/login", data={"token": token}, headers=headers, follow_redirects=False).status_code

    for _ in range(GUESSES):
        log_in("wrong", "192.0.2.1")
    assert log_in(TOKEN, "192.0.2.1") == 429
    assert log_in(TOKEN, "192.0.2.2") == (303 if each_for_itself else 429)


def test_guesses_are_forgotten_and_bounded() -> None:
    guesses = Guesses(Keys(TOKEN))
    for _ in range(GUESSES):
        assert guesses.guess("a", "wrong", 0) == (False, 0)
    assert guesses.guess("a", TOKEN, 1000) == (False, 300)
    assert guesses.guess("b", TOKEN, 1000) == (True, 0)
    assert guesses.guess("a", TOKEN, 300_000) == (True, 0)
    for number in range(2 * CLIENTS_REMEMBERED):
        guesses.guess(str(number), "wrong", 0)
    assert len(guesses._wrong) == CLIENTS_REMEMBERED


def test_safe_headers_on_everything(stranger: TestClient) -> None:
    for path in ("/", "/login", "/healthz", "/accounts", "/static/icon.svg", "/nonsense"):
        headers = stranger.get(path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert len(headers["x-request-id"]) == 32


def test_a_request_id_is_kept_if_it_is_one(stranger: TestClient) -> None:
    assert stranger.get("/healthz", headers={"x-request-id": "abc-123-def"}).headers["x-request-id"] == "abc-123-def"
    assert stranger.get("/healthz", headers={"x-request-id": "a\tb c<>"}).headers["x-request-id"] != "a\tb c<>"


def test_what_breaks_is_not_shown(seeded_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("qrie_dagster.dashboard.routes.summary.dashboard", broken)
    answer = client_of(seeded_settings).get("/summary/dashboard")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["message"]


def test_no_cors_by_default(stranger: TestClient) -> None:
    headers = {"Origin": "https://qrie.example", "Access-Control-Request-Method": "GET"}
    assert "access-control-allow-origin" not in stranger.options("/accounts", headers=headers).headers
    assert "access-control-allow-origin" not in stranger.get("/healthz", headers=headers).headers


def test_cors_for_those_named(make_settings: Callable[..., Settings], seeded_settings: Settings) -> None:
    settings = seeded_settings.model_copy(update={"cors_origins": ["https://qrie.example"]})
    client = TestClient(create_app(settings))
    ask = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    allowed = client.options("/policies/x", headers={"Origin": "https://qrie.example", **ask})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://qrie.example")
    assert "DELETE" in allowed.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in allowed.headers
    assert client.options("/policies/x", headers={"Origin": "https://other.example", **ask}).status_code == 400
    # A refusal must be readable as well.
    refused = client.get("/accounts", headers={"Origin": "https://qrie.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://qrie.example")
    read = client.get("/accounts", headers={"Origin": "https://qrie.example", **BEARER})
    assert read.headers["access-control-expose-headers"] == "x-request-id"


def test_without_a_token_there_is_no_application(seeded_settings: Settings) -> None:
    with pytest.raises(QrieError, match="needs a token"):
        create_app(seeded_settings.model_copy(update={"api_token": None}))


def test_the_generated_token_is_kept(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "state" / "api_token"
    token = kept_token(file)
    assert len(token) >= 16
    assert token in capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept_token(file) == token
    assert token not in capsys.readouterr().out
    assert now_ms()
