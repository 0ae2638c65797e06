"""Mutes: rules by which people set findings aside, with a reason. Pure.

A muted finding stays ACTIVE and keeps changing as its resource does; it carries the id of the rule that mutes it and
is counted apart. When the rule ends, by its expiry or because it was removed, the finding counts as open again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from qrie_dagster.findings import Finding, FindingKey, Judgement, Muting, Violated
from qrie_dagster.models import Account, Scope

# By ARN, a resource's own tags.
Tags = Mapping[str, Mapping[str, str]]


class Mute(BaseModel):
    """A rule: findings that match everything it names are muted. It names at least one thing.

    ``policy`` is a policy's id, ``account_id`` 12 digits, ``tags`` a key to the values accepted, on the resource or
    on its account, all keys needed. ``arn`` is a pattern in which ``*`` stands for any characters and ``?`` for one;
    with a policy and a whole ARN, the rule is about a single finding. Times in ms; without ``expires_ms`` it holds
    until it is removed.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str
    author: str
    created_ms: int
    expires_ms: int | None = None
    policy: str | None = None
    account_id: str | None = None
    tags: dict[str, list[str]] = Field(default_factory=dict)
    arn: str | None = None

    def holds(self, now: int) -> bool:
        """Whether the rule has not ended. At the moment of its expiry, it has."""
        return self.expires_ms is None or now < self.expires_ms

    @property
    def names_one_resource(self) -> bool:
        """Whether ``arn`` is a whole ARN."""
        return self.arn is not None and not set("*?") & set(self.arn)

    @cached_property
    def _scope(self) -> Scope:
        return Scope(include_tags=self.tags)

    def is_about(self, account_id: str) -> bool:
        """Whether it may match findings of this account."""
        return self.account_id in (None, account_id)

    def matches(self, account: Account, policy: str, arn: str, tags: Mapping[str, str]) -> bool:
        """Whether it mutes the finding of ``policy`` on ``arn``, a resource of ``account`` with ``tags``."""
        return (
            self.is_about(account.account_id)
            and self.policy in (None, policy)
            and (self.arn is None or _like(arn, self.arn))
            and (not self.tags or self._scope.covers(account, tags))
        )


def _like(arn: str, pattern: str) -> bool:
    # A bracket in an ARN is a bracket, so that every ARN matches itself.
    return fnmatchcase(arn, pattern.replace("[", "[[]"))


@dataclass(frozen=True)
class Mutes:
    """All rules, and the version of the record they are kept in: another version, maybe other rules."""

    rules: tuple[Mute, ...] = ()
    version: int = 0

    def of(self, account: Account, now: int) -> "AccountMutes":
        """Those that hold at ``now`` (ms) and may match findings of one account."""
        rules = [rule for rule in self.rules if rule.holds(now) and rule.is_about(account.account_id)]
        # The oldest first: a rule that comes on top of another changes nothing about what is muted already.
        return AccountMutes(account, tuple(sorted(rules, key=lambda rule: (rule.created_ms, rule.id))))


@dataclass(frozen=True)
class AccountMutes:
    """The rules for one account, at one time."""

    account: Account
    rules: tuple[Mute, ...]
    _by_policy: dict[str, list[Mute]] = field(default_factory=dict, compare=False)

    @property
    def need_tags(self) -> bool:
        """Whether any rule looks at tags."""
        return any(rule.tags for rule in self.rules)

    def rule_for(self, key: FindingKey, tags: Tags) -> str | None:
        """The id of the rule that mutes the finding, None if none does."""
        arn, policy = key
        rules = self._by_policy.get(policy)
        if rules is None:
            rules = self._by_policy[policy] = [rule for rule in self.rules if rule.policy in (None, policy)]
        found = (rule.id for rule in rules if rule.matches(self.account, policy, arn, tags.get(arn, {})))
        return next(found, None)

    def applied(
        self, judgements: Mapping[FindingKey, Judgement], stored: Iterable[Finding], tags: Tags
    ) -> dict[FindingKey, Judgement]:
        """``judgements`` with what the rules say of each violation, and of the open findings that nothing judges.

        A mute must end as well where the policy cannot tell this time, or was not asked.
        """
        muted: dict[FindingKey, Judgement] = {
            finding.key: Muting(*finding.key, self.rule_for(finding.key, tags))
            for finding in stored
            if finding.open and finding.key not in judgements
        }
        for key, judgement in judgements.items():
            if isinstance(judgement, Violated):
                judgement = replace(judgement, muted=self.rule_for(key, tags))
            muted[key] = judgement
        return muted
