import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qrie_dagster.times import DAY_MS

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SECOND = timedelta(seconds=1)


def ago(days: int, more: timedelta = timedelta()) -> str:
    return (NOW - timedelta(days=days) - more).isoformat()


def key(number: int = 1, active: bool = True, rotated: str | None = None, used: str | None = None) -> dict[str, Any]:
    return {
        "Number": number,
        "Active": active,
        "LastRotated": rotated,
        "LastUsed": used,
        "LastUsedService": "s3" if used else None,
    }


def credentials(*keys: dict[str, Any], **facts: Any) -> dict[str, Any]:
    report = {
        "PasswordEnabled": False,
        "PasswordLastUsed": None,
        "PasswordLastChanged": None,
        "MfaActive": False,
        "AccessKeys": list(keys),
    }
    return {"CredentialReport": report | facts}


@pytest.mark.parametrize(
    "policy_id",
    ["IAMRootAccountActive", "IAMUserMfaDisabled", "IAMAccessKeyUnused", "IAMAccessKeyNotRotated"],
)
@pytest.mark.parametrize("facts", [{}, {"CredentialReport": None}])
def test_without_the_credential_report_the_answer_is_unknown(judge, policy_id, facts) -> None:
    assert judge(policy_id, facts).status == "unknown"


class TestRoot:
    def judge(self, judge, facts: dict[str, Any]) -> Any:
        return judge("IAMRootAccountActive", facts, now_ms=NOW_MS)

    @pytest.mark.parametrize(
        "facts",
        [
            pytest.param(credentials(PasswordEnabled=None), id="never used"),
            pytest.param(credentials(PasswordEnabled=True, PasswordLastUsed=ago(90)), id="exactly 90 days ago"),
            pytest.param(credentials(PasswordEnabled=True, PasswordLastUsed=ago(800)), id="long ago"),
            pytest.param(credentials(key(active=False, rotated=ago(9), used=ago(1))), id="inactive key"),
            pytest.param(credentials(PasswordEnabled=False, PasswordLastUsed=ago(1)), id="password removed"),
            pytest.param(credentials(key(1, active=False), key(2, active=False)), id="no keys"),
        ],
    )
    def test_at_rest(self, judge, facts) -> None:
        assert self.judge(judge, facts).status == "compliant"

    @pytest.mark.parametrize("enabled", [True, None])
    @pytest.mark.parametrize("last_used", [ago(0), ago(1), ago(90, -SECOND)])
    def test_recent_sign_in(self, judge, enabled, last_used) -> None:
        verdict = self.judge(judge, credentials(PasswordEnabled=enabled, PasswordLastUsed=last_used))
        assert verdict.status == "violation"
        assert verdict.evidence == {"PasswordLastUsed": last_used}

    def test_active_keys_even_if_never_used(self, judge) -> None:
        keys = [key(1, rotated=ago(900)), key(2, rotated=ago(3), used=ago(2))]
        verdict = self.judge(judge, credentials(*keys, PasswordEnabled=None, PasswordLastUsed=ago(200)))
        assert verdict.status == "violation"
        assert verdict.evidence == {
            "ActiveAccessKeys": [
                {"Number": 1, "LastRotated": ago(900), "LastUsed": None},
                {"Number": 2, "LastRotated": ago(3), "LastUsed": ago(2)},
            ]
        }

    def test_both(self, judge) -> None:
        facts = credentials(key(2, rotated=ago(3)), PasswordEnabled=True, PasswordLastUsed=ago(1))
        assert self.judge(judge, facts).evidence.keys() == {"ActiveAccessKeys", "PasswordLastUsed"}


class TestMfa:
    @pytest.mark.parametrize(
        ("password", "mfa", "status"),
        [
            (True, True, "compliant"),
            (True, False, "violation"),
            (False, False, "compliant"),
            (False, True, "compliant"),
            (None, True, "compliant"),
            (False, None, "compliant"),
            (None, False, "unknown"),
            (True, None, "unknown"),
        ],
    )
    def test_a_password_needs_mfa(self, judge, password, mfa, status) -> None:
        verdict = judge("IAMUserMfaDisabled", credentials(PasswordEnabled=password, MfaActive=mfa))
        assert verdict.status == status
        evidence = {"PasswordEnabled": True, "MfaActive": False}
        assert verdict.evidence == (evidence if status == "violation" else {})


