"""The page and its login."""

from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from qrie_dagster.dashboard.answers import Session
from qrie_dagster.dashboard.auth import SESSION_COOKIE, SESSION_HOURS
from qrie_dagster.dashboard.context import Context
from qrie_dagster.dashboard.middleware import client_of, too_many
from qrie_dagster.times import now_ms

STATIC = Path(__file__).resolve().parents[1] / "static"
LARGEST_FORM = 4096


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse((STATIC / "index.html").read_text("utf-8"))

    @router.get("/login")
    def login_page() -> HTMLResponse:
        return _login_page("")

    @router.post("/login")
    async def login(request: Request) -> Response:
        # The whole body first: of many logins at once, none may be looked at before the others are noted.
        token, now = await _given_token(request), now_ms()
        guess = context.guesses.guess(client_of(request), token, now)
        if guess.wait_seconds:
            text, headers = too_many(guess.wait_seconds)
            return _login_page(text, HTTPStatus.TOO_MANY_REQUESTS, headers)
        if not guess.right:
            return _login_page("That is not the token.", HTTPStatus.UNAUTHORIZED)
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        answer.set_cookie(
            SESSION_COOKIE,
            context.keys.new_session(now),
            max_age=SESSION_HOURS * 3600,
            httponly=True,
            samesite="strict",
            secure=_is_secure(context, request),
        )
        return answer

    @router.post("/logout")
    def logout(request: Request) -> Response:
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=_is_secure(context, request))
        return answer

    return router


def session_routes(context: Context) -> APIRouter:
    """What the page asks first."""
    router = APIRouter(tags=["page"])

    @router.get("/session")
    def session(request: Request) -> Session:
        """The token that a page of this session sends with changes as X-CSRF-Token; none for bearers of the token."""
        cookie = request.cookies.get(SESSION_COOKIE)
        return Session(
            csrf_token=context.keys.csrf_token(cookie) if cookie else None,
            dagster_url=context.settings.dagster_ui,
        )

    return router


def _is_secure(context: Context, request: Request) -> bool:
    """Whether browsers may be told to send the cookie over TLS only: a proxy may end it in front of this server."""
    return request.url.scheme == "https" or context.settings.dashboard_link.startswith("https:")


async def _given_token(request: Request) -> str:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()


def _login_page(error: str, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> HTMLResponse:
    """``error`` is one of the sentences above: nothing that anybody sent."""
    html = (STATIC / "login.html").read_text("utf-8").replace("<!--error-->", error)
    return HTMLResponse(html, status, headers)
