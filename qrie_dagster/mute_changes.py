"""Muting and unmuting, with their effect on findings now; scans keep it up afterwards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from qrie_dagster.errors import NotFoundError, QrieError, StoreError
from qrie_dagster.findings import Finding, FindingKey, Transition, transitions
from qrie_dagster.models import Account, account_service
from qrie_dagster.mutes import AccountMutes, Mute
from qrie_dagster.policies.policy import find_policy
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import concurrently
from qrie_dagster.store.mutes import change_mutes, load_mutes
from qrie_dagster.summary.rollup import DASHBOARD, refresh_dashboard
from qrie_dagster.summary.totals import FindingTotals, finding_totals
from qrie_dagster.times import DAY_MS, now_ms

MAX_REASON = 500
MAX_AUTHOR = 100
MAX_ARN = 2048
MAX_TAGS = 20
MAX_VALUES = 50
MAX_TAG = 256
MAX_DAYS = 3653
# How long a rule that ended stays listed, for those who ask why a finding is back.
ENDED_KEPT_DAYS = 90
# How often findings are looked at again because the rules changed meanwhile.
MAX_LOOKS = 4


@dataclass(frozen=True)
class Muted:
    """A rule that was added or removed, and how many findings that muted or brought back."""

    rule: Mute
    findings: int


@dataclass(frozen=True)
class Overdue:
    """Rules that have ended and mute findings still, and the active accounts of these findings, by id."""

    rules: frozenset[str] = frozenset()
    accounts: tuple[str, ...] = ()


def overdue(store: Store, now: int) -> Overdue:
    """What is muted still though its rule has ended, by the totals that scans keep: two reads if there is nothing."""
    ended = {rule.id for rule in load_mutes(store.summary).rules if not rule.holds(now)}
    board = store.summary.get(DASHBOARD) if ended else None
    if not board or not ended & board["findings"].get("mutes", {}).keys():
        return Overdue()
    rules: set[str] = set()
    accounts: set[str] = set()
    for account_id, parts in store.summary.parts(account.account_id for account in store.accounts.active()).items():
        for (part, _), totals in parts.items():
            late = ended & FindingTotals(**totals).mutes.keys() if part == "Findings" else set()
            rules |= late
            accounts |= {account_id} if late else set()
    return Overdue(frozenset(rules), tuple(sorted(accounts)))


def add(
    store: Store,
    *,
    reason: str,
    author: str,
    expires_ms: int | None = None,
    policy: str | None = None,
    account_id: str | None = None,
    tags: Mapping[str, Sequence[str]] | None = None,
    arn: str | None = None,
) -> Muted:
    """Add a rule and mute the open findings that match it.

    Raises QrieError saying what of the rule makes no sense, NotFoundError for a policy or account that is not there.
    """
    now = now_ms()
    rule = Mute(
        id=uuid4().hex[:12],
        reason=_text("reason", reason, MAX_REASON),
        author=_text("author", author, MAX_AUTHOR),
        created_ms=now,
        expires_ms=expires_ms,
        policy=find_policy(policy).id if policy is not None else None,
        account_id=account_id,
        tags={key: list(values) for key, values in (tags or {}).items()},
        arn=arn,
    )
    _refuse_nonsense(store, rule, now)
    since = now - ENDED_KEPT_DAYS * DAY_MS
    change_mutes(store.summary, lambda rules: [*(old for old in rules if old.holds(since)), rule])
    return Muted(rule, sum(written.after.muted == rule.id for written in _apply(store, rule)))


def remove(store: Store, mute_id: str) -> Muted:
    """Remove a rule; findings that no other rule mutes count as open again.

    Raises NotFoundError if there is no such rule.
    """
    removed: list[Mute] = []

    def without(rules: Sequence[Mute]) -> list[Mute]:
        removed[:] = [rule for rule in rules if rule.id == mute_id]
        if not removed:
            raise NotFoundError(f"There is no mute {mute_id!r}: 'qrie mutes list' shows those there are.")
        return [rule for rule in rules if rule.id != mute_id]

    change_mutes(store.summary, without)
    (rule,) = removed
    return Muted(rule, sum(written.after.muted is None for written in _apply(store, rule)))


def _text(name: str, value: str, longest: int) -> str:
    text = value.strip()
    if not text:
        raise QrieError(f"A mute needs {'an' if name[0] in 'aeiou' else 'a'} {name}.")
    if len(text) > longest:
        raise QrieError(f"The {name} of a mute has at most {longest} characters, not {len(text)}.")
    return text


def _refuse_nonsense(store: Store, rule: Mute, now: int) -> None:
    if not (rule.policy or rule.account_id or rule.tags or rule.arn):
        raise QrieError("A mute names what it is about: a policy, an account, a tag or an ARN pattern.")
    if rule.account_id is not None and store.accounts.get(rule.account_id) is None:
        raise NotFoundError(f"Account {rule.account_id} is not registered.")
    if rule.arn is not None:
        _refuse_pattern(rule.arn)
    _refuse_tags(rule.tags)
    if rule.expires_ms is not None and not now < rule.expires_ms <= now + MAX_DAYS * DAY_MS:
        raise QrieError("A mute ends in the future and within ten years; without an end it holds until it is removed.")


def _refuse_pattern(pattern: str) -> None:
    # What can match no ARN would mute nothing, and nobody would notice.
    if not pattern.startswith(("arn:", "*", "?")) or len(pattern) > MAX_ARN:
        raise QrieError(
            f"An ARN pattern is like arn:aws:s3:::logs-* or *-sandbox, at most {MAX_ARN} characters, not {pattern!r}."
        )
    if not pattern.strip("*?"):
        raise QrieError("An ARN pattern of nothing but wildcards matches everything: say what to mute.")


def _refuse_tags(tags: Mapping[str, Sequence[str]]) -> None:
    words = [*tags, *(value for values in tags.values() for value in values)]
    if len(tags) > MAX_TAGS or any(not 0 < len(values) <= MAX_VALUES for values in tags.values()):
        raise QrieError(f"A mute names at most {MAX_TAGS} tags, each with 1 to {MAX_VALUES} values.")
    if not all(tags) or any(len(word) > MAX_TAG for word in words):
        raise QrieError(f"A tag has a key, and key and value have at most {MAX_TAG} characters.")


def _apply(store: Store, rule: Mute) -> list[Transition]:
    """Make all findings that a rule added or removed may be about what the rules now say of them."""
    accounts = store.accounts.all()
    groups = _groups(store, rule, accounts)
    written = [change for changes in concurrently(lambda group: _apply_to(store, *group), groups) for change in changes]
    if written:
        refresh_dashboard(store, accounts, now_ms())
    return written


def _groups(store: Store, rule: Mute, accounts: Iterable[Account]) -> list[tuple[Account, str]]:
    """Every (account, service) with findings that the rule may be about."""
    by_id = {account.account_id: account for account in accounts if rule.is_about(account.account_id)}
    if rule.arn is not None and rule.names_one_resource:
        names = {finding.account_service for finding in store.findings.of_resource(rule.arn)}
        found = [name.partition("_") for name in sorted(names)]
        return [(by_id[account_id], service) for account_id, _, service in found if account_id in by_id]
    return [
        (by_id[account_id], service)
        for account_id, parts in store.summary.parts(by_id).items()
        for (part, service), totals in parts.items()
        if part == "Findings" and _any_open(FindingTotals(**totals), rule.policy)
    ]


def _any_open(totals: FindingTotals, wanted: str | None) -> bool:
    return any(policy.open or policy.muted for name, policy in totals.policies.items() if wanted in (None, name))


def _apply_to(store: Store, account: Account, service: str) -> list[Transition]:
    """The same in one (account, service), until the rules stand still; with its totals."""
    done: dict[FindingKey, Transition] = {}
    known: dict[FindingKey, Finding] = {}
    mutes = load_mutes(store.summary)
    for _ in range(MAX_LOOKS):
        stored = {finding.key: finding for finding in store.findings.load(account.account_id, service)}
        # What the index does not show yet.
        stored |= known
        now = now_ms()
        rules = mutes.of(account, now)
        judgements = rules.applied({}, stored.values(), _tags(store, rules, service))
        applied = store.findings.apply(transitions(judgements, stored, now), now)
        done |= {change.after.key: change for change in applied.written}
        known |= applied.now
        if applied.error:
            where = account_service(account.account_id, service)
            raise StoreError(f"The mutes stand, but not all findings of {where} follow yet: {applied.error}")
        if applied.written:
            _sum_up(store, account.account_id, service, {**stored, **known}, now)
        latest = load_mutes(store.summary)
        if latest.version == mutes.version:
            break
        mutes = latest
    return list(done.values())


def _tags(store: Store, rules: AccountMutes, service: str) -> dict[str, Mapping[str, str]]:
    """The tags of the resources; not read where no rule asks for them."""
    if not rules.need_tags:
        return {}
    return {resource.arn: resource.tags for resource in store.resources.load(rules.account.account_id, service)}


def _sum_up(store: Store, account_id: str, service: str, findings: Mapping[FindingKey, Finding], now: int) -> None:
    types = {arn: stored.resource_type for arn, stored in store.resources.index(account_id, service).items()}
    totals = finding_totals(findings.values(), types, now)
    store.summary.set_part(account_id, "Findings", service, totals.model_dump())
