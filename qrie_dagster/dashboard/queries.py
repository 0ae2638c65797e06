"""Questions about findings and resources, as people ask them and as the store answers them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, TypeAlias

from fastapi import Query
from pydantic import AwareDatetime, BeforeValidator

from qrie_dagster.dashboard.answers import FindingRow, ResourceRow
from qrie_dagster.dashboard.context import Context, Estate
from qrie_dagster.dashboard.links import asset_url, console_url
from qrie_dagster.dashboard.paging import Fetch, Group, Page, fill, walk
from qrie_dagster.errors import QrieError
from qrie_dagster.findings import Finding, State
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import ScanKind
from qrie_dagster.policies.policy import SEVERITY_BANDS, band, find_policy
from qrie_dagster.store.dynamo import Attr, ConditionBase
from qrie_dagster.store.mutes import load_mutes
from qrie_dagster.store.resources import KeptResource
from qrie_dagster.times import as_ms, iso

DEFAULT_PAGE_SIZE = 50

AccountQuery: TypeAlias = Annotated[
    str | None, Query(pattern=r"^[0-9]{12}$", description="Only this account, by its 12 digits.")
]
ServiceQuery: TypeAlias = Annotated[str | None, Query(description="Only this service, such as s3.")]
PageSize: TypeAlias = Annotated[int, Query(ge=1, le=100)]
NextToken: TypeAlias = Annotated[
    str | None, Query(max_length=8192, description="From the page before, asked for with the same filters.")
]
ChangedSince: TypeAlias = Annotated[
    AwareDatetime | None, Query(description="Only what a scan changed since, ISO 8601 with a time zone.")
]
ArnQuery: TypeAlias = Annotated[str | None, Query(min_length=1, max_length=2048, description="Only this resource.")]
# 'active' is understood as well as 'ACTIVE'.
StateQuery: TypeAlias = Annotated[
    State | None, BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value), Query()
]
SeverityQuery: TypeAlias = Annotated[
    str | None,
    Query(
        pattern=r"^(critical|high|medium|low|[0-9]{1,2}|100)$",
        description="A band (critical, high, medium, low) or a number of 0-100.",
    ),
]


@dataclass(frozen=True)
class FindingQuery:
    """Which findings."""

    account: str | None = None
    service: str | None = None
    policy: str | None = None
    state: State | None = None
    severity: str | None = None
    changed_since: int | None = None
    arn: str | None = None
    muted: bool | None = None

    @property
    def question(self) -> list[str]:
        """The question as text: a page token is good for no other."""
        return ["findings", *("" if value is None else str(value) for value in vars(self).values())]

    @property
    def severities(self) -> tuple[int, int] | None:
        """The lowest and highest severity asked for."""
        if self.severity is None:
            return None
        return SEVERITY_BANDS.get(self.severity) or (int(self.severity), int(self.severity))

    def only(self) -> ConditionBase | None:
        """What the index cannot answer."""
        conditions: list[ConditionBase] = []
        if self.policy:
            conditions.append(Attr("Policy").eq(self.policy))
        if self.severities:
            conditions.append(Attr("Severity").between(*self.severities))
        if self.changed_since is not None:
            # Evaluated is what a scan wrote: a finding that stays as it is, is not written.
            conditions.append(Attr("LastEvaluated").gte(self.changed_since))
        if self.muted is not None:
            conditions.append(Attr("Muted").exists() if self.muted else Attr("Muted").not_exists())
        return _all_of(conditions)

    def matches(self, finding: Finding) -> bool:
        """The same, asked of one finding."""
        account, _, service = finding.account_service.partition("_")
        low, high = self.severities or (0, 100)
        return (
            self.account in (None, account)
            and self.service in (None, service)
            and self.policy in (None, finding.policy)
            and self.state in (None, finding.state)
            and low <= finding.severity <= high
            and finding.last_evaluated >= (self.changed_since or 0)
            and self.muted in (None, finding.muted is not None)
        )


@dataclass(frozen=True)
class ResourceQuery:
    """Which resources."""

    account: str | None = None
    service: str | None = None
    type: str | None = None
    changed_since: int | None = None

    @property
    def question(self) -> list[str]:
        """The question as text: a page token is good for no other."""
        return ["resources", *("" if value is None else str(value) for value in vars(self).values())]

    def only(self) -> ConditionBase | None:
        """What the key cannot answer."""
        conditions: list[ConditionBase] = []
        if self.type:
            conditions.append(Attr("ResourceType").eq(self.type))
        if self.changed_since is not None:
            conditions.append(Attr("LastSeenAt").gte(self.changed_since))
        return _all_of(conditions)


def _all_of(conditions: Sequence[ConditionBase]) -> ConditionBase | None:
    if not conditions:
        return None
    combined, *rest = conditions
    for condition in rest:
        combined = combined & condition
    return combined


def since_ms(moment: AwareDatetime | None) -> int | None:
    """A time given to the API, in ms."""
    return None if moment is None else max(0, as_ms(moment))


class Findings:
    """Answers questions about findings."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def page(self, query: FindingQuery, size: int, token: str | None) -> tuple[list[FindingRow], str | None]:
        """One page and the token of the next."""
        position = self._context.tokens.open(token, query.question)
        if query.arn:
            page = Page(self._of_resource(query, query.arn), None)
        else:
            page = fill(self._groups(query), self._fetch(query), size, position)
        return list(map(self._rows(), page.rows)), self._context.tokens.seal(page.position, query.question)

    def all(self, query: FindingQuery) -> Iterator[FindingRow]:
        """Every finding, read page after page as it is taken."""
        found = self._of_resource(query, query.arn) if query.arn else walk(self._groups(query), self._fetch(query))
        return map(self._rows(), found)

    def _of_resource(self, query: FindingQuery, arn: str) -> list[Finding]:
        return [finding for finding in self._context.store.findings.of_resource(arn) if query.matches(finding)]

    def _groups(self, query: FindingQuery) -> list[Group]:
        known = _known_service(query.service)
        service = find_policy(query.policy).service if query.policy else known
        if known and service != known:
            return []
        return _groups(self._context, query.account, service)

    def _fetch(self, query: FindingQuery) -> Fetch[Finding]:
        only = query.only()

        def fetch(group: Group, wanted: int, after: list[str]) -> tuple[list[Finding], list[str]]:
            return self._context.store.findings.page(*group, wanted, after, query.state, only)

        return fetch

    def _rows(self) -> Callable[[Finding], FindingRow]:
        @cache
        def reasons() -> dict[str, str]:
            return {rule.id: rule.reason for rule in load_mutes(self._context.store.summary).rules}

        # The rules are read once, and only where something is muted.
        return lambda finding: self._row(finding, reasons().get(finding.muted) if finding.muted else None)

    def _row(self, finding: Finding, mute_reason: str | None) -> FindingRow:
        account_id, _, service = finding.account_service.partition("_")
        return FindingRow(
            arn=finding.arn,
            policy=finding.policy,
            account_service=finding.account_service,
            severity=finding.severity,
            state=finding.state,
            first_seen=iso(finding.first_seen),
            last_evaluated=iso(finding.last_evaluated),
            evidence=dict(finding.evidence),
            account_id=account_id,
            service=service,
            severity_band=band(finding.severity),
            described_at=iso(finding.describe_time or None),
            resolved_at=iso(finding.resolved_at),
            resolved_reason=finding.resolved_reason,
            muted=finding.muted is not None,
            mute_id=finding.muted,
            mute_reason=mute_reason,
            console_url=console_url(finding.arn),
            dagster_url=asset_url(self._context.settings.dagster_ui, "policy_findings", account_id),
        )


