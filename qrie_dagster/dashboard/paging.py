"""Pages over many (account, service) groups, in one fixed order, and the tokens that say where to go on."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hmac import compare_digest
from itertools import islice
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from qrie_dagster.dashboard.auth import Keys, fingerprint
from qrie_dagster.errors import QrieError
from qrie_dagster.store.dynamo import concurrently

Row = TypeVar("Row")

# Queries that one request may cost. Only a filter that matches almost nothing comes near it.
MAX_QUERIES = 400
# Groups that are asked at once.
MAX_AHEAD = 16
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

    A page is short only at the end, or when ``max_queries`` did not find more. Where groups turn out empty, more and
    more of them are asked at once.
    """
    rows: list[Row] = []
    queries, ahead = 0, 1
    here = Group(position.account_id, position.service) if position else Group("", "")
    waiting: deque[tuple[Group, list[str]]] = deque((group, []) for group in sorted(groups) if group >= here)
    if position and waiting and waiting[0][0] == here:
        waiting[0] = (here, position.after)
    while waiting:
        if len(rows) >= wanted or queries >= max_queries:
            group, after = waiting[0]
            return Page(rows, Position(*group, after))
        before = len(rows)
        batch = list(islice(waiting, min(ahead, max_queries - queries)))
        queries += len(batch)
        ask = partial(_ask, fetch, wanted - before)
        for found, after in concurrently(ask, batch):
            if len(rows) + len(found) > wanted:
                # Does not fit: it is asked for again, so that the page ends where the next begins.
                break
            rows += found
            group, _ = waiting.popleft()
            if after:
                waiting.appendleft((group, after))
                break
        # Where none of these groups held anything, the next may not either.
        all_empty = len(rows) == before and not (waiting and waiting[0][1])
        ahead = min(MAX_AHEAD, 2 * ahead) if all_empty else 1
    return Page(rows, None)


def _ask(fetch: Fetch[Row], wanted: int, one: tuple[Group, list[str]]) -> tuple[list[Row], list[str]]:
    group, after = one
    return fetch(group, wanted, after)


def walk(groups: Sequence[Group], fetch: Fetch[Row]) -> Iterator[Row]:
    """All rows."""
    for group in sorted(groups):
        after: list[str] = []
        while True:
            rows, after = fetch(group, 1000, after)
            yield from rows
            if not after:
                break
