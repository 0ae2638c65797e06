"""What every route works with."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qrie_dagster.dashboard.auth import Guesses, Keys
from qrie_dagster.dashboard.paging import Group, Tokens
from qrie_dagster.drift import DriftRules, ScopeAge
from qrie_dagster.inventory.services import all_services
from qrie_dagster.launch import Dagster
from qrie_dagster.models import Account, ScanKind
from qrie_dagster.policies.policy import Policy, all_policies
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import rows_of
from qrie_dagster.summary.rollup import DASHBOARD, REGISTRY
from qrie_dagster.summary.totals import FindingTotals


@dataclass(frozen=True)
class Context:
    """One application's store, rules, keys and ways into Dagster.

    ``dagster`` launches and takes its time; ``quick_dagster`` is asked while somebody waits for a page.
    """

    settings: Settings
    store: Store
    rules: DriftRules
    keys: Keys
    tokens: Tokens
    guesses: Guesses
    dagster: Dagster
    quick_dagster: Dagster

    def policies(self) -> dict[str, Policy]:
        """Every policy by id, with the severity and the remediation that people gave it."""
        launched = self.store.policies.some(all_policies())
        return {
            name: launched[name].applied_to(policy) if name in launched else policy
            for name, policy in all_policies().items()
        }

    def estate(self) -> "Estate":
        """What ``qrie_summary`` holds of the whole estate, in at most two reads."""
        records = self.store.summary.get_whole([DASHBOARD, REGISTRY])
        return Estate(self.store, records.get(DASHBOARD, {}), records.get(REGISTRY))


@dataclass(frozen=True)
class Estate:
    """Accounts, ages and totals, from two records."""

    store: Store
    board: Mapping[str, Any]
    registry: Mapping[str, Any] | None

    @cached_property
    def accounts(self) -> list[Account]:
        """Every account ever registered, by id."""
        if self.registry is None:
            # Tables of an older qrie, before the first scan or change: the registry itself.
            return self.store.accounts.all()
        accounts = {facts["account_id"]: Account(**facts) for facts in rows_of(self.registry, "Accounts")}
        return list(accounts.values())

    @cached_property
    def ages(self) -> dict[tuple[ScanKind, str, str], ScopeAge]:
        """The age of every (kind, account, service)."""
        ages = [ScopeAge(ScanKind(kind), *rest) for kind, *rest in rows_of(self.board, "scope_ages")]
        return {(age.kind, age.account_id, age.service): age for age in ages}

    @cached_property
    def findings(self) -> FindingTotals:
        """The totals of findings."""
        return FindingTotals(**self.board.get("findings", {}))

    def groups(self, account_id: str | None, service: str | None = None) -> list[Group]:
        """The (account, service) groups of one account and service, or of all."""
        accounts = [account_id] if account_id else [account.account_id for account in self.accounts]
        services = [service] if service else list(all_services())
        return [Group(account, name) for account in accounts for name in services]
