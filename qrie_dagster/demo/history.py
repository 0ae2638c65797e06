"""The past of the emulated organisation, in days before now: how long access keys exist, what the root users did."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """An access key: when it was created, and last used (None for never)."""

    created: int
    used: int | None


@dataclass(frozen=True)
class Root:
    """A root user: when it last signed in (None for never), whether it has an access key, and MFA."""

    signed_in: int | None = None
    key: bool = False
    mfa: bool = True


# By user name: each of these users has the same past in every account.
KEYS = {
    "deploy-bot": Key(created=10, used=0),
    "backup-bot": Key(created=410, used=1),
    "legacy-sync": Key(created=730, used=300),
    "reporting-bot": Key(created=120, used=None),
    "metrics-agent": Key(created=80, used=None),
}

ROOTS = {
    "555566667777": Root(signed_in=3),
    "888899990000": Root(signed_in=200, mfa=False),
    "131313131313": Root(signed_in=1, key=True, mfa=False),
}


def root_of(account_id: str) -> Root:
    """The root user of an account; most are locked away."""
    return ROOTS.get(account_id, Root())
