"""What a policy is: one question about one resource, answered from stored facts alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeAlias

from qrie_dagster.errors import NotFoundError
from qrie_dagster.models import Resource, UnknownFactError


class Category(StrEnum):
    """What kind of weakness a policy looks for."""

    ACCESS_CONTROL = "access_control"
    ENCRYPTION = "encryption"
    DATA_PROTECTION = "data_protection"
    NETWORK_SECURITY = "network_security"
    LOGGING = "logging"
    MONITORING = "monitoring"


class Status(StrEnum):
    """The three answers. ``unknown`` changes no finding."""

    COMPLIANT = "compliant"
    VIOLATION = "violation"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """A policy's answer. ``evidence`` (JSON values) holds the few facts that prove a violation."""

    status: Status
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


COMPLIANT = Verdict(Status.COMPLIANT)


def violation(**evidence: Any) -> Verdict:
    """The resource breaks the policy; the keyword arguments are the proof.

    Evidence must be a function of the resource's facts: anything that changes by itself (an age in days, the
    current time) would make every scan rewrite the finding.
    """
    return Verdict(Status.VIOLATION, evidence)


def unknown(reason: str) -> Verdict:
    """The inventory does not hold what is needed to answer."""
    return Verdict(Status.UNKNOWN, reason=reason)


@dataclass(frozen=True)
class Surroundings:
    """What a policy may look at besides its resource: the time and the account's other resources."""

    now_ms: int
    by_type: Mapping[str, Sequence[Resource]]

    def only(self, resource_type: str) -> Resource:
        """The one resource of a type that every account has once. Raises UnknownFactError if it is not stored."""
        resources = self.by_type.get(resource_type) or ()
        if len(resources) != 1:
            raise UnknownFactError(f"the account's {resource_type} is not in the inventory")
        return resources[0]


Check: TypeAlias = Callable[[Resource, Surroundings], Verdict]


@dataclass(frozen=True)
class Policy:
    """A policy as it can be launched.

    ``severity`` is 0-100. ``controls`` are the benchmark controls it serves, such as ``CIS 5.0 2.1.4`` or
    ``FSBP S3.1``. ``evaluate`` never reads the store or the clock.
    """

    id: str
    resource_type: str
    severity: int
    category: Category
    description: str
    remediation: str
    controls: tuple[str, ...]
    check: Check

    @property
    def service(self) -> str:
        """The service whose resources it looks at: ``s3`` for ``AWS::S3::Bucket``."""
        return self.resource_type.split("::")[1].lower()

    def evaluate(self, resource: Resource, surroundings: Surroundings) -> Verdict:
        """The verdict on one resource; what the inventory does not know makes it unknown."""
        try:
            return self.check(resource, surroundings)
        except UnknownFactError as missing:
            return unknown(str(missing))


_registry: dict[str, Policy] = {}


def policy(
    *,
    id: str,
    resource_type: str,
    severity: int,
    category: Category,
    description: str,
    remediation: str,
    controls: Sequence[str],
) -> Callable[[Check], Check]:
    """Register the decorated function as a policy."""

    def register(check: Check) -> Check:
        if id in _registry:
            raise ValueError(f"two policies are called {id}")
        _registry[id] = Policy(id, resource_type, severity, category, description, remediation, tuple(controls), check)
        return check

    return register


def all_policies() -> dict[str, Policy]:
    """Every policy there is, by id. Each module of this package is loaded once."""
    for module in iter_modules(import_module("qrie_dagster.policies").__path__):
        import_module(f"qrie_dagster.policies.{module.name}")
    return dict(sorted(_registry.items()))


def find_policy(policy_id: str) -> Policy:
    """The policy with this id. Raises NotFoundError naming those there are."""
    policies = all_policies()
    if policy_id not in policies:
        raise NotFoundError(f"There is no policy {policy_id!r}; there are: {', '.join(policies)}.")
    return policies[policy_id]


SEVERITY_BANDS = {"critical": (90, 100), "high": (50, 89), "medium": (25, 49), "low": (0, 24)}


def band(severity: int) -> str:
    """``critical``, ``high``, ``medium`` or ``low`` for a severity of 0-100."""
    return next(name for name, (low, _high) in SEVERITY_BANDS.items() if severity >= low)
