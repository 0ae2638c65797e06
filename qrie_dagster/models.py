"""The data that crosses rooms: what AWS showed, what a scan did."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

Configuration: TypeAlias = Mapping[str, Any]


class UnknownFactError(Exception):
    """A policy asked for something the inventory could not read."""


def is_account_id(text: str) -> bool:
    """Whether ``text`` can be the id of an AWS account."""
    return re.fullmatch(r"[0-9]{12}", text) is not None


def is_region(name: str) -> bool:
    """Whether ``name`` looks like that of an AWS region."""
    return re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", name) is not None


# The region of what has none: IAM, and the listing of S3 buckets.
GLOBAL = "global"

# Stands for the regions of an account whose list could not be read.
ALL_REGIONS = "all regions"


class ScanKind(StrEnum):
    """What a scan looks at: AWS itself, or the stored inventory."""

    INVENTORY = "inventory"
    POLICY = "policy"


class ScanType(StrEnum):
    """``anti-entropy`` covers the whole estate; ``bootstrap`` is every narrower or onboarding scan."""

    ANTI_ENTROPY = "anti-entropy"
    BOOTSTRAP = "bootstrap"


@dataclass(frozen=True)
class Resource:
    """One AWS resource as observed at ``describe_time`` (ms, taken before AWS was asked).

    ``configuration`` is what AWS answered, as JSON values, with ``Tags`` as a plain name-to-value mapping.
    ``unread`` names the parts of it that AWS refused to show this time: unknown, which is not the same as
    absent. ``completed_from`` is the time of the stored observation that such parts were taken from.
    """

    account_id: str
    service: str
    resource_type: str
    region: str
    arn: str
    configuration: Configuration
    describe_time: int
    unread: tuple[str, ...] = ()
    completed_from: int | None = None

    def fact(self, key: str) -> Any:
        """The part of the configuration under ``key``, None when AWS says it is not configured.

        Raises UnknownFactError when AWS did not show it.
        """
        if key not in self.configuration:
            raise UnknownFactError(f"{key} of {self.arn} is not known")
        return self.configuration[key]

    @property
    def tags(self) -> Mapping[str, str]:
        """The resource's own tags."""
        tags: Mapping[str, str] = self.configuration.get("Tags") or {}
        return tags

    @property
    def account_service(self) -> str:
        """The key resources and findings are grouped by."""
        return account_service(self.account_id, self.service)


def account_service(account_id: str, service: str) -> str:
    """``<account_id>_<service>``, the partition key of resources."""
    return f"{account_id}_{service}"


@dataclass(frozen=True)
class ListedScope:
    """One (resource type, region) that a collector tried to list.

    ``region`` is ``global`` for types that are listed once per account. ``describe_time`` (ms) was taken before
    the first call. Without ``error`` the listing was complete: what it does not hold does not exist.
    """

    resource_type: str
    region: str
    describe_time: int
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Whether everything in this scope was listed."""
        return self.error is None

    @property
    def key(self) -> str:
        """``<resource type>/<region>``, unique within an account."""
        return f"{self.resource_type}/{self.region}"


@dataclass(frozen=True)
class Collected:
    """What one pass over one (account, service) saw.

    ``detail_errors`` maps an ARN to why a part of that resource could not be read. ``shared_errors`` maps (region,
    reason) to the resource types of which AWS refused what it tells of all at once, or of the account itself.
    """

    account_id: str
    service: str
    resources: list[Resource]
    scopes: list[ListedScope]
    detail_errors: Mapping[str, str] = field(default_factory=dict)
    shared_errors: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)

    @cached_property
    def failures(self) -> list["ScopeFailure"]:
        """Every scope that could not be listed completely, or of which something is missing throughout."""
        by_reason = {where: list(types) for where, types in self.shared_errors.items()}
        for scope in self.scopes:
            if scope.error:
                by_reason.setdefault((scope.region, scope.error), []).append(scope.resource_type)
        return [
            ScopeFailure(self.account_id, self.service, region, f"{', '.join(types)}: {error}")
            for (region, error), types in by_reason.items()
        ]

    @cached_property
    def unread(self) -> list["ScopeFailure"]:
        """Every listed resource of which a part could not be read, as people see them."""
        regions = {resource.arn: resource.region for resource in self.resources}
        return [
            ScopeFailure(self.account_id, self.service, regions.get(arn, GLOBAL), f"{arn}: {error}")
            for arn, error in self.detail_errors.items()
        ]


@dataclass(frozen=True)
class ScopeFailure:
    """Where a scan failed and why, in words."""

    account_id: str
    service: str
    region: str
    reason: str

    def __str__(self) -> str:
        return f"{self.account_id}/{self.service}/{self.region}: {self.reason}"


# Of one (account, service) in one scan.
FAILURES_KEPT = 200


# What an attempt of a scan changed: later attempts change what is left.
_CHANGES = (
    *("resources_created", "resources_updated", "resources_deleted", "superseded"),
    *("findings_created", "findings_closed", "findings_updated", "critical_created"),
)


class Opened(BaseModel):
    """How many findings of one policy, at one severity, are news: new, reopened or back from a mute; none muted."""

    model_config = ConfigDict(frozen=True)

    policy: str
    severity: int
    count: int


class Outcome(BaseModel):
    """What one scan did in one (account, service): the figures everything else is summed from.

    Times are ms since the epoch. ``failures`` are ``account/service/region: reason``; ``unread`` are the same of
    resources that were listed but not shown in every part, as a bucket whose policy denies it is for good. The
    inventory counts are what the store changed, not what was evaluated; ``superseded`` are changes dropped because
    something newer was already stored. What was changed until ``counted_ms`` is in the counts.
    """

    model_config = ConfigDict(frozen=True)

    account_id: str
    service: str
    started_ms: int
    finished_ms: int
    failures: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    counted_ms: int = 0
    # Nothing at all could be read: no scope of this (account, service) succeeded.
    failed: bool = False

    resources_found: int = 0
    resources_before: int = 0
    resources_created: int = 0
    resources_updated: int = 0
    resources_deleted: int = 0
    resources_unchanged: int = 0
    superseded: int = 0

    processed_resources: int = 0
    skipped_resources: int = 0
    findings_created: int = 0
    findings_closed: int = 0
    findings_updated: int = 0
    critical_created: int = 0
    opened: tuple[Opened, ...] = ()
    policies: tuple[str, ...] = ()

    @field_validator("failures", "unread")
    @classmethod
    def _readable(cls, failures: tuple[str, ...]) -> tuple[str, ...]:
        """No more than people read and a record holds: of tens of thousands of buckets each may be refused."""
        more = len(failures) - FAILURES_KEPT
        return (*failures[:FAILURES_KEPT], f"and {more} more") if more > 1 else failures

    @property
    def succeeded(self) -> bool:
        """Whether every scope was listed completely: only then is the (account, service) fresh."""
        return not self.failures and not self.failed

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that could not be read, whether or not that leaves the (account, service) stale."""
        return (*self.failures, *self.unread)

    def following(self, earlier: "Outcome") -> "Outcome":
        """This outcome of a later attempt of the same scan, with what the earlier attempt had changed added."""
        opened = Counter({(found.policy, found.severity): found.count for found in earlier.opened})
        opened.update({(found.policy, found.severity): found.count for found in self.opened})
        before = earlier if earlier.counted_ms else self
        return self.model_copy(
            update={
                **{name: getattr(earlier, name) + getattr(self, name) for name in _CHANGES},
                "opened": tuple(Opened(policy=p, severity=s, count=count) for (p, s), count in sorted(opened.items())),
                "started_ms": earlier.started_ms,
                "resources_before": before.resources_before,
                "counted_ms": max(earlier.counted_ms, self.counted_ms),
            }
        )

    @property
    def duration_ms(self) -> int:
        """How long it took."""
        return self.finished_ms - self.started_ms