class TestUnusedKeys:
    @pytest.mark.parametrize(
        "keys",
        [
            pytest.param([], id="no keys"),
            pytest.param([key(rotated=ago(400), used=ago(1))], id="in use"),
            pytest.param([key(rotated=ago(400), used=ago(90))], id="exactly 90 days"),
            pytest.param([key(rotated=ago(90))], id="never used, exactly 90 days old"),
            pytest.param([key(rotated=ago(3))], id="new"),
            pytest.param([key(active=False, rotated=ago(400))], id="inactive"),
            pytest.param([key(active=False)], id="no such key"),
            pytest.param([key(rotated=ago(-1))], id="created after the scan began"),
        ],
    )
    def test_fine(self, judge, keys) -> None:
        assert judge("IAMAccessKeyUnused", credentials(*keys), now_ms=NOW_MS).status == "compliant"

    @pytest.mark.parametrize(
        ("rotated", "used"),
        [
            (ago(400), ago(90, SECOND)),
            (ago(400), ago(399)),
            (ago(90, SECOND), None),
            (None, ago(91)),
            ("2020-01-01T00:00:00Z", None),
            ("2020-01-01T00:00:00", None),
        ],
    )
    def test_unused(self, judge, rotated, used) -> None:
        facts = credentials(key(1, rotated=ago(400), used=ago(0)), key(2, rotated=rotated, used=used))
        verdict = judge("IAMAccessKeyUnused", facts, now_ms=NOW_MS)
        assert verdict.status == "violation"
        assert verdict.evidence == {"AccessKeys": [{"Number": 2, "LastUsed": used, "LastRotated": rotated}]}

    def test_a_key_without_dates(self, judge) -> None:
        verdict = judge("IAMAccessKeyUnused", credentials(key(2)), now_ms=NOW_MS)
        assert verdict.status == "unknown"
        assert verdict.reason == "the credential report has no date for access key 2"

    def test_one_unused_key_is_enough_whatever_the_other(self, judge) -> None:
        facts = credentials(key(1), key(2, rotated=ago(400)))
        assert judge("IAMAccessKeyUnused", facts, now_ms=NOW_MS).status == "violation"


class TestRotation:
    @pytest.mark.parametrize(
        "keys",
        [
            pytest.param([], id="no keys"),
            pytest.param([key(rotated=ago(90))], id="exactly 90 days"),
            pytest.param([key(active=False, rotated=ago(400))], id="inactive"),
        ],
    )
    def test_fine(self, judge, keys) -> None:
        assert judge("IAMAccessKeyNotRotated", credentials(*keys), now_ms=NOW_MS).status == "compliant"

    def test_old_keys_however_recently_used(self, judge) -> None:
        facts = credentials(key(1, rotated=ago(90, SECOND), used=ago(0)), key(2, rotated=ago(5)))
        verdict = judge("IAMAccessKeyNotRotated", facts, now_ms=NOW_MS)
        assert verdict.status == "violation"
        assert verdict.evidence == {"AccessKeys": [{"Number": 1, "LastRotated": ago(90, SECOND)}]}

    def test_a_key_without_a_date(self, judge) -> None:
        facts = credentials(key(1, used=ago(400)))
        assert judge("IAMAccessKeyNotRotated", facts, now_ms=NOW_MS).status == "unknown"

    @pytest.mark.parametrize("policy_id", ["IAMAccessKeyNotRotated", "IAMAccessKeyUnused"])
    def test_the_passing_of_time_does_not_change_the_evidence(self, judge, policy_id) -> None:
        facts = credentials(key(1, rotated=ago(100)), key(2, rotated=ago(300), used=ago(120)))
        today = judge(policy_id, facts, now_ms=NOW_MS)
        assert today.evidence
        assert judge(policy_id, facts, now_ms=NOW_MS + 7 * DAY_MS) == today


