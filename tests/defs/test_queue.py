"""Which runs wait for which, judged by Dagster's own queue with the configurations in this repository."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.execution.api import create_execution_plan
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from qrie_dagster.definitions import defs
from qrie_dagster.defs.jobs import scan_jobs

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["dagster.yaml", "deploy/dagster.yaml"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance with the file's concurrency, and SQLite storage."""
    concurrency = yaml.safe_load((ROOT / request.param).read_text())["concurrency"]
    (tmp_path / "dagster.yaml").write_text(yaml.dump({"concurrency": concurrency, "telemetry": {"enabled": False}}))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def wait(instance: DagsterInstance, job: str, count: int) -> None:
    definition = defs.resolve_job_def(job)
    # As schedules, sensors and the API do: what a run needs of each pool is taken from there.
    plan = create_execution_plan(definition)
    where = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("qrie"), "__repository__")
    for _ in range(count):
        instance.create_run_for_job(
            definition,
            execution_plan=plan,
            tags=dict(definition.tags),
            status=DagsterRunStatus.QUEUED,
            remote_job_origin=RemoteJobOrigin(where, job),
            job_code_origin=JobPythonOrigin(
                job, RepositoryPythonOrigin("python", ModuleCodePointer("qrie_dagster.definitions", "defs"))
            ),
        )


def report(instance: DagsterInstance, run: DagsterRun, what: DagsterEventType) -> None:
    instance.report_dagster_event(DagsterEvent(what.value, run.job_name), run.run_id)


def launch(instance: DagsterInstance) -> Counter[str]:
    """One look at the queue: what is launched of it, by job."""
    with QueuedRunCoordinatorDaemon(interval_seconds=1, page_size=10) as daemon:
        runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    for run in runs:
        report(instance, run, DagsterEventType.PIPELINE_STARTING)
    return Counter(run.job_name for run in runs)


def test_no_kind_of_run_waits_for_another(queue: DagsterInstance) -> None:
    pool = queue.global_op_concurrency_default_limit
    # A pool has its limit from the first look on at which a run of it waits.
    for job in ("full_inventory", "policy_scan"):
        wait(queue, job, 1)
        launch(queue)
        end(queue, job)
    # More than there is room for; a Saturday of 3,000 accounts would be 120.
    wait(queue, "full_inventory", pool + 5)
    assert launch(queue) == {"full_inventory": pool}
    assert launch(queue) == {}, "the others wait for these"
    # Behind them in the queue: 04:00, and somebody registers an account.
    wait(queue, "bootstrap_account", 1)
    wait(queue, "policy_scan", pool + 5)
    wait(queue, "health_checks", 1)
    assert launch(queue) == {"policy_scan": pool, "health_checks": 1}
    assert launch(queue) == {}
    wait(queue, "roll_up", 1)
    end(queue, "health_checks")
    assert launch(queue) == {"roll_up": 1}
    end(queue, "full_inventory")
    assert launch(queue) == {"bootstrap_account": 1}, "before the rest of the full inventory"


def end(instance: DagsterInstance, job: str) -> None:
    """The end of one run of a job."""
    [run] = instance.get_runs(RunsFilter(job_name=job, statuses=[DagsterRunStatus.STARTING]), limit=1)
    report(instance, run, DagsterEventType.PIPELINE_SUCCESS)


def test_every_scan_is_in_a_pool() -> None:
    for name in scan_jobs():
        assert {node.definition.pool for node in defs.resolve_job_def(name).nodes} & {"aws", "policies"}
