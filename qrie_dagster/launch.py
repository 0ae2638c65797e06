"""Starting scans in a running Dagster, through its GraphQL API, and following them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import sleep
from typing import Any
from uuid import uuid4

import httpx

from qrie_dagster.errors import ConflictError, DagsterError, NotFoundError, QrieError
from qrie_dagster.inventory.services import all_services, find_service
from qrie_dagster.models import ScanKind, ScanType
from qrie_dagster.policies.policy import find_policy
from qrie_dagster.scan_tags import SCAN_ID, chunk_tags
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.rollup import HISTORY
from qrie_dagster.times import as_datetime, now_ms

JOBS = {ScanKind.INVENTORY: "full_inventory", ScanKind.POLICY: "policy_scan"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
POLL_SECONDS = 1.0
# The daemon looks for ended scans every few seconds, and a roll-up takes a few.
SUM_UP_SECONDS = 180

_WHERE = """
query { repositoriesOrError { __typename
  ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
  ... on PythonError { message } } }
"""
_PARTITIONS = """
query { assetNodeOrError(assetKey: {path: ["policy_findings"]}) { ... on AssetNode { partitionKeys } } }
"""
_ADD_PARTITION = """
mutation($repository: RepositorySelector!, $key: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: "accounts", partitionKey: $key) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message } } }
"""
_LAUNCH = """
mutation($runs: [ExecutionParams!]!) { launchMultipleRuns(executionParamsList: $runs) { __typename
  ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }
  ... on PythonError { message } } }
"""
_ACTIVE = """
query { runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}, limit: 500) {
  ... on Runs { results { runId jobName status tags { key value } } } ... on PythonError { message } } }
"""
_RUNS = """
query($id: String!) { runsOrError(filter: {tags: [{key: "qrie/scan_id", value: $id}]}) {
  ... on Runs { results { runId jobName status } } ... on PythonError { message } } }
