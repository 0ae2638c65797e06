"""Who may do what: the token, sessions of the page, and how often one may guess.

There is one secret, the API token. Everything else is derived from it: sessions and page tokens survive a restart,
and end when the token is changed.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from qrie_dagster.times import HOUR_MS

SESSION_COOKIE = "qrie_session"
SESSION_HOURS = 12
CSRF_HEADER = "x-csrf-token"

GUESSES = 10
GUESS_WINDOW_MS = 5 * 60_000
CLIENTS_REMEMBERED = 1000


class Keys:
    """What is signed and compared with the API token, and how."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._digest = hashlib.sha256(self._token).digest()

    def is_token(self, given: str) -> bool:
        """Whether ``given`` is the API token; takes as long for any guess, however long."""
        return hmac.compare_digest(self._digest, hashlib.sha256(given.encode()).digest())

    def sign(self, purpose: str, data: bytes) -> bytes:
        """A signature of ``data`` that is good for one purpose only."""
        key = hmac.digest(self._token, f"qrie {purpose}".encode(), "sha256")
        return hmac.digest(key, data, "sha256")[:20]

    def new_session(self, now: int) -> str:
        """The value of a session cookie: when it ends, something random, a signature."""
        facts = f"{now + SESSION_HOURS * HOUR_MS}.{secrets.token_hex(8)}"
        return f"{facts}.{self.sign('session', facts.encode()).hex()}"

    def is_session(self, cookie: str, now: int) -> bool:
        """Whether a cookie is one of ours and has not ended."""
        facts, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self.sign("session", facts.encode()).hex().encode(), signature.encode()):
            return False
        return now < int(facts.partition(".")[0])

    def csrf_token(self, session: str) -> str:
        """What a page of this session sends along with every change."""
        return self.sign("csrf", session.encode()).hex()

    def is_csrf_token(self, session: str, given: str) -> bool:
        """Whether a change comes from a page of this session."""
        return hmac.compare_digest(self.csrf_token(session).encode(), given.encode())


def fingerprint(data: bytes) -> str:
    """A short name for ``data``."""
    return hashlib.sha256(data).hexdigest()[:12]


class Guess(NamedTuple):
    """What came of a guess: whether it was right, or how long to wait before the next, 0 if not at all."""

    right: bool
    wait_seconds: int = 0


class Guesses:
    """Wrong tokens by client, within a window of time and for so many clients: memory stays bounded."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._wrong: OrderedDict[str, list[int]] = OrderedDict()
        self._lock = Lock()

    def guess(self, client: str, token: str, now: int) -> Guess:
        """Compare a client's token, in one step with noting that it was wrong. Who has to wait is told no more."""
        with self._lock:
            recent = self._recent(client, now)
            if len(recent) >= GUESSES:
                return Guess(False, (recent[0] + GUESS_WINDOW_MS - now) // 1000 + 1)
            if self._keys.is_token(token):
                return Guess(True)
            self._wrong[client] = [*recent, now]
            self._wrong.move_to_end(client)
            while len(self._wrong) > CLIENTS_REMEMBERED:
                self._wrong.popitem(last=False)
            return Guess(False)

    def _recent(self, client: str, now: int) -> list[int]:
        return [at for at in self._wrong.get(client, ()) if now - at < GUESS_WINDOW_MS][-GUESSES:]