def managed(*statements: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """A customer managed policy whose default version, v2, has these Allow statements."""
    allow = [{"Effect": "Allow", **statement} for statement in statements]
    return {
        "PolicyName": "p",
        "DefaultVersionId": "v2",
        "AttachmentCount": 1,
        "PermissionsBoundaryUsageCount": 0,
        "PolicyVersionList": [
            {"VersionId": "v1", "IsDefaultVersion": False, "Document": {"Statement": []}},
            {"VersionId": "v2", "IsDefaultVersion": True, "Document": {"Statement": allow}},
        ],
        **facts,
    }


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Action": action, "Resource": resource, **more}


class TestPermissivePolicies:
    @pytest.mark.parametrize(
        ("statement", "allowed"),
        [
            (allow(), ["*"]),
            (allow("*:*"), ["*"]),
            (allow(["s3:GetObject", "*"]), ["*"]),
            (allow("**", ["arn:aws:s3:::b", "*"]), ["*"]),
            (allow("*", "arn:aws:*:*:*:*"), ["*"]),
            (allow("iam:*"), ["iam:*"]),
            (allow("IAM:*"), ["iam:*"]),
            (allow("iam:**"), ["iam:*"]),
            (allow(["sts:*", "s3:Get*", "ec2:*"]), ["ec2:*", "sts:*"]),
            (allow("s3:*", "arn:aws:s3:::*"), ["s3:*"]),
            (allow("iam:*", "arn:aws-us-gov:iam::111122223333:*"), ["iam:*"]),
            (allow("dynamodb:*", "arn:aws:dynamodb:*:*:*"), ["dynamodb:*"]),
            (allow(Condition={}), ["*"]),
            (allow(Condition={"Bool": {"aws:SecureTransport": "true"}}), ["*"]),
            (allow("*", "arn:aws:s3:::*"), ["s3:*"]),
            (allow(["*", "iam:*"]), ["*"]),
            (allow("*", ["arn:aws:s3:::*", "arn:aws:iam::111122223333:*", "arn:aws:sqs:*:*:jobs"]), ["iam:*", "s3:*"]),
            (
                {"NotAction": ["organizations:*", "iam:*"], "Resource": "*"},
                ["all but iam:*, organizations:*"],
            ),
            ({"NotAction": "iam:CreateUser", "Resource": ["*"]}, ["all but iam:CreateUser"]),
            ({"Action": "*", "NotResource": "arn:aws:s3:::secret/*"}, ["*"]),
            ({"Action": "iam:*", "NotResource": ["arn:aws:iam::111122223333:role/admin"]}, ["iam:*"]),
        ],
        ids=json.dumps,
    )
    def test_too_wide(self, judge, statement, allowed) -> None:
        verdict = judge("IAMPolicyOverlyPermissive", managed(statement))
        assert verdict.status == "violation"
        shown = {name: statement[name] for name in ("Resource", "NotResource", "Condition") if name in statement}
        assert verdict.evidence == {"VersionId": "v2", "Statements": [{"Allows": allowed, **shown}]}

    @pytest.mark.parametrize(
        "statement",
        [
            allow("s3:GetObject"),
            allow("s3:Get*"),
            allow("iam:?etUser"),
            allow(["ec2:Describe*", "iam:PassRole"]),
            allow("s3:*", ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]),
            allow("*", ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]),
            allow("*", ["arn:aws:*:eu-west-1:*:*", "not-an-arn"]),
            allow("iam:*", "arn:aws:iam::111122223333:user/${aws:username}"),
            allow("iam:*", "arn:aws:iam::444455556666:*"),
            allow("ec2:*", "arn:aws:ec2:eu-west-1:*:*"),
            allow("iam:*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}),
            {"NotAction": "iam:*", "Resource": "*", "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}},
            {"NotAction": "iam:*", "Resource": "arn:aws:s3:::b"},
            {"NotAction": ["iam:*", "*"], "Resource": "*"},
            {"Action": "*", "NotResource": "*"},
            {"Action": "s3:*", "NotResource": ["arn:aws:s3:::*"]},
            {"Action": "s3:GetObject", "NotResource": "arn:aws:s3:::secret/*"},
            {"Effect": "Deny", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"},
        ],
        ids=json.dumps,
    )
    def test_narrow_enough(self, judge, statement) -> None:
        assert judge("IAMPolicyOverlyPermissive", managed(statement)).status == "compliant"

    def test_only_the_wide_statements_are_named(self, judge) -> None:
        facts = managed(allow("s3:GetObject", Sid="Read"), allow("kms:*", Sid="Keys"), allow(Sid="All"))
        assert judge("IAMPolicyOverlyPermissive", facts).evidence["Statements"] == [
            {"Allows": ["kms:*"], "Sid": "Keys", "Resource": "*"},
            {"Allows": ["*"], "Sid": "All", "Resource": "*"},
        ]

    def test_a_deny_beside_it_is_not_subtracted(self, judge) -> None:
        facts = managed(allow(), {"Effect": "Deny", "Action": "iam:*", "Resource": "*"})
        assert judge("IAMPolicyOverlyPermissive", facts).status == "violation"

    def test_only_the_default_version_counts(self, judge) -> None:
        wide = {"Statement": [{"Effect": "Allow", **allow()}]}
        facts = managed(allow("s3:GetObject"))
        facts["PolicyVersionList"][0]["Document"] = wide
        assert judge("IAMPolicyOverlyPermissive", facts).status == "compliant"
        facts["DefaultVersionId"] = "v1"
        assert judge("IAMPolicyOverlyPermissive", facts).evidence["VersionId"] == "v1"

    @pytest.mark.parametrize("encode", [dict, json.dumps])
    def test_documents_may_be_decoded_or_text_and_hold_one_statement(self, judge, encode) -> None:
        facts = managed()
        facts["PolicyVersionList"][1]["Document"] = encode({"Statement": {"Effect": "Allow", **allow()}})
        assert judge("IAMPolicyOverlyPermissive", facts).status == "violation"

    @pytest.mark.parametrize(
        ("attached", "boundaries", "status"),
        [(0, 0, "violation"), (1, 1, "violation"), (None, 1, "violation"), (0, 1, "compliant")],
    )
    def test_only_a_permissions_boundary_grants_nothing(self, judge, attached, boundaries, status) -> None:
        facts = managed(allow(), AttachmentCount=attached, PermissionsBoundaryUsageCount=boundaries)
        assert judge("IAMPolicyOverlyPermissive", facts).status == status

    @pytest.mark.parametrize(
        "facts",
        [
            {"DefaultVersionId": "v1"},
            managed(PolicyVersionList=[]),
            managed(PolicyVersionList=[{"VersionId": "v2"}]),
            managed(PolicyVersionList=[{"VersionId": "v2", "Document": "%7B"}]),
            managed(DefaultVersionId="v9"),
        ],
    )
    def test_unknown_without_a_readable_default_version(self, judge, facts) -> None:
        assert judge("IAMPolicyOverlyPermissive", facts).status == "unknown"