class Scope(BaseModel):
    """Which resources a policy applies to.

    A resource is in scope when it matches every include given and no exclude. ``tags`` map a key to accepted
    values and are compared with the resource's own tags and its account's; an unknown tag is no match.
    ``ou_paths`` match the account's OU path and everything below.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    include_accounts: list[str] = Field(default_factory=list)
    exclude_accounts: list[str] = Field(default_factory=list)
    include_tags: dict[str, list[str]] = Field(default_factory=dict)
    exclude_tags: dict[str, list[str]] = Field(default_factory=dict)
    include_ou_paths: list[str] = Field(default_factory=list)
    exclude_ou_paths: list[str] = Field(default_factory=list)

    def covers(self, account: "Account", tags: Mapping[str, str]) -> bool:
        """Whether a resource with ``tags`` in ``account`` is in scope."""
        return (
            _included(self.include_accounts, account.account_id in self.include_accounts)
            and _included(self.include_tags, _tagged(self.include_tags, account.tags, tags, all))
            and _included(self.include_ou_paths, _under(account.ou_path, self.include_ou_paths))
            and account.account_id not in self.exclude_accounts
            and not _tagged(self.exclude_tags, account.tags, tags, any)
            and not _under(account.ou_path, self.exclude_ou_paths)
        )


def _included(wanted: Iterable[str], matched: bool) -> bool:
    return matched or not wanted


def _tagged(wanted: Mapping[str, list[str]], account: Mapping[str, str], own: Mapping[str, str], combine: Any) -> bool:
    return bool(wanted) and bool(
        combine(own.get(key) in values or account.get(key) in values for key, values in wanted.items())
    )


def _under(path: str, roots: Iterable[str]) -> bool:
    return any(path == root.rstrip("/") or path.startswith(root.rstrip("/") + "/") for root in roots)


AccountStatus: TypeAlias = Literal["active", "suspended", "removed"]


class ServiceScan(BaseModel):
    """When a (account, service) was last scanned, for one kind of scan. Times in ms."""

    model_config = ConfigDict(frozen=True)

    last_attempt: int | None = None
    last_success: int | None = None
    last_error: str | None = None
    scan_id: str | None = None
    resources: int = 0


class Account(BaseModel):
    """A registered AWS account."""

    model_config = ConfigDict(frozen=True)

    account_id: str = Field(pattern=r"^[0-9]{12}$")
    name: str = ""
    ou_path: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    status: AccountStatus = "active"
    # Regions to scan; empty means every region the account has enabled.
    regions: list[str] = Field(default_factory=list)
    customer: str = ""
    # By kind of scan, a cron expression (UTC) for scans of this account besides those of the whole estate.
    schedule_overrides: dict[str, str] = Field(default_factory=dict)
    registered_ms: int = 0
    # When it was last activated again, 0 if it never was inactive.
    activated_ms: int = 0
    # Set once the data of an account that is no longer active has been cleaned up.
    retired_ms: int | None = None
    # By kind of scan, then service.
    scans: dict[str, dict[str, ServiceScan]] = Field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether scans cover this account."""
        return self.status == "active"

    @property
    def active_since(self) -> int:
        """Since when (ms) scans have covered this account, if it is active."""
        return max(self.registered_ms, self.activated_ms)

    def scan(self, kind: ScanKind, service: str) -> ServiceScan:
        """The state of one kind of scan for one service, empty if it never ran."""
        return self.scans.get(kind, {}).get(service) or ServiceScan()
