"""The dashboard's application: its routes, what guards them, and how errors look."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from qrie_dagster import __doc__ as about
from qrie_dagster.dashboard.answers import Message
from qrie_dagster.dashboard.auth import Guesses, Keys
from qrie_dagster.dashboard.context import Context
from qrie_dagster.dashboard.middleware import REQUEST_ID, Envelope, Guard, message
from qrie_dagster.dashboard.paging import Tokens
from qrie_dagster.dashboard.routes import estate, findings, mutes, page, policies, scans, summary
from qrie_dagster.drift import DriftRules
from qrie_dagster.errors import ConflictError, DagsterError, NotFoundError, QrieError, StoreError
from qrie_dagster.launch import Dagster
from qrie_dagster.settings import Settings
from qrie_dagster.store import open_store

# Somebody is waiting: rather an error soon than an answer late.
STORE_ATTEMPTS = 3
DAGSTER_PATIENCE_SECONDS = 5.0

STATUS: Sequence[tuple[type[QrieError], HTTPStatus]] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (StoreError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DagsterError, HTTPStatus.SERVICE_UNAVAILABLE),
    (QrieError, HTTPStatus.BAD_REQUEST),
)
ERRORS: dict[int | str, dict[str, Any]] = {
    int(status): {"model": Message, "description": status.phrase}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}


def create_app(settings: Settings, token: str | None = None) -> FastAPI:
    """The application over the tables that the settings name; ``token`` is used where the settings have none.

    Raises QrieError when there is no token at all.
    """
    given = settings.api_token.get_secret_value() if settings.api_token else token
    if not given:
        raise QrieError("The dashboard needs a token: set QRIE_API_TOKEN.")
    keys = Keys(given)
    context = Context(
        settings,
        open_store(settings.model_copy(update={"aws_timeout_seconds": 5}), STORE_ATTEMPTS),
        DriftRules.of(settings),
        keys,
        Tokens(keys),
        Guesses(keys),
        Dagster(settings),
        Dagster(settings, DAGSTER_PATIENCE_SECONDS),
    )
    app = FastAPI(title="qrie", description=about or "", docs_url=None, redoc_url=None)
    # Documents how to authenticate; the guard below does it.
    bearer = [Security(HTTPBearer(auto_error=False))]
    for module in (estate, findings, mutes, policies, summary, scans):
        app.include_router(module.routes(context), responses=ERRORS, dependencies=bearer)
    app.include_router(page.session_routes(context), responses=ERRORS, dependencies=bearer)
    app.include_router(page.routes(context))
    app.mount("/static", StaticFiles(directory=page.STATIC), name="static")
    _explain_errors(app)
    _describe(app)
    _guard(app, settings, keys)
    return app


def _guard(app: FastAPI, settings: Settings, keys: Keys) -> None:
    """From the inside out."""
    app.add_middleware(Guard, keys=keys)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", REQUEST_ID],
            expose_headers=[REQUEST_ID],
        )
    app.add_middleware(Envelope)


def _explain_errors(app: FastAPI) -> None:
    @app.exception_handler(QrieError)
    def explained(_request: Request, error: QrieError) -> Response:
        status = next(status for kind, status in STATUS if isinstance(error, kind))
        return message(status, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> Response:
        wrong = [f"{_place(found['loc'])}: {found['msg']}" for found in error.errors()]
        return message(HTTPStatus.BAD_REQUEST, "; ".join(wrong))

    @app.exception_handler(HTTPException)
    def refused(_request: Request, error: HTTPException) -> Response:
        return message(error.status_code, error.detail, dict(error.headers or {}))


def _place(loc: Sequence[int | str]) -> str:
    return ".".join(map(str, loc[1:])) or str(loc[0])


def _describe(app: FastAPI) -> None:
    """The OpenAPI document, without the answers that FastAPI would give and this API does not."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            for path in document["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
