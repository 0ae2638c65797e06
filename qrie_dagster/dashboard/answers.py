"""What the API answers and takes. Names are the contract's; times are ISO 8601 in UTC unless they end in ``_ms``."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from qrie_dagster.findings import Reason, State
from qrie_dagster.models import AccountStatus, ScanKind, ScanType, Scope
from qrie_dagster.mute_changes import MAX_ARN, MAX_AUTHOR, MAX_REASON, MAX_TAGS, MAX_VALUES

Band = Literal["critical", "high", "medium", "low"]
Time = Annotated[str, Field(description="ISO 8601, UTC", examples=["2025-01-31T04:00:00.000Z"])]
AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$")]


class Message(BaseModel):
    """An error, or a word about what was done."""

    message: str


class Health(BaseModel):
    """The store answers."""

    status: Literal["ok"] = "ok"


class Session(BaseModel):
    """What the page has to know about itself."""

    csrf_token: str | None
    dagster_url: str


class AccountRow(BaseModel):
    """A registered account. ``onboarding`` says how far qrie is with it, ``onboarding_note`` says it in a sentence.

    ``schedule_overrides`` are cron expressions (UTC) by kind of scan, for scans besides those of all accounts.
    """

    account_id: str
    name: str
    ou: str
    status: AccountStatus
    customer: str
    regions: list[str]
    tags: dict[str, str]
    registered_at: Time | None
    onboarding: Literal["ready", "waiting", "failing", "inactive"]
    onboarding_note: str
    last_inventory_at: Time | None
    last_policy_scan_at: Time | None
    schedule_overrides: dict[str, str]
    dagster_url: str


Cron = Annotated[str, Field(max_length=100, description="Five fields, UTC.", examples=["0 */6 * * *"])]


class ScheduleGiven(BaseModel):
    """When an account is scanned besides the scans of all; what is left out is scanned with all others only."""

    model_config = ConfigDict(extra="forbid")

    inventory: Cron | None = None
    policy: Cron | None = None


class ServiceRow(BaseModel):
    """A service qrie inventories."""

    service_name: str
    display_name: str
    resource_types: list[str]


class ResourceRow(BaseModel):
    """A stored resource. ``last_seen_at`` is when AWS last showed it, changed or not."""

    account_service: str
    arn: str
    last_seen_at: Time
    configuration: dict[str, Any]
    account_id: str
    service: str
    resource_type: str
    region: str
    first_seen_at: Time
    changed_at: Time
    described_at: Time
    unread: list[str]
    console_url: str | None
    dagster_url: str


class ResourcePage(BaseModel):
    """Some resources; ``next_token`` is null on the last page."""

    resources: list[ResourceRow]
    next_token: str | None = None


class FindingRow(BaseModel):
    """A resource that breaks, or broke, a policy.

    A ``muted`` one is still ACTIVE; ``mute_id`` names the rule, ``mute_reason`` is null once that is removed.
    ``described_at`` is null when the finding was resolved because its account left.
    """

    arn: str
    policy: str
    account_service: str
    severity: int
    state: State
    first_seen: Time
    last_evaluated: Time
    evidence: dict[str, Any]
    account_id: str
    service: str
    severity_band: Band
    described_at: Time | None
    resolved_at: Time | None
    resolved_reason: Reason | None
    muted: bool = False
    mute_id: str | None = None
    mute_reason: str | None = None
    console_url: str | None
    dagster_url: str


class FindingPage(BaseModel):
    """Some findings; ``next_token`` is null on the last page."""

    findings: list[FindingRow]
    next_token: str | None = None


class PolicyRow(BaseModel):
    """A policy. ``scope`` and the dates are null while it is not launched."""

    policy_id: str
    description: str
    service: str
    category: str
    severity: int
    remediation: str
    status: Literal["active", "suspended", "available"]
    scope: Scope | None
    open_findings: int
    muted_findings: int = 0
    created_at: Time | None
    updated_at: Time | None
    resource_type: str
    severity_band: Band
    default_severity: int
    default_remediation: str
    controls: list[str]


class LaunchedScan(BaseModel):
    """A scan under way in Dagster, and its runs."""

    scan_id: str
    runs: list[str]


class PolicyChanged(PolicyRow):
    """A policy after a change. ``scan`` is what now applies it to the findings, null if nothing does yet.

    ``waits_for_scan`` says that something should, and could not be started.
    """

    message: str
    scan: LaunchedScan | None
    waits_for_scan: bool = False


class PolicyDeleted(BaseModel):
    """What deleting a policy did."""

    message: str
    findings_deleted: int


Word = Annotated[str, Field(min_length=1, max_length=256)]
TagValue = Annotated[str, Field(max_length=256)]


class ScopeGiven(BaseModel):
    """Which resources a policy applies to: every include given must match, and no exclude."""

    model_config = ConfigDict(extra="forbid")

    include_accounts: list[AccountId] = Field(default_factory=list, max_length=2000)
    exclude_accounts: list[AccountId] = Field(default_factory=list, max_length=2000)
    include_tags: dict[Word, list[Word]] = Field(default_factory=dict, max_length=50)
    exclude_tags: dict[Word, list[Word]] = Field(default_factory=dict, max_length=50)
    include_ou_paths: list[Word] = Field(default_factory=list, max_length=200)
    exclude_ou_paths: list[Word] = Field(default_factory=list, max_length=200)

    def scope(self) -> Scope:
        """The same, as policies know it."""
        return Scope(**self.model_dump())


Severity = Annotated[int, Field(ge=0, le=100, strict=True)]
Remediation = Annotated[str, Field(min_length=1, max_length=10_000)]


class PolicyLaunch(BaseModel):
    """A policy to launch. Severity and remediation override the policy's own."""

    model_config = ConfigDict(extra="forbid")

    policy_id: str
    scope: ScopeGiven | None = None
    severity: Severity | None = None
    remediation: Remediation | None = None


