"""What is seen outside scans: a consumer of CloudTrail events, say, that looks at a resource when AWS reports a change.

Events come late, twice, out of order, or never. What is stored is always the newest observation, by the time AWS was
asked (or, for a deletion, did it), whoever made it:

- An observation at or before the last complete listing of its scope is dropped: the listing knew better. That its
  scope has not been listed since is checked in the transaction that writes it, so no scan can slip in between.
- It is dropped as well if something newer is stored, or a newer deletion was reported.
- A deletion leaves a tombstone, so that an older observation cannot bring the resource back. A scan that had listed
  the resource before looks for tombstones once it has written. Should it die between the two, the resource stays
  until the next scan.

Findings are not touched: the next policy scan judges what is stored then.
"""

from dataclasses import replace

from qrie_dagster.errors import StoreError
from qrie_dagster.inventory.services import find_service
from qrie_dagster.models import Resource
from qrie_dagster.reconcile import fill_in
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import TransactionLostError
from qrie_dagster.store.resources import not_deleted_since, observed, reported_deleted
from qrie_dagster.times import now_ms

MAX_TRIES = 8


def observe(store: Store, resource: Resource) -> bool:
    """Store a resource as it was described at ``resource.describe_time``; False if something newer is known.

    What AWS refused to show is taken from what is stored. Raises QrieError if its account is not active, StoreError
    when the store does not answer: deliver it again then.
    """
    scope = find_service(resource.service).scope_key(resource.resource_type, resource.region)
    for _ in range(MAX_TRIES):
        listed, unlisted_since = store.accounts.last_listings(resource.account_id, resource.service)
        if resource.describe_time <= listed.get(scope, 0):
            return False
        whole = _completed(store, resource)
        try:
            store.dynamo.transact([unlisted_since, not_deleted_since(whole), observed(whole, now_ms())])
        except TransactionLostError as lost:
            # Not so final: a scan came first, or something else than what the resource was completed from is stored.
            if 0 in lost.failed or (lost.failed == (2,) and _may_still_win(store, whole)):
                continue
            return False
        return True
    raise StoreError(f"Other writers kept overtaking an observation of {resource.arn}: deliver it again.")


def observe_deleted(
    store: Store, account_id: str, service: str, resource_type: str, region: str, arn: str, observed_ms: int
) -> bool:
    """Drop a resource that AWS deleted at ``observed_ms``; False if something newer is known.

    ``region`` is the resource's own. Raises like ``observe``.
    """
    scope = find_service(service).scope_key(resource_type, region)
    for _ in range(MAX_TRIES):
        listed, unlisted_since = store.accounts.last_listings(account_id, service)
        if observed_ms <= listed.get(scope, 0):
            return False
        try:
            store.dynamo.transact([unlisted_since, *reported_deleted(account_id, service, arn, observed_ms, now_ms())])
        except TransactionLostError as lost:
            if 0 in lost.failed:
                continue
            return False
        return True
    raise StoreError(f"Scans kept overtaking the deletion of {arn}: deliver it again.")


def _completed(store: Store, resource: Resource) -> Resource:
    """The resource with what AWS refused to show taken from what is stored."""
    stored = store.resources.get(resource.account_id, resource.service, resource.arn) if resource.unread else None
    if stored is None:
        return resource
    return replace(fill_in(resource, stored.configuration), completed_from=stored.describe_time)


def _may_still_win(store: Store, resource: Resource) -> bool:
    if resource.completed_from is None:
        return False
    stored = store.resources.get(resource.account_id, resource.service, resource.arn)
    return stored is None or stored.describe_time < resource.describe_time