"""


@dataclass(frozen=True)
class Launched:
    """A scan under way and the Dagster runs it consists of."""

    scan: Scan
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """How far a scan is: (account, service) pairs done of planned, and whether it has been summed up.

    ``summary`` is its entry in the history once it has been.
    """

    done: int
    planned: int
    running: bool
    summary: dict[str, Any] | None


class Dagster:
    """A running Dagster webserver with qrie's code location. Raises DagsterError when it does not answer."""

    def __init__(self, settings: Settings, timeout_seconds: float = 60) -> None:
        self._url = settings.dagster_url.rstrip("/")
        self._link = settings.dagster_ui
        self._chunk = settings.accounts_per_run
        self._http = httpx.Client(base_url=self._url, timeout=timeout_seconds)

    def answers(self) -> bool:
        """Whether the webserver has loaded qrie's code."""
        try:
            self._repository()
        except QrieError:
            return False
        return True

    def launch(
        self,
        store: Store,
        kind: ScanKind,
        accounts: Sequence[str] = (),
        services: Sequence[str] = (),
        policies: Sequence[str] = (),
    ) -> Launched:
        """Start a scan of some accounts and services, of all where none is given.

        Raises QrieError when an account, service or policy is unknown, or Dagster does not take it.
        """
        active = [account.account_id for account in store.accounts.active()]
        for account_id in accounts:
            if account_id not in active:
                raise NotFoundError(f"Account {account_id} is not an active account: 'qrie accounts list' shows them.")
        if not active:
            raise ConflictError("No account is active, so there is nothing to scan: 'qrie accounts add' registers one.")
        scan = _plan(kind, accounts or active, services, policies, whole=not (accounts or services or policies))
        repository = self._repository()
        partitions = self._partitions(repository, scan.accounts)
        store.summary.open_scan(scan)
        runs = [
            _execution(repository, scan, tags)
            for tags in chunk_tags(scan.scan_id, partitions, scan.accounts, self._chunk)
        ]
        answer = self._ask(_LAUNCH, {"runs": runs})["launchMultipleRuns"]
        results = answer.get("launchMultipleRunsResult", [answer])
        for result in results:
            if result["__typename"] != "LaunchRunSuccess":
                why = result.get("message") or result.get("errors") or result["__typename"]
                raise DagsterError(f"Dagster did not take the scan: {why}")
        return Launched(scan, tuple(result["run"]["runId"] for result in results))

    def progress(self, store: Store, scan: Scan) -> Progress:
        """How far ``scan`` is."""
        answer = self._ask(_RUNS, {"id": scan.scan_id})["runsOrError"]
        runs = [run for run in answer.get("results", ()) if run["jobName"] != "roll_up"]
        history = (store.summary.get(HISTORY) or {}).get("scans", ())
        return Progress(
            done=len(store.summary.outcomes(scan.scan_id, scan.accounts)),
            planned=len(scan.accounts) * len(scan.services),
            running=any(run["status"] not in ENDED for run in runs),
            summary=next((entry for entry in history if entry["scan_id"] == scan.scan_id), None),
        )

    def running(self) -> dict[str, list[str]]:
        """The scans that have runs under way or queued, by id, with those runs."""
        scans: dict[str, list[str]] = {}
        answer = self._ask(_ACTIVE)["runsOrError"]
        if "results" not in answer:
            raise DagsterError(f"Dagster at {self._url} does not tell what is running: {answer.get('message')}")
        for run in answer["results"]:
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            if SCAN_ID in tags and run["jobName"] != "roll_up":
                scans.setdefault(tags[SCAN_ID], []).append(run["runId"])
        return scans

    def follow(self, store: Store, scan: Scan) -> Iterator[Progress]:
        """The progress of ``scan`` about every second, until it has been summed up.

        Raises QrieError when its runs have ended and nothing sums it up.
        """
        ended = 0.0
        while True:
            progress = self.progress(store, scan)
            yield progress
            if progress.summary:
                return
            ended = 0.0 if progress.running else ended + POLL_SECONDS
            if ended > SUM_UP_SECONDS:
                raise QrieError(
                    f"The runs of scan {scan.scan_id} ended, but nobody summed it up: is dagster-daemon running?"
                    f" Its runs are on {self._link}/runs."
                )
            sleep(POLL_SECONDS)

    def _partitions(self, repository: dict[str, str], accounts: Iterable[str]) -> list[str]:
        known = self._known_partitions()
        missing = [account for account in accounts if account not in set(known)]
        # The sensor would add them within half a minute; nobody who asked for a scan wants to wait for that.
        for account in missing:
            self._ask(_ADD_PARTITION, {"repository": repository, "key": account})
        return self._known_partitions() if missing else known

    def _known_partitions(self) -> list[str]:
        keys: list[str] = self._ask(_PARTITIONS)["assetNodeOrError"].get("partitionKeys", [])
        return keys

    def _repository(self) -> dict[str, str]:
        answer = self._ask(_WHERE)["repositoriesOrError"]
        for repository in answer.get("nodes", ()):
            if any(job["name"] == JOBS[ScanKind.INVENTORY] for job in repository["jobs"]):
                return {
                    "repositoryName": repository["name"],
                    "repositoryLocationName": repository["location"]["name"],
                }
        raise DagsterError(f"Dagster at {self._url} has not loaded qrie: see its Deployment page.")

    def _ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._http.post("/graphql", json={"query": query, "variables": variables or {}})
            answer.raise_for_status()
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterError(
                f"Dagster does not answer at {self._url}: {error}. Start its webserver, or set QRIE_DAGSTER_URL."
            ) from error
        if body.get("errors"):
            raise DagsterError(f"Dagster at {self._url} refused: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        return data


def _plan(
    kind: ScanKind, accounts: Sequence[str], services: Sequence[str], policies: Sequence[str], *, whole: bool
) -> Scan:
    wanted = [find_service(name).name for name in services]
    wanted += [find_policy(policy).service for policy in policies]
    now = now_ms()
    return Scan(
        scan_id=f"{kind.value}-{as_datetime(now):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}",
        kind=kind,
        scan_type=ScanType.ANTI_ENTROPY if whole else ScanType.BOOTSTRAP,
        started_ms=now,
        accounts=tuple(accounts),
        services=tuple(dict.fromkeys(wanted or all_services())),
        policies=tuple(policies),
    )


def _execution(repository: dict[str, str], scan: Scan, tags: dict[str, str]) -> dict[str, Any]:
    if scan.kind is ScanKind.INVENTORY:
        assets = [{"path": ["inventory", service]} for service in scan.services]
    else:
        assets = [{"path": ["policy_findings"]}]
    return {
        "selector": {**repository, "jobName": JOBS[scan.kind], "assetSelection": assets, "assetCheckSelection": []},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
