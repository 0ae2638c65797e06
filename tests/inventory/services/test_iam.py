"""IAM as collected from a moto server, and the credential report as AWS writes it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from qrie_dagster.inventory.services import iam

COLUMNS = (
    "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,"
    "mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,"
    "access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,"
    "access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,"
    "cert_1_last_rotated,cert_2_active,cert_2_last_rotated"
)
ROOT_ROW = (
    "<root_account>,arn:aws:iam::123456789012:root,2019-03-05T10:11:12+00:00,not_supported,2024-01-02T03:04:05+00:00,"
    "not_supported,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A"
)
USER_ROW = (
    "ann,arn:aws:iam::123456789012:user/ann,2020-01-01T00:00:00+00:00,true,no_information,2020-01-01T00:00:00+00:00,"
    "N/A,false,true,2020-01-02T00:00:00+00:00,2024-05-06T07:08:00+00:00,eu-west-1,s3,false,2021-01-02T00:00:00+00:00,"
    "N/A,N/A,N/A,false,N/A,false,N/A"
)
REPORT = "\n".join((COLUMNS, ROOT_ROW, USER_ROW))


def _document(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def _of_type(member: Any, name: str) -> list[Any]:
    return [r for r in member.resources("iam").values() if r.resource_type == f"AWS::IAM::{name}"]


def test_users_carry_their_credentials_policies_and_tags(member: Any) -> None:
    client = member.client("iam")
    client.create_user(UserName="ann", Path="/dev/", Tags=[{"Key": "team", "Value": "web"}])
    client.put_user_policy(UserName="ann", PolicyName="own", PolicyDocument=json.dumps(_document("s3:*")))
    client.create_login_profile(UserName="ann", Password="not-A-secret-1")
    for _number in range(2):
        key = client.create_access_key(UserName="ann")["AccessKey"]["AccessKeyId"]
    client.update_access_key(UserName="ann", AccessKeyId=key, Status="Inactive")
    client.create_group(GroupName="developers")
    client.add_user_to_group(GroupName="developers", UserName="ann")

    (user,) = _of_type(member, "User")
    assert user.arn == f"arn:aws:iam::{member.id}:user/dev/ann"
    assert user.region == "global"
    assert user.tags == {"team": "web"}
    assert user.configuration["UserPolicyList"] == [{"PolicyName": "own", "PolicyDocument": _document("s3:*")}]
    assert user.configuration["GroupList"] == ["developers"]
    report = user.fact("CredentialReport")
    assert {name: report[name] for name in ("PasswordEnabled", "PasswordLastUsed", "MfaActive")} == {
        "PasswordEnabled": True,
        "PasswordLastUsed": None,
        "MfaActive": False,
    }
    assert [(key["Number"], key["Active"], key["LastUsed"]) for key in report["AccessKeys"]] == [
        (1, True, None),
        (2, False, None),
    ]
    assert datetime.fromisoformat(report["AccessKeys"][0]["LastRotated"]).tzinfo == UTC


def test_a_user_without_anything(member: Any) -> None:
    member.client("iam").create_user(UserName="bo")
    (user,) = _of_type(member, "User")
    report = user.fact("CredentialReport")
    assert report["PasswordEnabled"] is False
    assert report["AccessKeys"] == []
    assert user.tags == {}


def test_groups_and_roles(member: Any) -> None:
    client = member.client("iam")
    client.create_group(GroupName="developers", Path="/dev/")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}}]}
    client.create_role(
        RoleName="app",
        Path="/service/",
        AssumeRolePolicyDocument=json.dumps(trust),
        Tags=[{"Key": "team", "Value": "web"}],
    )
    client.create_instance_profile(InstanceProfileName="app")
    client.add_role_to_instance_profile(InstanceProfileName="app", RoleName="app")

    (group,) = _of_type(member, "Group")
    assert group.arn == f"arn:aws:iam::{member.id}:group/dev/developers"
    (role,) = _of_type(member, "Role")
    assert role.arn == f"arn:aws:iam::{member.id}:role/service/app"
    assert role.tags == {"team": "web"}
    assert role.configuration["AssumeRolePolicyDocument"] == trust
    assert "RoleLastUsed" not in json.dumps(role.configuration)
    (profile,) = role.configuration["InstanceProfileList"]
    assert profile["Arn"] == f"arn:aws:iam::{member.id}:instance-profile/app"


def test_customer_managed_policies_with_the_version_in_effect(member: Any) -> None:
    client = member.client("iam")
    answer = client.create_policy(
        PolicyName="admin",
        Path="/org/",
        PolicyDocument=json.dumps(_document("*")),
        Tags=[{"Key": "team", "Value": "web"}],
    )
    arn = answer["Policy"]["Arn"]
    client.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(_document("s3:*")), SetAsDefault=True)
    client.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(_document("ec2:*")))

    (policy,) = _of_type(member, "ManagedPolicy")
    assert policy.arn == arn == f"arn:aws:iam::{member.id}:policy/org/admin"
    assert policy.tags == {"team": "web"}
    assert policy.fact("DefaultVersionId") == "v2"
    (version,) = policy.fact("PolicyVersionList")
    assert version["VersionId"] == "v2"
    assert version["Document"] == _document("s3:*")


def test_the_accounts_settings(member: Any) -> None:
    def fact(name: str, key: str) -> Any:
        (resource,) = _of_type(member, name)
        return resource.fact(key)

    assert fact("AccountSummary", "SummaryMap") == {
        "AccountMFAEnabled": 0,
        "AccountAccessKeysPresent": 0,
        "AccountSigningCertificatesPresent": 0,
    }
    assert fact("AccountPasswordPolicy", "PasswordPolicy") is None
    member.client("iam").update_account_password_policy(MinimumPasswordLength=14)
    assert fact("AccountPasswordPolicy", "PasswordPolicy")["MinimumPasswordLength"] == 14
    (root,) = _of_type(member, "RootUser")
    assert root.arn == f"arn:aws:iam::{member.id}:root"
    # moto's report has no row for root: unknown, not false.
    assert "CredentialReport" not in root.configuration


def _count_calls(monkeypatch: pytest.MonkeyPatch, client: Any, refuse: str = "") -> list[str]:
    calls: list[str] = []
    ask = client._make_api_call

    def counted(operation: str, parameters: Any) -> Any:
        calls.append(operation)
        if operation == refuse:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)
        return ask(operation, parameters)

    monkeypatch.setattr(client, "_make_api_call", counted)
    return calls


def test_one_listing_and_one_report_for_any_number_of_users(member: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = member.client("iam")
    for number in range(120):
        client.create_user(UserName=f"user-{number}")
    calls = _count_calls(monkeypatch, client)
    seen = member.look("iam")
    assert len([r for r in seen.resources if r.resource_type == "AWS::IAM::User"]) == 120
    assert sorted(calls) == [
        "GenerateCredentialReport",
        "GenerateCredentialReport",
        "GetAccountAuthorizationDetails",
        "GetAccountPasswordPolicy",
        "GetAccountSummary",
        "GetCredentialReport",
    ]


@pytest.mark.parametrize("refused", ["GenerateCredentialReport", "GetCredentialReport"])
def test_without_the_report_users_are_there_and_their_credentials_unknown(
    member: Any, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    client = member.client("iam")
    client.create_user(UserName="ann")
    _count_calls(monkeypatch, client, refused)
    seen = member.look("iam")
    assert all(scope.complete for scope in seen.scopes)
    unread = {resource.resource_type: resource.unread for resource in seen.resources if resource.unread}
    assert unread == {"AWS::IAM::User": ("CredentialReport",), "AWS::IAM::RootUser": ("CredentialReport",)}
    assert {f"{refused}: AccessDenied" in failure.reason for failure in seen.failures} == {True}
    assert all("CredentialReport" not in resource.configuration for resource in seen.resources)


class _Iam:
    """Answers with ``states`` one after the other, then with ``REPORT``."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)

    def generate_credential_report(self) -> dict[str, str]:
        return {"State": self.states.pop(0) if len(self.states) > 1 else self.states[0]}

    def get_credential_report(self) -> dict[str, bytes]:
        if self.states[0] != "COMPLETE":
            raise ClientError({"Error": {"Code": "ReportInProgress"}}, "GetCredentialReport")
        return {"Content": REPORT.encode()}


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds waited for a report, without waiting."""
    delays: list[float] = []
    monkeypatch.setattr("time.sleep", delays.append)
    return delays


def test_a_report_in_the_making_is_waited_for(waited: list[float]) -> None:
    assert set(iam.credential_report(_Iam("STARTED", "INPROGRESS", "COMPLETE"))) == {"<root_account>", "ann"}
    assert len(waited) == 2


def test_but_not_for_ever(waited: list[float]) -> None:
    with pytest.raises(ClientError, match="ReportInProgress"):
        iam.credential_report(_Iam("INPROGRESS"))
    assert 30 < sum(waited) <= 60


@pytest.fixture
def report(waited: list[float]) -> iam.Report:
    return iam.credential_report(_Iam("COMPLETE"))


def test_the_row_of_a_user(report: iam.Report) -> None:
    assert iam.user_credentials(report, {"UserName": "ann", "CreateDate": datetime(2020, 1, 1, tzinfo=UTC)}) == {
        "PasswordEnabled": True,
        "PasswordLastUsed": None,
        "PasswordLastChanged": "2020-01-01T00:00:00+00:00",
        "MfaActive": False,
        "AccessKeys": [
            {
                "Number": 1,
                "Active": True,
                "LastRotated": "2020-01-02T00:00:00+00:00",
                "LastUsed": "2024-05-06T07:08:00+00:00",
                "LastUsedService": "s3",
            },
            {
                "Number": 2,
                "Active": False,
                "LastRotated": "2021-01-02T00:00:00+00:00",
                "LastUsed": None,
                "LastUsedService": None,
            },
        ],
    }


def test_the_row_of_root(report: iam.Report) -> None:
    assert iam.root_credentials(report, {}) == {
        "PasswordEnabled": None,
        "PasswordLastUsed": "2024-01-02T03:04:05+00:00",
        "PasswordLastChanged": None,
        "MfaActive": True,
        "AccessKeys": [],
    }


@pytest.mark.parametrize(
    "user",
    [
        {"UserName": "bo", "CreateDate": datetime(2020, 1, 1, tzinfo=UTC)},
        # Deleted and created again after the report was made.
        {"UserName": "ann", "CreateDate": datetime(2024, 6, 1, tzinfo=UTC)},
    ],
)
def test_a_user_younger_than_the_report_is_unknown(report: iam.Report, user: dict[str, Any]) -> None:
    assert iam.user_credentials(report, user) is None
