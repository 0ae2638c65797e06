"""The page and its login."""

from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from qrie_dagster.dashboard.answers import Session
from qrie_dagster.dashboard.auth import SESSION_COOKIE, SESSION_HOURS
from qrie_dagster.dashboard.context import Context
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
        client, now = request.client.host if request.client else "", now_ms()
        wait = context.guesses.wait_seconds(client, now)
        if wait:
            text = f"Too many wrong tokens. Try again in {wait} seconds."
            return _login_page(text, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(wait)})
        if not context.keys.is_token(await _given_token(request)):
            context.guesses.wrong(client, now)
            return _login_page("That is not the token.", HTTPStatus.UNAUTHORIZED)
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        answer.set_cookie(
            SESSION_COOKIE,
            context.keys.new_session(now),
            max_age=SESSION_HOURS * 3600,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @router.post("/logout")
    def logout() -> Response:
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
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
            dagster_url=context.settings.dagster_url,
        )

    return router


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
