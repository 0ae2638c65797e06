"""The demonstration: an organisation, its inventory, its findings, and the loop that keeps them true."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from shutil import rmtree
from time import monotonic, sleep

from qrie_dagster.cli.output import say
from qrie_dagster.cli.scans import describe, watch
from qrie_dagster.demo import emulator, organisation, truth
from qrie_dagster.demo.disturb import disturb
from qrie_dagster.demo.processes import ended_by_sigterm, port
from qrie_dagster.demo.stack import Stack, environment, running_stack, use
from qrie_dagster.errors import QrieError
from qrie_dagster.findings import State
from qrie_dagster.inventory.services import all_services
from qrie_dagster.launch import Dagster
from qrie_dagster.models import ScanKind
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.registry import accounts_from_organization, register
from qrie_dagster.settings import settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.tables import create_tables

HOME = Path(".qrie/demo")
STATE = HOME / "demo.json"
EMULATOR_PORT = 5111
# Of Dagster's webserver and of the dashboard.
PORTS = (3000, 8010)


@dataclass(frozen=True)
class Demo:
    """A running demonstration."""

    endpoint: str
    stack: Stack
    store: Store


def run(*, once: bool) -> bool:
    """Run the demonstration until Ctrl-C, or ``once``: then disturb, repair, compare with the truth.

    Returns whether what is stored equals the truth.
    """
    with ended_by_sigterm(), _running() as demo:
        scan_all(demo)
        _tell_where(demo)
        if not once:
            _stay()
            return True
        say("\nChanging AWS behind qrie's back:")
        for line in disturb(demo.endpoint):
            say(f"  {line}")
        say("\nThe loop comes round again:")
        scan_all(demo)
        return _compare(demo)


@contextmanager
def _running() -> Iterator[Demo]:
    started = monotonic()
    with ExitStack() as running:
        home = running.enter_context(_fresh_home())
        say("Starting the emulated AWS ...")
        endpoint = running.enter_context(emulator.running(port(EMULATOR_PORT), home / "emulator.log"))
        organisation.build(endpoint, lambda line: say(f"  {line}"))
        store = _registered(endpoint, home)
        say("Starting Dagster and the dashboard ...")
        stack = running.enter_context(running_stack(endpoint, home / "dagster", ports=PORTS))
        use(stack.environment)
        STATE.write_text(json.dumps({"endpoint": endpoint, "environment": stack.environment}))
        say(f"Everything is up after {monotonic() - started:.0f} s.")
        yield Demo(endpoint, stack, store)


def _registered(endpoint: str, home: Path) -> Store:
    """qrie's tables, with every policy launched and every account registered."""
    use(environment(endpoint, home / "dagster"))
    store = open_store(settings())
    create_tables(store.dynamo)
    policies = launch_all(store)
    counts = register(store, accounts_from_organization(settings()))
    say(f"  {counts['added']} accounts registered, {policies} policies launched")
    return store


@contextmanager
def _fresh_home() -> Iterator[Path]:
    """Where the demonstration keeps its files; nothing of an earlier one."""
    home = HOME.resolve()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise QrieError("A demonstration is already running in this folder: end it with Ctrl-C first.") from None
        rmtree(home / "dagster", ignore_errors=True)
        try:
            yield home
        finally:
            STATE.unlink(missing_ok=True)


def scan_all(demo: Demo) -> None:
    """A full inventory and a full policy scan, through Dagster."""
    dagster = Dagster(settings())
    for kind in ScanKind:
        launched = dagster.launch(demo.store, kind)
        describe(watch(dagster, demo.store, launched.scan))


def _tell_where(demo: Demo) -> None:
    say(f"\nDagster    {demo.stack.dagster_url}")
    say(f"Dashboard  {demo.stack.dashboard_url}  (token {demo.stack.token})")


def _stay() -> None:
    say("In another terminal, 'qrie demo disturb' changes AWS behind qrie's back, and 'qrie demo scan' repairs it.")
    say("Ctrl-C ends the demonstration.")
    try:
        while True:
            sleep(3600)
    except KeyboardInterrupt:
        say("\nStopping ...")


def of_another_terminal() -> Demo:
    """The demonstration that runs already. Raises QrieError if none does."""
    if not STATE.exists():
        raise QrieError("No demonstration is running in this folder: start one with 'make demo'.")
    state = json.loads(STATE.read_text())
    use(state["environment"])
    shared = state["environment"]
    stack = Stack(
        shared["QRIE_DAGSTER_URL"],
        f"http://127.0.0.1:{shared['QRIE_DASHBOARD_PORT']}",
        shared["QRIE_API_TOKEN"],
        shared,
    )
    return Demo(state["endpoint"], stack, open_store(settings()))


def _compare(demo: Demo) -> bool:
    """Whether inventory and findings equal what AWS holds; says what differs."""
    accounts = [account.account_id for account in demo.store.accounts.active()]
    stored = {
        account: {arn for service in all_services() for arn in demo.store.resources.index(account, service)}
        for account in accounts
    }
    findings = {
        finding.key
        for account in accounts
        for service in all_services()
        for finding in demo.store.findings.load(account, service, State.ACTIVE)
    }
    true_inventory, true_findings = truth.inventory(demo.endpoint), truth.findings(demo.endpoint)
    wrong = [
        f"{account}: {arn} is {'not stored' if arn in true_inventory.get(account, ()) else 'stored but not there'}"
        for account in sorted({*stored, *true_inventory})
        for arn in sorted(stored.get(account, set()) ^ true_inventory.get(account, set()))
    ]
    wrong += [
        f"{policy} on {arn} is {'missing' if (arn, policy) in true_findings else 'reported but not true'}"
        for arn, policy in sorted(findings ^ true_findings)
    ]
    for line in wrong:
        say(f"  {line}")
    resources = sum(map(len, true_inventory.values()))
    say(
        f"\n{resources} resources and {len(true_findings)} findings in AWS: what qrie holds "
        + ("differs." if wrong else "is equal.")
    )
    return not wrong
