"""The one engine that reads AWS: pages, regions, details, partial failure.

Everything about one (account, service) is asked at once from a pool of threads. What could not be read is part
of the result, never an exception: a listing that failed half-way makes its scope incomplete, a detail that failed
makes one key of one resource unknown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import jmespath

from qrie_dagster.aws import AWS_ERRORS, AccountSession, error_code, explain
from qrie_dagster.inventory.resource_type import Detail, Enrichment, Item, Listing, ResourceType, Service
from qrie_dagster.json_values import to_json
from qrie_dagster.models import ALL_REGIONS, GLOBAL, Collected, ListedScope, Resource
from qrie_dagster.times import now_ms


def collect(session: AccountSession, service: Service, concurrency: int) -> Collected:
    """Everything ``service`` holds in the account of ``session``, and which listings were complete.

    ``concurrency`` is the number of AWS calls under way at once. No AWS error is raised.
    """
    with ThreadPoolExecutor(concurrency, thread_name_prefix=f"{session.account_id}-{service.name}") as pool:
        return _Collection(session, service, pool).run()


@dataclass
class _Found:
    """An item on its way to becoming a resource."""

    kind: ResourceType
    region: str
    describe_time: int
    item: Item
    unread: dict[str, str] = field(default_factory=dict)
    gone: bool = False


@dataclass
class _Listed:
    """The answer to one listing in one region: items by resource type, and the error that ended it, if any."""

    kinds: list[ResourceType]
    region: str
    describe_time: int
    items: dict[str, list[Item]]
    error: str | None = None


class _Collection:
    def __init__(self, session: AccountSession, service: Service, pool: ThreadPoolExecutor) -> None:
        self.session = session
        self.service = service
        self.pool = pool
        self.home = service.global_region[session.partition]
        self.scopes: list[ListedScope] = []
        self.found: list[_Found] = []
        self.answers: dict[tuple[Callable[[Any], Any], str], Future[Any]] = {}

    def run(self) -> Collected:
        pending: set[Future[Any]] = {
            self.pool.submit(self._list, listing, kinds, region) for listing, kinds, region in self._listings()
        }
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                answer = future.result()
                if isinstance(answer, _Listed):
                    pending |= self._follow_up(answer)
        return self._collected()

    def _listings(self) -> Iterator[tuple[Listing, list[ResourceType], str]]:
        """Each distinct listing with the types that share it, once or for every region."""
        groups: dict[tuple[bool, int], tuple[Listing, list[ResourceType]]] = {}
        for kind in self.service.types:
            for key, (listing, kinds) in groups.items():
                if listing == kind.listing and key[0] == kind.is_global:
                    kinds.append(kind)
                    break
            else:
                groups[kind.is_global, len(groups)] = (kind.listing, [kind])
        regions = self._regions([kind for kind in self.service.types if not kind.is_global])
        for (is_global, _), (listing, kinds) in groups.items():
            for region in [GLOBAL] if is_global else regions:
                yield listing, kinds, region

    def _regions(self, kinds: list[ResourceType]) -> Iterable[str]:
        if not kinds:
            return ()
        started = now_ms()
        try:
            regions, disabled = self.session.regions()
        except AWS_ERRORS as error:
            self._fail(kinds, ALL_REGIONS, started, f"the list of regions cannot be read: {explain(error)}")
            return ()
        for region in disabled:
            self._fail(
                kinds,
                region,
                started,
                "the region is not enabled in this account: enable it or do not scan it",
            )
        if not regions and not disabled:
            self._fail(kinds, ALL_REGIONS, started, "no region that is to be scanned is enabled in this account")
        return regions

    def _fail(self, kinds: Iterable[ResourceType], region: str, started: int, error: str) -> None:
        self.scopes += [ListedScope(kind.name, region, started, error) for kind in kinds]

    def _list(self, listing: Listing, kinds: list[ResourceType], region: str) -> _Listed:
        # Taken before AWS is asked: a change made while the pages come in is newer than this picture.
        listed = _Listed(kinds, region, now_ms(), {kind.name: [] for kind in kinds})
        try:
            client = self._client(region)
            for page in _pages(client, listing):
                found = {kind.name: kind.find_items(page) for kind in kinds}
                if all(items is None for items in found.values()):
                    # An empty list is one. Without any, whoever answered knows nothing of what exists.
                    listed.error = f"{listing.operation}: an answer without its list"
                    break
                for name, items in found.items():
                    listed.items[name] += items or []
        except AWS_ERRORS as error:
            listed.error = explain(error)
        return listed

    def _client(self, region: str, service: str | None = None) -> Any:
        return self.session.client(service or self.service.name, self.home if region == GLOBAL else region)

    def _follow_up(self, listed: _Listed) -> set[Future[Any]]:
        """Record what was listed; start whatever else has to be asked about it."""
        tasks: set[Future[Any]] = set()
        for kind in listed.kinds:
            self.scopes.append(ListedScope(kind.name, listed.region, listed.describe_time, listed.error))
            found = [
                _Found(kind, self._region_of(kind, item, listed.region), listed.describe_time, {**item})
                for item in listed.items[kind.name]
                if self._is_own(kind, item)
            ]
            self.found += found
            if kind.enrich and found:
                answer = self._read_once(kind.enrich.read, listed.region)
                tasks.add(self.pool.submit(self._enrich, kind.enrich, answer, found))
            tasks |= {self.pool.submit(self._detail, one, detail) for one in found for detail in kind.details}
        return tasks

    def _is_own(self, kind: ResourceType, item: Item) -> bool:
        return kind.owner is None or item.get(kind.owner) in (None, self.session.account_id)

    def _region_of(self, kind: ResourceType, item: Item, listed_in: str) -> str:
        if kind.region is None:
            return listed_in
        return jmespath.search(kind.region, item) or self.home

    def _read_once(self, read: Callable[[Any], Any], region: str) -> Future[Any]:
        if (read, region) not in self.answers:
            self.answers[read, region] = self.pool.submit(lambda: read(self._client(region)))
        return self.answers[read, region]

    def _enrich(self, enrichment: Enrichment, answer: Future[Any], found: list[_Found]) -> None:
        try:
            # Was submitted before this task, so it never waits for a free thread.
            known = answer.result()
        except AWS_ERRORS as error:
            for one in found:
                one.unread[enrichment.key] = explain(error)
            return
        for one in found:
            value = enrichment.pick(known, one.item)
            if value is not None:
                one.item[enrichment.key] = value

    def _detail(self, one: _Found, detail: Detail) -> None:
        facts = {**one.item, "AccountId": self.session.account_id}
        params = {name: jmespath.search(path, facts) for name, path in detail.params.items()}
        client = self._client(one.region, detail.client)
        try:
            answer = getattr(client, detail.operation)(**params)
        except AWS_ERRORS as error:
            code = error_code(error)
            if code in detail.absent:
                one.item[detail.key] = None
            elif code in one.kind.gone:
                one.gone = True
            else:
                one.unread[detail.key] = explain(error)
            return
        answer.pop("ResponseMetadata", None)
        value = jmespath.search(detail.result, answer)
        if value is None:
            one.unread[detail.key] = f"{detail.operation}: an answer without what was asked for"
        else:
            one.item[detail.key] = value

    def _collected(self) -> Collected:
        resources: dict[str, Resource] = {}
        detail_errors: dict[str, str] = {}
        shared_errors: dict[tuple[str, str], list[str]] = {}
        unnamed: dict[tuple[str, str], str] = {}
        for one in self.found:
            if one.gone:
                continue
            scope = GLOBAL if one.kind.is_global else one.region
            try:
                resource = self._resource(one)
            except KeyError as missing:
                unnamed[one.kind.name, scope] = f"an item without {missing} has no ARN"
                continue
            # A resource on two pages is one resource.
            resources[resource.arn] = resource
            own = {error for key, error in one.unread.items() if not one.kind.tells_of_all(key)}
            if own:
                detail_errors[resource.arn] = "; ".join(sorted(own))
            for error in {*one.unread.values()} - own:
                types = shared_errors.setdefault((scope, error), [])
                if one.kind.name not in types:
                    types.append(one.kind.name)
        scopes = [
            ListedScope(
                s.resource_type,
                s.region,
                s.describe_time,
                s.error or unnamed.get((s.resource_type, s.region)),
            )
            for s in self.scopes
        ]
        return Collected(
            self.session.account_id, self.service.name, list(resources.values()), scopes, detail_errors, shared_errors
        )

    def _resource(self, one: _Found) -> Resource:
        kind, item, unread = one.kind, one.item, set(one.unread)
        arn = kind.arn_of(item, self.session.partition, one.region, self.session.account_id)
        tags = jmespath.search(kind.tags, item)
        configuration = {key: value for key, value in item.items() if key != kind.tags and key not in kind.drop}
        if kind.tags in unread:
            unread = unread - {kind.tags} | {"Tags"}
        else:
            configuration["Tags"] = _tag_map(tags)
        return Resource(
            self.session.account_id,
            self.service.name,
            kind.name,
            one.region,
            arn,
            to_json(configuration),
            one.describe_time,
            tuple(sorted(unread)),
        )


def _pages(client: Any, listing: Listing) -> Iterable[Mapping[str, Any]]:
    if listing.function:
        return listing.function(client)
    params = dict(listing.params)
    if client.can_paginate(listing.operation):
        pages: Iterable[Mapping[str, Any]] = client.get_paginator(listing.operation).paginate(**params)
        return pages
    return [getattr(client, listing.operation)(**params)]


def _tag_map(tags: Any) -> dict[str, str]:
    if isinstance(tags, Mapping):
        return dict(tags)
    return {tag["Key"]: tag.get("Value", "") for tag in tags or ()}