class PolicyChange(BaseModel):
    """What to change of a launched policy; what is left out stays, null takes an override away."""

    model_config = ConfigDict(extra="forbid")

    scope: ScopeGiven | None = None
    severity: Severity | None = None
    remediation: Remediation | None = None
    status: Literal["active", "suspended"] | None = None


class MuteGiven(BaseModel):
    """Which findings to mute, why and who says so: those that match everything given, which is at least one thing.

    ``tags`` map a key to the values accepted, on the resource or its account. In ``arn``, ``*`` and ``?`` are
    wildcards. Without ``expires_at`` the mute holds until it is removed.
    """

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]
    author: Annotated[str, Field(min_length=1, max_length=MAX_AUTHOR)]
    expires_at: Annotated[
        AwareDatetime | None, Field(description="In the future, ISO 8601 with a time zone, within ten years.")
    ] = None
    policy: Word | None = None
    account_id: AccountId | None = None
    tags: dict[Word, Annotated[list[TagValue], Field(min_length=1, max_length=MAX_VALUES)]] = Field(
        default_factory=dict, max_length=MAX_TAGS
    )
    arn: Annotated[str | None, Field(min_length=1, max_length=MAX_ARN)] = None


class MuteRow(BaseModel):
    """A rule by which findings are muted. ``findings`` are those it mutes, as last counted."""

    id: str
    reason: str
    author: str
    created_at: Time
    expires_at: Time | None
    ended: bool
    policy: str | None
    account_id: str | None
    tags: dict[str, list[str]]
    arn: str | None
    findings: int


class MuteAdded(MuteRow):
    """A new rule, and what it did."""

    message: str


class MuteRemoved(BaseModel):
    """What removing a rule did."""

    message: str
    findings_unmuted: int


class PolicyFindings(BaseModel):
    """The findings of one policy: open, muted and resolved ones are the total."""

    policy: str
    severity: int
    total_findings: int
    open_findings: int
    muted_findings: int
    resolved_findings: int


class FindingSummary(BaseModel):
    """Findings in numbers: open, muted and resolved ones are the total; those by severity are open ones."""

    total_findings: int
    open_findings: int
    muted_findings: int
    resolved_findings: int
    critical_findings: int
    high_findings: int
    medium_findings: int
    low_findings: int
    policies: list[PolicyFindings]


class TypeSummary(BaseModel):
    """The resources of one type."""

    resource_type: str
    all_resources: int
    non_compliant: int


class ResourceSummary(BaseModel):
    """Resources in numbers, and the open findings on them."""

    total_resources: int
    total_findings: int
    critical_findings: int
    high_findings: int
    resource_types: list[TypeSummary]


class ScopeState(BaseModel):
    """How one kind of scan stands in one (account, service)."""

    kind: ScanKind
    account_id: str
    service: str
    last_success: Time | None
    age_hours: float | None
    stale: bool
    last_error: str | None


