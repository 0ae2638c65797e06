"""Serving the dashboard, with a token that survives a restart."""

import secrets
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from qrie_dagster.cli.output import say
from qrie_dagster.dashboard.app import create_app
from qrie_dagster.errors import QrieError
from qrie_dagster.settings import Settings

TOKEN_FILE = Path(".qrie/api_token")


def serve(settings: Settings) -> None:
    """Serve until interrupted. Raises QrieError when no token can be kept."""
    token = None if settings.api_token else kept_token(TOKEN_FILE)
    app = create_app(settings, token)
    if not _is_loopback(settings.dashboard_host):
        say(f"{settings.dashboard_host} can be reached from other machines: put a proxy with TLS in front.")
    say(f"The dashboard is at {settings.dashboard_link}")
    uvicorn.run(
        app,
        host=settings.dashboard_host,
        port=settings.dashboard_port,
        log_level="warning",
        server_header=False,
        # Anybody can claim to be a proxy, and so to be another client at every guess of the token.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
    )


def kept_token(file: Path) -> str:
    """The token generated at the first start; at that start it is printed."""
    try:
        if file.exists():
            say(f"The token is in {file}; QRIE_API_TOKEN would replace it.")
            return file.read_text("utf-8").strip()
        token = secrets.token_urlsafe(24)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_text(token + "\n", "utf-8")
    except OSError as error:
        raise QrieError(f"The dashboard's token cannot be kept in {file}: {error}. Set QRIE_API_TOKEN.") from error
    say(f"Token of the dashboard, generated now and kept in {file}: {token}")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
