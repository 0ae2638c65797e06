"""``qrie_findings``: one item per (resource, policy) that was ever in violation."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from qrie_dagster.errors import StoreError
from qrie_dagster.findings import By, Change, Episode, Finding, FindingKey, Reason, State, Transition, transition
from qrie_dagster.models import account_service
from qrie_dagster.store.dynamo import Attr, ConditionBase, ConditionFailedError, Dynamo, DynamoItem, Key, concurrently
from qrie_dagster.store.encoding import decode, encode
from qrie_dagster.store.tables import FINDINGS, STATE_INDEX

# A finding that changes at every attempt to write it is being fought over by scans that never end.
MAX_TRIES = 5

# Rows that one query looks at when it has to look for some.
LOOKED_AT = 1000
_POSITION = ("State", "ARN", "Policy")


@dataclass
class AppliedFindings:
    """What a write of transitions really changed; ``error`` says why it stopped before the end.

    ``now`` holds what is stored of all that was to change, also where another writer left nothing to do.
    """

    changes: Counter[Change] = field(default_factory=Counter)
    written: list[Transition] = field(default_factory=list)
    now: dict[FindingKey, Finding] = field(default_factory=dict)
    error: str | None = None


def _filter(only: ConditionBase | None) -> dict[str, ConditionBase]:
    return {} if only is None else {"FilterExpression": only}


class FindingTable:
    """The stored findings."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def load(self, account_id: str, service: str, state: State | None = None) -> Iterator[Finding]:
        """The findings of one (account, service), page after page.

        Read from the index, which may lag behind by a moment: ``apply`` decides again on what it finds.
        """
        condition: ConditionBase = Key("AccountService").eq(account_service(account_id, service))
        if state:
            condition &= Key("State").eq(state)
        return map(_finding, self._dynamo.query(FINDINGS, condition, IndexName=STATE_INDEX))

    def page(
        self,
        account_id: str,
        service: str,
        wanted: int,
        after: Sequence[str] = (),
        state: State | None = None,
        only: ConditionBase | None = None,
    ) -> tuple[list[Finding], list[str]]:
        """At most ``wanted`` findings of one (account, service), and where to go on, empty at the end.

        ``only`` restricts by other attributes. One query: with ``only``, fewer than ``wanted`` may come, even none.
        """
        group = account_service(account_id, service)
        condition: ConditionBase = Key("AccountService").eq(group)
        if state:
            condition &= Key("State").eq(state)
        start = {"AccountService": group, **dict(zip(_POSITION, after, strict=True))} if after else None
        items, last = self._dynamo.query_page(
            FINDINGS, condition, wanted if only is None else LOOKED_AT, start, IndexName=STATE_INDEX, **_filter(only)
        )
        if len(items) > wanted:
            items, last = items[:wanted], items[wanted - 1]
        return [_finding(item) for item in items], [last[name] for name in _POSITION] if last else []

    def of_resource(self, arn: str) -> list[Finding]:
        """The findings on one resource."""
        return [_finding(item) for item in self._dynamo.query(FINDINGS, Key("ARN").eq(arn), ConsistentRead=True)]

    def get(self, arn: str, policy: str) -> Finding | None:
        """One finding, or None."""
        item = self._dynamo.get(FINDINGS, {"ARN": arn, "Policy": policy})
        return _finding(item) if item else None

    def apply(self, transitions: Iterable[Transition], now: int, scan_id: str | None = None) -> AppliedFindings:
        """Write transitions. Where another writer was faster, decide again on what is stored now.

        ``scan_id`` is the scan they come from, if they come from one.
        """
        applied = AppliedFindings()
        try:
            for written, stored in concurrently(partial(self._write, now=now, scan_id=scan_id), transitions):
                if stored:
                    applied.now[stored.key] = stored
                if written:
                    applied.changes[written.change] += 1
                    applied.written.append(written)
        except StoreError as error:
            applied.error = str(error)
        return applied

    def _write(self, wanted: Transition, now: int, scan_id: str | None) -> tuple[Transition | None, Finding | None]:
        """What was written, if anything, and what is stored then."""
        current = wanted
        for _ in range(MAX_TRIES):
            after = replace(current.after, by=By(scan_id, current.change) if scan_id else None)
            try:
                self._dynamo.put(FINDINGS, _item(after), _unchanged(current.before))
            except ConditionFailedError:
                stored = self.get(*current.after.key)
                # This very write, whose first answer was lost.
                if stored and stored.by and (stored, stored.by) == (after, after.by):
                    return current, after
                again = transition(current.judgement, stored, now)
                if again is None:
                    return None, stored
                current = again
            else:
                return current, after
        raise StoreError(f"The finding {wanted.after.policy} on {wanted.after.arn} kept changing while it was written.")


def _unchanged(before: Finding | None) -> ConditionBase:
    if before is None:
        return Attr("ARN").not_exists()
    return (
        Attr("State").eq(before.state)
        & Attr("LastEvaluated").eq(before.last_evaluated)
        & Attr("DescribeTime").eq(before.describe_time)
        # What people change on their own, maybe within the same millisecond.
        & Attr("Severity").eq(before.severity)
        & (Attr("Muted").eq(before.muted) if before.muted else Attr("Muted").not_exists())
    )


def _item(finding: Finding) -> DynamoItem:
    item: DynamoItem = {
        "ARN": finding.arn,
        "Policy": finding.policy,
        "AccountService": finding.account_service,
        "State": finding.state.value,
        "Severity": finding.severity,
        "Evidence": encode(finding.evidence),
        "FirstSeen": finding.first_seen,
        "LastEvaluated": finding.last_evaluated,
        "DescribeTime": finding.describe_time,
    }
    if finding.resolved_at is not None and finding.resolved_reason is not None:
        item |= {"ResolvedAt": finding.resolved_at, "ResolvedReason": finding.resolved_reason.value}
    if finding.muted:
        item["Muted"] = finding.muted
    if finding.episodes:
        item["Episodes"] = [[time for time in episode if time is not None] for episode in finding.episodes]
    if finding.by:
        item |= {"ScanId": finding.by.scan_id, "Change": finding.by.change.value}
    return item


def _finding(item: DynamoItem) -> Finding:
    reason = item.get("ResolvedReason")
    return Finding(
        item["ARN"],
        item["Policy"],
        item["AccountService"],
        State(item["State"]),
        item["Severity"],
        decode(item["Evidence"]),
        item["FirstSeen"],
        item["LastEvaluated"],
        item["DescribeTime"],
        item.get("ResolvedAt"),
        Reason(reason) if reason else None,
        item.get("Muted"),
        tuple(Episode(*episode) for episode in item.get("Episodes", ())),
        By(item["ScanId"], Change(item["Change"])) if "ScanId" in item else None,
    )