class ScopeStates(BaseModel):
    """All of them, and the limits in hours they are judged by."""

    inventory_hours: float
    policy_hours: float
    scopes: list[ScopeState]


class FailedScopes(BaseModel):
    """How many scopes failed, and the first of them as ``account/service/region: reason``."""

    count: int
    first: list[str]


class ScanEntry(BaseModel):
    """A scan that has been summed up. Counts of the other kind of scan are null."""

    scan_id: str
    kind: ScanKind
    scan_type: ScanType
    complete: bool
    started_at: Time
    ended_at: Time
    timestamp_ms: int
    duration_ms: int
    account_id: str
    service: str
    accounts_processed: int
    failed_scopes: FailedScopes
    resources_found: int | None = None
    resources_created: int | None = None
    resources_updated: int | None = None
    resources_deleted: int | None = None
    policies_evaluated: int | None = None
    processed_resources: int | None = None
    skipped_resources: int | None = None
    findings_created: int | None = None
    findings_closed: int | None = None
    findings_updated: int | None = None


class ScanState(BaseModel):
    """How far a scan is: (account, service) pairs done of planned.

    It is ``running``, then ``summing_up``, then ``ended`` with its ``result``; ``unknown`` when Dagster does not tell.
    ``note`` asks a question when nothing happens for minutes.
    """

    scan_id: str
    status: Literal["running", "summing_up", "ended", "unknown"]
    kind: ScanKind
    scan_type: ScanType
    started_at: Time
    accounts: int
    services: list[str]
    done: int
    planned: int
    runs: list[str]
    dagster_url: str
    note: str | None = None
    result: ScanEntry | None = None


class Scans(BaseModel):
    """The scans of the last four weeks, the newest first, and those under way.

    ``message`` says why what is under way is not known, when Dagster does not answer.
    """

    scans: list[ScanEntry]
    running: list[ScanState]
    message: str | None


class ScanRequest(BaseModel):
    """A scan to start: of everything, or only of some accounts and services, or of one policy."""

    model_config = ConfigDict(extra="forbid")

    kind: ScanKind
    accounts: list[AccountId] = Field(default_factory=list, max_length=5000)
    services: list[Word] = Field(default_factory=list, max_length=100)
    policy_id: Word | None = None


class LastScan(BaseModel):
    """The last full scan; all null if there was none."""

    model_config = ConfigDict(extra="allow")

    timestamp_ms: int | None
    age_hours: float | None
    duration_ms: int | None
    scan_id: str | None
    scan_type: str | None
    failed_scopes: FailedScopes | None


class LastInventoryScan(LastScan):
    """The last full inventory."""

    resources_found: int | None
    resources_created: int | None
    resources_updated: int | None
    resources_deleted: int | None


class LastPolicyScan(LastScan):
    """The last full policy scan."""

    processed_resources: int | None
    skipped_resources: int | None
    findings_created: int | None
    findings_closed: int | None


class Thresholds(BaseModel):
    """Ages beyond which there is drift."""

    inventory_hours: float
    policy_hours: float


class StaleScope(BaseModel):
    """An (account, service) that was not scanned for too long."""

    kind: ScanKind
    account_id: str
    service: str
    timestamp_ms: int | None
    age_hours: float | None
    last_error: str | None


class StaleScopes(BaseModel):
    """How many, the oldest, the first 20."""

    count: int
    oldest: StaleScope | None
    first: list[StaleScope]


class AntiEntropy(BaseModel):
    """Whether the loop runs."""

    last_inventory_scan: LastInventoryScan
    last_policy_scan: LastPolicyScan
    drift_detected: bool
    inventory_drift: bool
    policy_drift: bool
    drift_reasons: list[str]
    thresholds: Thresholds
    stale_scopes: StaleScopes
    history: list[dict[str, Any]]


class Week(BaseModel):
    """One week of findings, from a Monday."""

    week_start: str
    total_findings: int
    open_findings: int
    new_findings: int
    closed_findings: int
    critical_new: int
    is_current: bool


class TopPolicy(BaseModel):
    """One of the policies with the most open findings."""

    policy_id: str
    open_findings: int
    severity: int


class Dashboard(BaseModel):
    """Everything at a glance."""

    total_open_findings: int
    critical_open_findings: int
    high_open_findings: int
    muted_findings: int
    resolved_this_month: int
    active_policies: int
    resources: int
    accounts: int
    policies_launched_this_month: int
    findings_weekly: list[Week]
    top_policies: list[TopPolicy]
    anti_entropy: AntiEntropy
