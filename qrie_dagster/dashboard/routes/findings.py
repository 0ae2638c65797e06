"""Findings, in pages and as a whole in the formats of other tools."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from qrie_dagster.dashboard.answers import FindingPage
from qrie_dagster.dashboard.context import Context
from qrie_dagster.dashboard.export import FORMATS
from qrie_dagster.dashboard.queries import (
    DEFAULT_PAGE_SIZE,
    AccountQuery,
    ArnQuery,
    ChangedSince,
    FindingQuery,
    Findings,
    NextToken,
    PageSize,
    ServiceQuery,
    SeverityQuery,
    StateQuery,
    since_ms,
)
from qrie_dagster.times import as_datetime, now_ms


def _query(
    account: AccountQuery = None,
    policy: Annotated[str | None, Query(description="Only this policy, by its id.")] = None,
    state: StateQuery = None,
    severity: SeverityQuery = None,
    service: ServiceQuery = None,
    changed_since: ChangedSince = None,
    arn: ArnQuery = None,
    muted: Annotated[bool | None, Query(description="Only muted ones, or only those that are not.")] = None,
) -> FindingQuery:
    return FindingQuery(account, service, policy, state, severity, since_ms(changed_since), arn, muted)


Filters = Annotated[FindingQuery, Depends(_query)]


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(tags=["findings"])
    findings = Findings(context)

    @router.get("/findings")
    def list_findings(
        query: Filters, page_size: PageSize = DEFAULT_PAGE_SIZE, next_token: NextToken = None
    ) -> FindingPage:
        """The findings, by account, service, state and ARN."""
        rows, token = findings.page(query, page_size, next_token)
        return FindingPage(findings=rows, next_token=token)

    @router.get(
        "/findings/export",
        response_class=StreamingResponse,
        responses={200: {"content": {name: {} for name in {kind.media_type for kind in FORMATS.values()}}}},
    )
    def export(
        query: Filters, format: Annotated[Literal["csv", "json", "ocsf", "sarif"], Query()]
    ) -> StreamingResponse:
        """All findings that match, as a file, written while it is read."""
        kind = FORMATS[format]
        rows = findings.all(query)
        # The first rows are read now: what fails at once is an error, not half a file.
        parts = kind.write(rows, context.policies())
        first = next(parts)
        name = f"qrie-findings-{as_datetime(now_ms()):%Y%m%dT%H%M%SZ}.{kind.suffix}"

        def stream() -> Iterator[str]:
            yield first
            yield from parts

        return StreamingResponse(
            stream(), media_type=kind.media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    return router
