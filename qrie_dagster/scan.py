"""What a scan does in one account: the inventory of one service, or the evaluation of the policies. No Dagster here.

Every scan of an (account, service) ends in an ``Outcome``, also when all of it failed: a failure belongs to its scope,
is recorded there, and stops nothing else.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from qrie_dagster.aws import AccountSession
from qrie_dagster.errors import QrieError
from qrie_dagster.findings import Change, Finding, FindingKey, Judgement, Transition, transitions
from qrie_dagster.inventory.collector import collect
from qrie_dagster.inventory.resource_type import Service
from qrie_dagster.models import ALL_REGIONS, GLOBAL, Account, Collected, Opened, Outcome, ScanKind, ScopeFailure
from qrie_dagster.mutes import Tags
from qrie_dagster.policies.evaluate import close_what_has_no_subject, evaluate
from qrie_dagster.policies.policy import Policy, band
from qrie_dagster.reconcile import Changes, Stored, fill_in, reconcile
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import ConditionFailedError
from qrie_dagster.store.findings import AppliedFindings
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.mutes import load_mutes
from qrie_dagster.store.resources import Applied
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.totals import finding_totals
from qrie_dagster.times import now_ms

log = logging.getLogger(__name__)

# How often a scan looks again because another one overtook it.
MAX_LOOKS = 4


def _recorded(store: Store, scan: Scan, account_id: str, service: str, work: Callable[[int], Outcome]) -> Outcome:
    """Do ``work`` (given its start, ms) for one (account, service) and record the attempt and its outcome.

    Raises StoreError when not even that can be written.
    """
    started = now_ms()
    try:
        store.accounts.begin(scan.kind, account_id, service, scan.scan_id, started)
        outcome = work(started)
    except QrieError as error:
        outcome = _failed(account_id, service, started, str(error))
    # A bug met in one account must not stop the scan of all others: it is that scope's failure.
    except Exception as bug:
        log.exception("Scan %s broke in %s/%s", scan.scan_id, account_id, service)
        outcome = _failed(account_id, service, started, f"qrie broke: {type(bug).__name__}: {bug}")
    if outcome.failed:
        # An account that left the registry has nobody to tell.
        with suppress(QrieError):
            store.accounts.finish(scan.kind, outcome)
    store.summary.record_outcome(scan, outcome)
    return outcome


def _failed(account_id: str, service: str, started: int, reason: str) -> Outcome:
    return Outcome(
        account_id=account_id,
        service=service,
        started_ms=started,
        finished_ms=now_ms(),
        failures=(str(ScopeFailure(account_id, service, ALL_REGIONS, reason)),),
        failed=True,
    )


@dataclass(frozen=True)
class InventoryScanner:
    """Makes the stored inventory equal AWS, one (account, service) at a time.

    ``enter`` opens an account, raising QrieError; ``concurrency`` is in AWS calls under way per account.
    """

    store: Store
    enter: Callable[[Account], AccountSession]
    concurrency: int

    def scan(self, scan: Scan, account: Account, service: Service) -> Outcome:
        """Collect, reconcile, write. Raises StoreError only when the outcome itself cannot be recorded."""
        return _recorded(
            self.store,
            scan,
            account.account_id,
            service.name,
            lambda started: self._look_until_alone(account, service, started),
        )

    def _look_until_alone(self, account: Account, service: Service, started: int) -> Outcome:
        token = uuid4().hex
        total = Applied()
        session = self.enter(account)
        outcome: Outcome | None = None
        for _ in range(MAX_LOOKS):
            collected = collect(session, service, self.concurrency)
            times = {scope.key: scope.describe_time for scope in collected.scopes if scope.complete}
            if not self.store.accounts.claim(account.account_id, service.name, token, times):
                self._require_right_clock(account, service)
                continue
            outcome = self._write(collected, service, started, total)
            try:
                self.store.accounts.finish(ScanKind.INVENTORY, outcome, token)
            except ConditionFailedError:
                continue
            return outcome
        reason = "other scans of the same account and service kept overtaking this one: run it again"
        if outcome is None:
            raise QrieError(reason)
        failure = ScopeFailure(account.account_id, service.name, ALL_REGIONS, reason)
        return outcome.model_copy(update={"failures": (str(failure), *outcome.failures), "failed": True})

    def _require_right_clock(self, account: Account, service: Service) -> None:
        """Tell a clock that was set back from another scan: looking again would not help."""
        listed, _ = self.store.accounts.last_listings(account.account_id, service.name)
        ahead = max(listed.values(), default=0) - now_ms()
        if ahead > 0:
            raise QrieError(
                f"the clock of this machine is at least {ahead / 1000:.0f} s behind that of the last scan, so what"
                " is newer cannot be told: set it right and run the scan again"
            )

    def _write(self, collected: Collected, service: Service, started: int, total: Applied) -> Outcome:
        account_id = collected.account_id
        stored = self.store.resources.index(account_id, service.name)
        collected = self._filled_in(collected, stored)
        changes = reconcile(service, collected, stored)
        applied = self.store.resources.apply(account_id, service.name, changes, now_ms())
        total.created += applied.created
        total.updated += applied.updated
        total.deleted += applied.deleted
        total.superseded += applied.superseded + changes.superseded
        failures = [*collected.failures, *_unlisted(collected, changes)]
        if applied.error:
            failures.append(ScopeFailure(account_id, service.name, ALL_REGIONS, applied.error))
        else:
            self.store.summary.set_part(account_id, "Resources", service.name, _types(stored, changes))
        return Outcome(
            account_id=account_id,
            service=service.name,
            started_ms=started,
            finished_ms=now_ms(),
            failures=tuple(map(str, failures)),
            failed=applied.error is not None or not any(scope.complete for scope in collected.scopes),
            resources_found=len(collected.resources),
            resources_before=len(stored),
            resources_created=total.created,
            resources_updated=total.updated,
            resources_deleted=total.deleted,
            resources_unchanged=changes.unchanged,
            superseded=total.superseded,
        )

    def _filled_in(self, collected: Collected, stored: Mapping[str, Stored]) -> Collected:
        """What AWS refused to show, taken from the last known configuration."""
        partial = [resource.arn for resource in collected.resources if resource.unread and resource.arn in stored]
        if not partial:
            return collected
        known = self.store.resources.configurations(collected.account_id, collected.service, partial)
        return replace(
            collected,
            resources=[
                replace(fill_in(resource, known[resource.arn]), completed_from=stored[resource.arn].describe_time)
                if resource.unread and resource.arn in known
                else resource
                for resource in collected.resources
            ],
        )


def _unlisted(collected: Collected, changes: Changes) -> Iterable[ScopeFailure]:
    """Stored resources that would silently grow old, because their region is no longer scanned."""
    for region, count in Counter(old.region for old in changes.unlisted).items():
        yield ScopeFailure(
            collected.account_id,
            collected.service,
            region,
            f"{count} stored resources are in a region that is not scanned any more: scan it again, or drop them"
            f" with 'qrie accounts forget-region {collected.account_id} {region}'",
        )


def _types(stored: Mapping[str, Stored], changes: Changes) -> dict[str, int]:
    """How many resources of each type are stored once the changes are written."""
    types = Counter(old.resource_type for old in stored.values())
    types.update(resource.resource_type for resource in changes.created)
    types.subtract(deletion.resource_type for deletion in changes.deleted)
    return {name: count for name, count in types.items() if count > 0}


@dataclass(frozen=True)
class PolicyScanner:
    """Makes the stored findings equal what the policies say of the stored inventory.

    ``policies`` are those there are, ``launched`` those people want; both by id.
    """

    store: Store
    policies: Mapping[str, Policy]
    launched: Mapping[str, LaunchedPolicy]

    def scan(self, scan: Scan, account: Account, service: Service) -> Outcome:
        """Evaluate, compare, write. Raises StoreError only when the outcome itself cannot be recorded."""
        return _recorded(
            self.store,
            scan,
            account.account_id,
            service.name,
            lambda started: self._judge(scan, account, service, started),
        )

    def _judge(self, scan: Scan, account: Account, service: Service, started: int) -> Outcome:
        account_id = account.account_id
        # Findings first: what has a finding and is not among the resources read after it is gone, not new.
        stored = {finding.key: finding for finding in self.store.findings.load(account_id, service.name)}
        resources = list(self.store.resources.load(account_id, service.name))
        _require_inventory(account, service, len(resources))
        wanted = [
            launch
            for launch in self.launched.values()
            if launch.active
            and self._is_about(launch, service)
            and (launch.policy_id in (scan.policies or (launch.policy_id,)))
        ]
        evaluation = evaluate(account, resources, self.policies, wanted, started)
        types = {resource.arn: resource.resource_type for resource in resources}
        judgements: dict[FindingKey, Judgement] = {
            **close_what_has_no_subject(stored.values(), set(types), self.launched),
            **evaluation.judgements,
        }
        tags = {resource.arn: resource.tags for resource in resources}
        applied = self._apply(account, judgements, stored, tags)
        failures = [ScopeFailure(account_id, service.name, GLOBAL, error) for error in evaluation.errors]
        if applied.error:
            failures.append(ScopeFailure(account_id, service.name, ALL_REGIONS, applied.error))
        else:
            totals = finding_totals({**stored, **applied.now}.values(), types, started)
            self.store.summary.set_part(account_id, "Findings", service.name, totals.model_dump())
        outcome = Outcome(
            account_id=account_id,
            service=service.name,
            started_ms=started,
            finished_ms=now_ms(),
            failures=tuple(map(str, failures)),
            failed=applied.error is not None,
            processed_resources=len(evaluation.evaluated),
            skipped_resources=len(evaluation.skipped),
            policies=tuple(launch.policy_id for launch in wanted),
            **_counts(applied.written),
        )
        if not scan.policies:
            self.store.accounts.finish(ScanKind.POLICY, outcome)
        return outcome

    def _apply(
        self,
        account: Account,
        judgements: Mapping[FindingKey, Judgement],
        stored: Mapping[FindingKey, Finding],
        tags: Tags,
    ) -> AppliedFindings:
        """Write what the judgements and the mutes change, and again if people changed the mutes meanwhile."""
        total = AppliedFindings()
        mutes = load_mutes(self.store.summary)
        for _ in range(MAX_LOOKS):
            now = now_ms()
            wanted = mutes.of(account, now).applied(judgements, stored.values(), tags)
            applied = self.store.findings.apply(transitions(wanted, stored, now), now)
            total.changes += applied.changes
            total.written += applied.written
            total.now |= applied.now
            total.error = applied.error
            latest = load_mutes(self.store.summary)
            if applied.error or latest.version == mutes.version:
                break
            mutes = latest
            stored = {**stored, **applied.now}
        return total

    def _is_about(self, launch: LaunchedPolicy, service: Service) -> bool:
        policy = self.policies.get(launch.policy_id)
        return policy is not None and policy.service == service.name


def _counts(written: Iterable[Transition]) -> dict[str, Any]:
    changes = Counter(t.change for t in written)
    news = [t.after for t in written if _is_news(t)]
    by_policy = Counter((finding.policy, finding.severity) for finding in news)
    return {
        "findings_created": changes[Change.CREATED] + changes[Change.REOPENED],
        "findings_closed": changes[Change.CLOSED],
        "findings_updated": changes[Change.UPDATED],
        "critical_created": sum(band(finding.severity) == "critical" for finding in news),
        "opened": tuple(Opened(policy=p, severity=s, count=count) for (p, s), count in sorted(by_policy.items())),
    }


def _is_news(written: Transition) -> bool:
    """Whether the finding came to count as open: new, reopened, or back because its mute ended."""
    if not written.after.open or written.after.muted:
        return False
    return written.change is not Change.UPDATED or bool(written.before and written.before.muted)


def _require_inventory(account: Account, service: Service, resources: int) -> None:
    """Refuse to judge an inventory that was never taken or is lost: every finding would be closed."""
    inventory = account.scan(ScanKind.INVENTORY, service.name)
    if inventory.last_success is None and not resources:
        raise QrieError("there is no complete inventory of it yet: run an inventory scan first")
    if inventory.resources and not resources:
        raise QrieError(
            f"its stored inventory is empty, but the last one found {inventory.resources} resources:"
            " run an inventory scan, no finding was changed"
        )