class Resources:
    """Answers questions about resources."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def page(self, query: ResourceQuery, size: int, token: str | None) -> tuple[list[ResourceRow], str | None]:
        """One page and the token of the next."""
        position = self._context.tokens.open(token, query.question)
        known = _known_service(query.service)
        service = _service_of_type(query.type) or known
        estate = self._context.estate()
        groups = [] if known and service != known else _groups(self._context, query.account, service, estate)
        page = fill(groups, self._fetch(query), size, position)
        row = self._row_of(estate)
        return list(map(row, page.rows)), self._context.tokens.seal(page.position, query.question)

    def one(self, account_id: str, service: str, arn: str) -> ResourceRow | None:
        """One resource, None if it is not stored."""
        kept = self._context.store.resources.kept(account_id, service, arn)
        return self._row_of(self._context.estate())(kept) if kept else None

    def _fetch(self, query: ResourceQuery) -> Fetch[KeptResource]:
        only = query.only()

        def fetch(group: Group, wanted: int, after: list[str]) -> tuple[list[KeptResource], list[str]]:
            rows, last = self._context.store.resources.page(*group, wanted, "".join(after), only)
            return rows, [last] if last else []

        return fetch

    def _row_of(self, estate: Estate) -> Callable[[KeptResource], ResourceRow]:
        dagster_url = self._context.settings.dagster_ui

        def row(kept: KeptResource) -> ResourceRow:
            found = kept.resource
            # A resource that does not change is not written: the scan of its service is when it was last seen.
            age = estate.ages.get((ScanKind.INVENTORY, found.account_id, found.service))
            return ResourceRow(
                account_service=found.account_service,
                arn=found.arn,
                last_seen_at=iso(max(kept.last_written, (age and age.last_success) or 0)),
                configuration=dict(found.configuration),
                account_id=found.account_id,
                service=found.service,
                resource_type=found.resource_type,
                region=found.region,
                first_seen_at=iso(kept.first_seen),
                changed_at=iso(kept.last_written),
                described_at=iso(found.describe_time),
                unread=list(found.unread),
                console_url=console_url(found.arn),
                dagster_url=asset_url(dagster_url, f"inventory/{found.service}", found.account_id),
            )

        return row


def _groups(context: Context, account_id: str | None, service: str | None, estate: Estate | None = None) -> list[Group]:
    return (estate or context.estate()).groups(account_id, service)


def _known_service(name: str | None) -> str | None:
    if name is not None and name not in all_services():
        raise QrieError(f"There is no service {name!r}; there are: {', '.join(all_services())}.")
    return name


def _service_of_type(name: str | None) -> str | None:
    if name is None:
        return None
    types = {kind.name: service.name for service in all_services().values() for kind in service.types}
    if name not in types:
        raise QrieError(f"There is no resource type {name!r}; there are: {', '.join(types)}.")
    return types[name]
