"""Pages over many (account, service) groups, in one fixed order, and the tokens that say where to go on."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from hmac import compare_digest
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from qrie_dagster.dashboard.auth import Keys, fingerprint
from qrie_dagster.errors import QrieError

Row = TypeVar("Row")

# Queries that one request may cost. Only a filter that matches almost nothing comes near it.
MAX_QUERIES = 100
SIGNATURE_BYTES = 20


class Group(NamedTuple):
    """One (account, service)."""

    account_id: str
    service: str


class Position(NamedTuple):
    """Where to go on: in which group, and after which row of it."""

    account_id: str
    service: str
    after: list[str]


# (group, rows wanted, after which row) to (rows, after which row to go on; empty at the group's end).
Fetch: TypeAlias = Callable[[Group, int, list[str]], tuple[list[Row], list[str]]]


class Tokens:
    """Positions as text that nobody can make up, nor use with another question."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def seal(self, position: Position | None, question: Sequence[str]) -> str | None:
        """A token, None at the end."""
        if position is None:
            return None
        data = json.dumps([_about(question), *position], separators=(",", ":")).encode()
        return urlsafe_b64encode(self._keys.sign("page", data) + data).decode().rstrip("=")

    def open(self, token: str | None, question: Sequence[str]) -> Position | None:
        """The position in a token. Raises QrieError unless ``seal`` made it for the same question."""
        if token is None:
            return None
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            raw = b""
        signature, data = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not compare_digest(self._keys.sign("page", data), signature):
            raise QrieError("next_token is none that this server gave out: start from the first page.")
        about, *position = json.loads(data)
        if about != _about(question):
            raise QrieError("next_token belongs to other filters: start from the first page.")
        return Position(*position)


def _about(question: Sequence[str]) -> str:
    return fingerprint(json.dumps(question).encode())


class Page(NamedTuple, Generic[Row]):
    """Some rows, and where to go on, None at the end."""

    rows: list[Row]
    position: Position | None


def fill(
    groups: Sequence[Group],
    fetch: Fetch[Row],
    wanted: int,
    position: Position | None = None,
    max_queries: int = MAX_QUERIES,
) -> Page[Row]:
    """Up to ``wanted`` rows from ``position`` on, from as many groups as that takes.

    A page is short only at the end, or when ``max_queries`` did not find more.
    """
    rows: list[Row] = []
    queries = 0
    here = Group(position.account_id, position.service) if position else Group("", "")
    for group in sorted(groups):
        if group < here:
            continue
        after = position.after if position and group == here else []
        while True:
            if len(rows) >= wanted or queries >= max_queries:
                return Page(rows, Position(*group, after))
            found, after = fetch(group, wanted - len(rows), after)
            queries += 1
            rows += found
            if not after:
                break
    return Page(rows, None)


def walk(groups: Sequence[Group], fetch: Fetch[Row]) -> Iterator[Row]:
    """All rows."""
    for group in sorted(groups):
        after: list[str] = []
        while True:
            rows, after = fetch(group, 1000, after)
            yield from rows
            if not after:
                break
