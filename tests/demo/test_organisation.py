"""The emulated organisation: what it holds, that it is the same each time, and that disturbing it does what it says."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qrie_dagster.demo import disturb, emulator, organisation, truth
from qrie_dagster.demo.access import client, enter
from qrie_dagster.demo.truth import pages
from qrie_dagster.errors import QrieError

# Every policy qrie has had. The ages of access keys and the root users come from demo/history.py.
POLICIES = {
    "S3BucketPublic",
    "S3BucketVersioningDisabled",
    "S3BucketEncryptionDisabled",
    "S3BucketMfaDeleteDisabled",
    "IAMRootAccountActive",
    "IAMUserMfaDisabled",
    "IAMPolicyOverlyPermissive",
    "IAMAccessKeyUnused",
    "IAMAccessKeyNotRotated",
    "EC2UnencryptedEBS",
    "RDSPublicAccess",
}


# What account orchard-dev holds, whenever and wherever it is built.
BUCKETS = [
    *("backups", "cdn-origin", "downloads", "exports", "fonts", "logs", "shared-old", "tmp", "uploads", "website")
]
USERS = [*("bo.lindqvist", "dana.weiss", "deploy-bot", "eun-ji.park", "greta.olsen", "metrics-agent", "reporting-bot")]
PERMISSIONS = ["AdminWithMfa", "DenyLeaving", "S3Everything", "StartWorkers"]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("demo") / "emulator.log"
    with emulator.running(log=log) as url:
        heard: list[str] = []
        organisation.build(url, heard.append)
        assert len(heard) == 1 + len(organisation.ACCOUNTS)
        yield url
    assert "Traceback" not in log.read_text()


@dataclass(frozen=True)
class Truth:
    inventory: dict[str, set[str]]
    findings: set[truth.Finding]

    @property
    def arns(self) -> set[str]:
        return {arn for found in self.inventory.values() for arn in found}


def _truth(endpoint: str) -> Truth:
    return Truth(truth.inventory(endpoint), truth.findings(endpoint))


@pytest.fixture(scope="module")
def built(endpoint: str) -> Truth:
    """The truth before anything is disturbed."""
    return _truth(endpoint)


def test_accounts_are_well_formed_and_varied() -> None:
    accounts = organisation.ACCOUNTS
    assert len({account.account_id for account in accounts}) == len(accounts) == 12
    assert any(account.account_id.startswith("0") for account in accounts)
    assert len({account.customer for account in accounts}) == 3
    assert all(account.ou_path.startswith("/") for account in accounts)


def test_organizations_lists_the_same_accounts(endpoint: str) -> None:
    organizations = client(endpoint, "organizations")
    listed = {account["Id"]: account["Name"] for account in pages(organizations, "list_accounts", "Accounts")}
    assert listed == {account.account_id: account.name for account in organisation.ACCOUNTS}
    for account in organisation.ACCOUNTS:
        tags = organizations.list_tags_for_resource(ResourceId=account.account_id)["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == account.tags
        assert _ou_path(organizations, account.account_id) == account.ou_path


def _ou_path(organizations: Any, child: str) -> str:
    parent = organizations.list_parents(ChildId=child)["Parents"][0]
    if parent["Type"] == "ROOT":
        return "/"
    unit = organizations.describe_organizational_unit(OrganizationalUnitId=parent["Id"])
    return _ou_path(organizations, parent["Id"]).rstrip("/") + "/" + str(unit["OrganizationalUnit"]["Name"])


def test_there_is_plenty_of_everything(built: Truth) -> None:
    sizes = {account: len(arns) for account, arns in built.inventory.items()}
    assert sum(sizes.values()) > 1000
    assert min(sizes, key=lambda account: sizes[account]) == organisation.EMPTY
    assert sizes[organisation.EMPTY] < 40
    kinds = Counter(_kind(arn) for arn in built.arns)
    assert kinds.keys() >= {
        *("s3", "iam/user", "iam/role", "iam/group", "iam/policy", "iam/root"),
        *("rds/db", "rds/cluster", "rds/snapshot", "rds/cluster-snapshot"),
        *("ec2/instance", "ec2/volume", "ec2/snapshot", "ec2/image", "ec2/security-group"),
        *("ec2/vpc", "ec2/subnet", "ec2/network-acl", "ec2/elastic-ip"),
    }


def _kind(arn: str) -> str:
    _, _, service, _, _, rest = arn.split(":", 5)
    return service if service == "s3" else f"{service}/{rest.replace('/', ':').split(':')[0]}"


def test_names_are_the_same_each_time(endpoint: str) -> None:
    entered = enter(endpoint, "121212121212")
    iam = entered.client("iam")
    policies = pages(iam, "list_policies", "Policies", Scope="Local")
    assert sorted(truth.buckets(entered)) == [f"orchard-dev-{purpose}-1212" for purpose in BUCKETS]
    assert sorted(user["UserName"] for user in pages(iam, "list_users", "Users")) == USERS
    assert sorted(policy["PolicyName"] for policy in policies) == PERMISSIONS


def test_tags_of_all_kinds_survive(endpoint: str) -> None:
    values = set()
    for account in organisation.ACCOUNTS:
        entered = enter(endpoint, account.account_id)
        for bucket in truth.buckets(entered):
            answer = truth.answer_or_none(entered.client("s3").get_bucket_tagging, Bucket=bucket) or {"TagSet": []}
            values |= {tag["Value"] for tag in answer["TagSet"]}
    assert values >= {"<script>alert(1)</script>", "öffentliche Bilder 🖼", "网络"}


def test_every_policy_is_violated_somewhere_and_obeyed_elsewhere(built: Truth) -> None:
    violations = Counter(policy for _arn, policy in built.findings)
    assert set(violations) == POLICIES
    assert {arn for arn, _policy in built.findings} <= built.arns
    buckets = sum(arn.startswith("arn:aws:s3:::") for arn in built.arns)
    assert violations["S3BucketPublic"] < buckets
    # moto forgets MFA delete, so no bucket of the demo has it.
    assert violations["S3BucketMfaDeleteDisabled"] == buckets


def test_blocked_buckets_are_not_public(built: Truth) -> None:
    public = {arn for arn, policy in built.findings if policy == "S3BucketPublic"}
    assert "arn:aws:s3:::data-prod-website-5555" in public
    assert "arn:aws:s3:::payments-prod-website-3333" not in public
    assert not {arn for arn in public if any(p in arn for p in ("shared-old", "press-kit", "cdn-", "org-"))}
    assert {arn for arn in public if "partners-drop" in arn}
    assert {arn for arn in public if "fonts" in arn}


def test_disturbing_changes_what_it_says_again_and_again(endpoint: str, built: Truth) -> None:
    before = built
    for _time in range(2):
        changes = disturb.changes(endpoint)
        after = _truth(endpoint)
        assert len(changes) == len(disturb.DISTURBANCES)
        assert len({change.account_id for change in changes}) > 6
        _check_resources(changes, before.arns, after.arns)
        _check_findings(changes, before, after)
        for change in changes:
            assert str(change).startswith(f"{change.account_id} ")
            assert str(change).endswith(".")
        before = after


def _check_resources(changes: list[disturb.Change], before: set[str], after: set[str]) -> None:
    assert after - before == {change.arn for change in changes if change.effect == "created"}
    deleted = {change.arn for change in changes if change.effect == "deleted"}
    assert deleted <= before - after
    # The root volume of the terminated instance goes with it.
    assert [":volume/" in arn for arn in before - after - deleted] == [True]


def _check_findings(changes: list[disturb.Change], before: Truth, after: Truth) -> None:
    opened = {(change.arn, change.opens) for change in changes if change.opens}
    closed = {(change.arn, change.closes) for change in changes if change.closes}
    assert after.findings - before.findings == opened
    assert {(arn, policy) for arn, policy in before.findings - after.findings if arn in after.arns} == closed


def test_real_aws_is_refused() -> None:
    with pytest.raises(QrieError, match="only works on an emulator"):
        client("https://sts.amazonaws.com", "sts")


def test_a_developers_own_profile_is_ignored(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from qrie_dagster.demo import access

    monkeypatch.setenv("AWS_PROFILE", "there-is-none")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    access._session.cache_clear()
    identity = client(endpoint, "sts").get_caller_identity()
    assert identity["Account"] == organisation.ACCOUNTS[0].account_id
