"""What holds for every request: an id, safe headers, an error body, and a token."""

import logging
import re
from http import HTTPStatus
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qrie_dagster.dashboard.auth import CSRF_HEADER, SESSION_COOKIE, Guesses, Keys
from qrie_dagster.times import now_ms

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
# The page itself holds no data: what it asks for wants the token. So a link to it from elsewhere, with which browsers
# send no strict cookie, does not lead those who are logged in to the login.
OPEN_PATHS = {"/", "/healthz", "/login"}
OPEN_FOLDER = "/static/"
READING = {"GET", "HEAD", "OPTIONS"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def message(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """An error as clients expect it."""
    return JSONResponse({"message": text}, status, headers)


def too_many(seconds: int) -> tuple[str, dict[str, str]]:
    """What somebody is told who has to wait, in words and as a header."""
    return f"Too many wrong tokens. Try again in {seconds} seconds.", {"Retry-After": str(seconds)}


def client_of(request: HTTPConnection) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


def _unauthorized() -> Response:
    text = "Say who you are: 'Authorization: Bearer' and the token of QRIE_API_TOKEN."
    return message(HTTPStatus.UNAUTHORIZED, text, {"WWW-Authenticate": "Bearer"})


class Envelope:
    """Gives every answer its request id and its safe headers, and hides what broke behind them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(HTTPConnection(scope))
        started = False

        async def send_with_headers(part: Message) -> None:
            nonlocal started
            if part["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=part)
                headers[REQUEST_ID] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith(OPEN_FOLDER) else "no-store")
            await send(part)

        try:
            await self.app(scope, receive, send_with_headers)
        # Whatever it was, the client gets an id and the log gets the rest.
        except Exception:
            log.exception("Request %s broke: %s %s", request_id, scope["method"], scope["path"])
            if started:
                raise
            text = f"qrie broke while answering; its log has the details under {request_id}."
            await message(HTTPStatus.INTERNAL_SERVER_ERROR, text)(scope, receive, send_with_headers)


def _request_id(request: HTTPConnection) -> str:
    given = request.headers.get(REQUEST_ID, "")
    return given if re.fullmatch(r"[A-Za-z0-9_-]{8,64}", given) else uuid4().hex


class Guard:
    """Lets through what carries the token, or a session of the page, and nothing else."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app = app
        self.keys = keys
        # Besides those at the login: a script with an old token locks nobody out of the page.
        self.guesses = Guesses(keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            refusal = self._refusal(HTTPConnection(scope))
            if refusal:
                await refusal(scope, receive, send)
                return
        elif scope["type"] != "lifespan":
            return
        await self.app(scope, receive, send)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        path = request.scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._refusal_of_token(request, given.strip())
        session = request.cookies.get(SESSION_COOKIE, "")
        if not scheme and self.keys.is_session(session, now_ms()):
            return self._refusal_of_change(request, session)
        return _unauthorized()

    def _refusal_of_token(self, request: HTTPConnection, given: str) -> Response | None:
        guess = self.guesses.guess(client_of(request), given, now_ms())
        if guess.wait_seconds:
            return message(HTTPStatus.TOO_MANY_REQUESTS, *too_many(guess.wait_seconds))
        return None if guess.right else _unauthorized()

    def _refusal_of_change(self, request: HTTPConnection, session: str) -> Response | None:
        if request.scope["method"] in READING:
            return None
        if self.keys.is_csrf_token(session, request.headers.get(CSRF_HEADER, "")):
            return None
        text = "This change does not come from the page of this session: load the page again."
        return message(HTTPStatus.FORBIDDEN, text)
