"""What a scan does in one account: the inventory of one service, or the evaluation of the policies. No Dagster here.

Every scan of an (account, service) ends in an ``Outcome``, also when all of it failed: a failure belongs to its scope,
is recorded there, and stops nothing else.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from qrie_dagster.aws import AccountSession
from qrie_dagster.errors import QrieError
from qrie_dagster.findings import Change, Finding, FindingKey, transitions
from qrie_dagster.inventory.collector import collect
from qrie_dagster.inventory.resource_type import Service
from qrie_dagster.models import (
    ALL_REGIONS,
    GLOBAL,
    Account,
    Collected,
    Opened,
    Outcome,
    Resource,
    ScanKind,
    ScopeFailure,
    ServiceScan,
)
from qrie_dagster.mutes import Mutes
from qrie_dagster.policies.evaluate import Evaluation, close_what_has_no_subject, evaluate
from qrie_dagster.policies.policy import Policy, band
from qrie_dagster.reconcile import NO_CHANGES, Changes, Stored, fill_in, reconcile
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import ConditionFailedError, Write
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.mutes import load_mutes
from qrie_dagster.store.resources import Applied
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.totals import finding_totals
from qrie_dagster.times import SECOND_MS, now_ms

log = logging.getLogger(__name__)

# How often a scan looks again because another one overtook it.
MAX_LOOKS = 4
# How far the clocks of machines that scan may differ.
LONGEST_WAIT_MS = 10 * SECOND_MS


@dataclass
class _Attempt:
    """One attempt of a scan at one (account, service): since when (ms), and what it has changed so far.

    That is told whatever fails afterwards.
    """

    scan: Scan
    started: int
    changed: dict[str, Any] = field(default_factory=dict)

    def count(self, **changed: Any) -> None:
        """Note all that was changed so far."""
        self.changed = {**changed, "counted_ms": now_ms()}


def _recorded(store: Store, scan: Scan, account_id: str, service: str, work: Callable[[_Attempt], Outcome]) -> Outcome:
    """Do ``work`` for one (account, service) and record the attempt and its outcome.

    Raises StoreError when not even that can be written.
    """
    attempt = _Attempt(scan, now_ms())
    try:
        store.accounts.begin(scan.kind, account_id, service, scan.scan_id, attempt.started)
        outcome = work(attempt)
    except QrieError as error:
        outcome = _failed(account_id, service, attempt, str(error))
    # A bug met in one account must not stop the scan of all others: it is that scope's failure.
    except Exception as bug:
        log.exception("Scan %s broke in %s/%s", scan.scan_id, account_id, service)
        outcome = _failed(account_id, service, attempt, f"qrie broke: {type(bug).__name__}: {bug}")
    if outcome.failed:
        # An account that left the registry has nobody to tell.
        with suppress(QrieError):
            store.accounts.finish(scan.kind, outcome)
    store.summary.record_outcome(scan, outcome)
    return outcome


def _failed(account_id: str, service: str, attempt: _Attempt, reason: str) -> Outcome:
    return Outcome(
        account_id=account_id,
        service=service,
        started_ms=attempt.started,
        finished_ms=now_ms(),
        failures=(str(ScopeFailure(account_id, service, ALL_REGIONS, reason)),),
        failed=True,
        **attempt.changed,
    )


def _counted_until(store: Store, scan: Scan, account_id: str, service: str) -> int:
    """Until when (ms) the changes of this scan are in its record already."""
    recorded = store.summary.outcome(scan.scan_id, account_id, service)
    return recorded.counted_ms if recorded else 0


@dataclass(frozen=True)
class InventoryScanner:
    """Makes the stored inventory equal AWS, one (account, service) at a time.

    ``enter`` opens an account, raising QrieError; ``concurrency`` is in AWS calls under way per account. ``wait`` is
    for clocks that differ a little.
    """

    store: Store
    enter: Callable[[Account], AccountSession]
    concurrency: int
    wait: Callable[[float], None] = time.sleep

    def scan(self, scan: Scan, account: Account, service: Service) -> Outcome:
        """Collect, reconcile, write. Raises StoreError only when the outcome itself cannot be recorded."""
        return _recorded(
            self.store,
            scan,
            account.account_id,
            service.name,
            lambda attempt: self._look_until_alone(account, service, attempt),
        )

    def _look_until_alone(self, account: Account, service: Service, attempt: _Attempt) -> Outcome:
        token = uuid4().hex
        total: Applied | None = None
        session = self.enter(account)
        outcome: Outcome | None = None
        for _ in range(MAX_LOOKS):
            collected = collect(session, service, self.concurrency)
            times = {scope.key: scope.describe_time for scope in collected.scopes if scope.complete}
            if not self.store.accounts.claim(account.account_id, service.name, token, times):
                self._wait_for_clock(account, service)
                continue
            stored = self.store.resources.index(account.account_id, service.name)
            total = total or self._done_before(attempt.scan, account, service, stored.values())
            claim = self.store.accounts.claimed(account.account_id, service.name, token)
            outcome = self._write(collected, service, stored, claim, attempt, total)
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

    def _done_before(self, scan: Scan, account: Account, service: Service, stored: Iterable[Stored]) -> Applied:
        """What an attempt of the same scan wrote that died before it could tell. Deletions leave no trace."""
        own = [one for one in stored if one.scan_id == scan.scan_id]
        counted = _counted_until(self.store, scan, account.account_id, service.name) if own else 0
        left = [one for one in own if one.written_ms > counted]
        created = sum(one.new for one in left)
        return Applied(created=created, updated=len(left) - created)

    def _wait_for_clock(self, account: Account, service: Service) -> None:
        """Wait until this clock has passed the last claim; tell one that was set back, as nobody would wait so long."""
        listed, _ = self.store.accounts.last_listings(account.account_id, service.name)
        ahead = max(listed.values(), default=0) - now_ms()
        if ahead > LONGEST_WAIT_MS:
            raise QrieError(
                f"the clock of this machine is at least {ahead / SECOND_MS:.0f} s behind that of the last scan, so what"
                " is newer cannot be told: set it right and run the scan again"
            )
        if ahead > 0:
            self.wait((ahead + 1) / SECOND_MS)

    def _write(
        self,
        collected: Collected,
        service: Service,
        stored: Mapping[str, Stored],
        claim: Write,
        attempt: _Attempt,
        total: Applied,
    ) -> Outcome:
        account_id = collected.account_id
        before = len(stored) - total.created + total.deleted
        collected = self._filled_in(collected, stored)
        changes = reconcile(service, collected, stored)
        applied = self.store.resources.apply(account_id, service.name, changes, claim, now_ms(), attempt.scan.scan_id)
        total.created += applied.created
        total.updated += applied.updated
        total.deleted += applied.deleted
        total.superseded += applied.superseded + changes.superseded
        attempt.count(
            resources_created=total.created,
            resources_updated=total.updated,
            resources_deleted=total.deleted,
            superseded=total.superseded,
            resources_before=before,
        )
        failures = [*collected.failures, *_unlisted(collected, changes)]
        if applied.error:
            failures.append(ScopeFailure(account_id, service.name, ALL_REGIONS, applied.error))
        elif not applied.overtaken:
            # Where another writer was faster, what is stored now is not what was expected.
            types = (
                _types(self.store.resources.index(account_id, service.name).values())
                if applied.superseded
                else _types(stored.values(), changes)
            )
            self.store.summary.set_part(account_id, "Resources", service.name, types)
        return Outcome(
            account_id=account_id,
            service=service.name,
            started_ms=attempt.started,
            finished_ms=now_ms(),
            failures=tuple(map(str, failures)),
            unread=tuple(map(str, collected.unread)),
            failed=applied.error is not None or not any(scope.complete for scope in collected.scopes),
            resources_found=len(collected.resources),
            resources_unchanged=changes.unchanged,
            **attempt.changed,
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


def _types(stored: Iterable[Stored], changes: Changes = NO_CHANGES) -> dict[str, int]:
    """How many resources of each type are stored, once the changes are written."""
    types = Counter(old.resource_type for old in stored)
    types.update(resource.resource_type for resource in changes.created)
    types.subtract(deletion.resource_type for deletion in changes.deleted)
    return {name: count for name, count in types.items() if count > 0}


@dataclass(frozen=True)
class _Rules:
    """What people want of findings."""

    launched: Mapping[str, LaunchedPolicy]
    mutes: Mutes


@dataclass(frozen=True)
class _Judged:
    """What the policies said last, and what is stored then; ``error`` says why it could not be written whole."""

    wanted: Sequence[LaunchedPolicy]
    evaluation: Evaluation
    findings: Mapping[FindingKey, Finding]
    error: str | None


@dataclass(frozen=True)
class PolicyScanner:
    """Makes the stored findings equal what the launched policies say of the stored inventory.

    ``policies`` are those there are, by id.
    """

    store: Store
    policies: Mapping[str, Policy]

    def scan(self, scan: Scan, account: Account, service: Service) -> Outcome:
        """Evaluate, compare, write. Raises StoreError only when the outcome itself cannot be recorded."""
        return _recorded(
            self.store,
            scan,
            account.account_id,
            service.name,
            lambda attempt: self._judge(account, service, attempt),
        )

    def _judge(self, account: Account, service: Service, attempt: _Attempt) -> Outcome:
        account_id = account.account_id
        # Findings first: what has a finding and is not among the resources read after it is gone, not new.
        stored = {finding.key: finding for finding in self.store.findings.load(account_id, service.name)}
        resources = list(self.store.resources.load(account_id, service.name))
        # Read after the resources: as long as it says that there is an inventory, nobody had begun to drop that.
        inventory = (self.store.accounts.get(account_id) or account).scan(ScanKind.INVENTORY, service.name)
        _require_inventory(self.store, account, service, inventory, len(resources))
        # Of what was never listed completely, nothing is gone for not being there.
        present = None if inventory.last_success is None else {resource.arn for resource in resources}
        judged = self._apply(account, service, attempt, resources, present, stored)
        failures = [ScopeFailure(account_id, service.name, GLOBAL, error) for error in judged.evaluation.errors]
        if judged.error:
            failures.append(ScopeFailure(account_id, service.name, ALL_REGIONS, judged.error))
        else:
            types = {resource.arn: resource.resource_type for resource in resources}
            totals = finding_totals(judged.findings.values(), types, attempt.started)
            self.store.summary.set_part(account_id, "Findings", service.name, totals.model_dump())
        outcome = Outcome(
            account_id=account_id,
            service=service.name,
            started_ms=attempt.started,
            finished_ms=now_ms(),
            failures=tuple(map(str, failures)),
            failed=judged.error is not None,
            processed_resources=len(judged.evaluation.evaluated),
            skipped_resources=len(judged.evaluation.skipped),
            policies=tuple(launch.policy_id for launch in judged.wanted),
            **attempt.changed,
        )
        if attempt.scan.policies:
            self.store.accounts.require_active(account_id)
        else:
            self.store.accounts.finish(ScanKind.POLICY, outcome)
        return outcome

    def _apply(
        self,
        account: Account,
        service: Service,
        attempt: _Attempt,
        resources: Sequence[Resource],
        present: AbstractSet[str] | None,
        stored: Mapping[FindingKey, Finding],
    ) -> _Judged:
        """Write what policies and mutes change, and again if people changed policies or mutes meanwhile."""
        scan_id = attempt.scan.scan_id
        changed = self._done_before(attempt.scan, account, service, stored.values())
        tags = {resource.arn: resource.tags for resource in resources}
        rules = self._rules()
        for _ in range(MAX_LOOKS):
            wanted = [launch for launch in rules.launched.values() if self._asked(launch, attempt.scan, service)]
            evaluation = evaluate(account, resources, self.policies, wanted, attempt.started)
            gone = close_what_has_no_subject(stored.values(), present, rules.launched)
            now = now_ms()
            judgements = rules.mutes.of(account, now).applied({**gone, **evaluation.judgements}, stored.values(), tags)
            applied = self.store.findings.apply(transitions(judgements, stored, now), now, scan_id)
            changed += [(written.change, written.after) for written in applied.written]
            attempt.count(**_counts(changed))
            stored = {**stored, **applied.now}
            latest = self._rules()
            if applied.error or latest == rules:
                break
            rules = latest
        return _Judged(wanted, evaluation, stored, applied.error)

    def _rules(self) -> _Rules:
        launched = {policy.policy_id: policy for policy in self.store.policies.all()}
        return _Rules(launched, load_mutes(self.store.summary))

    def _asked(self, launch: LaunchedPolicy, scan: Scan, service: Service) -> bool:
        """Whether the scan evaluates this policy here."""
        policy = self.policies.get(launch.policy_id)
        about_it = policy is not None and policy.service == service.name
        return launch.active and about_it and (not scan.policies or launch.policy_id in scan.policies)

    def _done_before(
        self, scan: Scan, account: Account, service: Service, stored: Iterable[Finding]
    ) -> list[tuple[Change, Finding]]:
        """What an attempt of the same scan changed that died before it could tell."""
        own = [(found.by.change, found) for found in stored if found.by and found.by.scan_id == scan.scan_id]
        counted = _counted_until(self.store, scan, account.account_id, service.name) if own else 0
        return [(change, found) for change, found in own if found.last_evaluated > counted]


# What came to count as open.
_NEWS = {Change.CREATED, Change.REOPENED, Change.UNMUTED}


def _counts(changed: Sequence[tuple[Change, Finding]]) -> dict[str, Any]:
    changes = Counter(change for change, _ in changed)
    news = [finding for change, finding in changed if change in _NEWS and not finding.muted]
    by_policy = Counter((finding.policy, finding.severity) for finding in news)
    return {
        "findings_created": changes[Change.CREATED] + changes[Change.REOPENED],
        "findings_closed": changes[Change.CLOSED],
        "findings_updated": changes[Change.UPDATED] + changes[Change.UNMUTED],
        "critical_created": sum(band(finding.severity) == "critical" for finding in news),
        "opened": tuple(Opened(policy=p, severity=s, count=count) for (p, s), count in sorted(by_policy.items())),
    }


def _require_inventory(
    store: Store, account: Account, service: Service, inventory: ServiceScan, resources: int
) -> None:
    """Refuse to judge an inventory that was never taken or is lost: every finding would be closed."""
    if inventory.last_success is None and not resources:
        raise QrieError("there is no complete inventory of it yet: run an inventory scan first")
    if resources or not inventory.resources:
        return
    # What AWS has reported deleted since is not lost.
    reported = store.resources.reported_deletions(account.account_id, service.name).values()
    if sum(at > (inventory.last_success or 0) for at in reported) < inventory.resources:
        raise QrieError(
            f"its stored inventory is empty, but the last one found {inventory.resources} resources:"
            " run an inventory scan, no finding was changed"
        )
