import json
from typing import Any

import pytest

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"

ACCOUNT_BLOCK = "AWS::S3::AccountPublicAccessBlock"
NO_ACCOUNT_BLOCK = {ACCOUNT_BLOCK: {"PublicAccessBlock": None}}

BLOCK_ON = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
BLOCK_OFF = dict.fromkeys(BLOCK_ON, False)


def acl(*grants: tuple[str, str]) -> dict[str, Any]:
    owner = {"ID": "abc"}
    own = {"Grantee": {"Type": "CanonicalUser", **owner}, "Permission": "FULL_CONTROL"}
    public = [{"Grantee": {"Type": "Group", "URI": uri}, "Permission": name} for uri, name in grants]
    return {"Owner": owner, "Grants": [own, *public]}


def document(**statement: Any) -> str:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*", **statement}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def bucket(**facts: Any) -> dict[str, Any]:
    """A private bucket without any block, changed as given; ``...`` takes a fact away."""
    private = {"PublicAccessBlock": None, "PolicyStatus": None, "Policy": None, "Acl": acl()}
    return {key: value for key, value in {**private, **facts}.items() if value is not ...}


PUBLIC_POLICY = {"PolicyStatus": {"IsPublic": True}, "Policy": document(Sid="Site")}
PUBLIC_ACL = {"Acl": acl((ALL_USERS, "READ"))}
SITE = {
    "IsPublic": True,
    "Statements": [{"Sid": "Site", "Principal": "*", "Action": "s3:GetObject"}],
}
READ_BY_ALL = [{"Grantee": "AllUsers", "Permission": "READ"}]


class TestBucketPublic:
    @pytest.mark.parametrize(
        ("facts", "found"),
        [
            pytest.param(PUBLIC_POLICY, {"BucketPolicy": SITE}, id="policy"),
            pytest.param(PUBLIC_ACL, {"AclGrants": READ_BY_ALL}, id="acl"),
            pytest.param(PUBLIC_POLICY | PUBLIC_ACL, {"BucketPolicy": SITE, "AclGrants": READ_BY_ALL}, id="both"),
            pytest.param(
                {"Acl": acl((AUTHENTICATED, "WRITE"))},
                {"AclGrants": [{"Grantee": "AuthenticatedUsers", "Permission": "WRITE"}]},
                id="anyone with an AWS account",
            ),
            pytest.param(
                {"Acl": acl((AUTHENTICATED, "READ"), (ALL_USERS, "WRITE"), (ALL_USERS, "READ"))},
                {
                    "AclGrants": [
                        {"Grantee": "AllUsers", "Permission": "READ"},
                        {"Grantee": "AllUsers", "Permission": "WRITE"},
                        {"Grantee": "AuthenticatedUsers", "Permission": "READ"},
                    ]
                },
                id="grants in any order",
            ),
            pytest.param(
                PUBLIC_ACL | {"PolicyStatus": ..., "Policy": ...},
                {"AclGrants": READ_BY_ALL},
                id="acl, policy unknown",
            ),
            pytest.param(PUBLIC_POLICY | {"Acl": ...}, {"BucketPolicy": SITE}, id="policy, acl unknown"),
            pytest.param(
                {"PolicyStatus": {"IsPublic": True}, "Policy": ...},
                {"BucketPolicy": {"IsPublic": True, "Statements": []}},
                id="AWS says public, document unknown",
            ),
            pytest.param(
                {"PolicyStatus": {"IsPublic": True}, "Policy": "{"},
                {"BucketPolicy": {"IsPublic": True, "Statements": []}},
                id="AWS says public, document damaged",
            ),
            pytest.param(
                {"PolicyStatus": ..., "Policy": document(Sid="Site")},
                {"BucketPolicy": SITE},
                id="document alone",
            ),
        ],
    )
    def test_open(self, judge, facts, found) -> None:
        verdict = judge("S3BucketPublic", bucket(**facts), NO_ACCOUNT_BLOCK)
        assert verdict.status == "violation"
        assert verdict.evidence == {**found, "PublicAccessBlock": None, "AccountPublicAccessBlock": None}

    def test_a_block_that_is_off_is_shown(self, judge) -> None:
        facts = bucket(**PUBLIC_ACL, PublicAccessBlock=BLOCK_OFF)
        verdict = judge("S3BucketPublic", facts, {ACCOUNT_BLOCK: {"PublicAccessBlock": BLOCK_OFF}})
        assert verdict.evidence["PublicAccessBlock"] == BLOCK_OFF
        assert verdict.evidence["AccountPublicAccessBlock"] == BLOCK_OFF

    @pytest.mark.parametrize("setting", ["BlockPublicAcls", "BlockPublicPolicy"])
    def test_blocking_new_grants_does_not_stop_those_there_are(self, judge, setting) -> None:
        facts = bucket(**PUBLIC_POLICY, **PUBLIC_ACL, PublicAccessBlock=BLOCK_OFF | {setting: True})
        verdict = judge("S3BucketPublic", facts, NO_ACCOUNT_BLOCK)
        assert {"BucketPolicy", "AclGrants"} <= verdict.evidence.keys()

    @pytest.mark.parametrize(
        ("setting", "still_open"),
        [("RestrictPublicBuckets", "AclGrants"), ("IgnorePublicAcls", "BucketPolicy")],
    )
    @pytest.mark.parametrize("where", ["bucket", "account"])
    def test_each_setting_closes_one_way(self, judge, setting, still_open, where) -> None:
        block = BLOCK_OFF | {setting: True}
        facts = bucket(**PUBLIC_POLICY, **PUBLIC_ACL, PublicAccessBlock=block if where == "bucket" else None)
        account = {ACCOUNT_BLOCK: {"PublicAccessBlock": block if where == "account" else None}}
        verdict = judge("S3BucketPublic", facts, account)
        assert {"BucketPolicy", "AclGrants"} & verdict.evidence.keys() == {still_open}

    @pytest.mark.parametrize(
        ("facts", "account"),
        [
            pytest.param({}, NO_ACCOUNT_BLOCK, id="no block, nothing granted"),
            pytest.param({}, {}, id="nothing granted, account block unknown"),
            pytest.param({"PublicAccessBlock": ...}, {}, id="nothing granted, no block known"),
            pytest.param({"PolicyStatus": ...}, NO_ACCOUNT_BLOCK, id="no policy, status unknown"),
            pytest.param({"Acl": acl((LOG_DELIVERY, "WRITE"))}, NO_ACCOUNT_BLOCK, id="log delivery"),
            pytest.param({"Acl": {"Owner": {}, "Grants": None}}, NO_ACCOUNT_BLOCK, id="empty acl"),
            pytest.param(
                {"PolicyStatus": {"IsPublic": False}, "Policy": document()},
                NO_ACCOUNT_BLOCK,
                id="AWS's verdict counts more than the document",
            ),
            pytest.param(PUBLIC_POLICY | PUBLIC_ACL | {"PublicAccessBlock": BLOCK_ON}, {}, id="bucket block"),
            pytest.param(
                PUBLIC_POLICY | PUBLIC_ACL | {"PublicAccessBlock": ...},
                {ACCOUNT_BLOCK: {"PublicAccessBlock": BLOCK_ON}},
                id="account block, bucket block unknown",
            ),
            pytest.param(
                {"PublicAccessBlock": BLOCK_ON, "Acl": ..., "Policy": ..., "PolicyStatus": ...},
                {},
                id="bucket block, all else unknown",
            ),
            pytest.param(
                PUBLIC_POLICY | PUBLIC_ACL | {"PublicAccessBlock": {"IgnorePublicAcls": True}},
                {ACCOUNT_BLOCK: {"PublicAccessBlock": {"RestrictPublicBuckets": True}}},
                id="one way closed by each block",
            ),
        ],
    )
    def test_private(self, judge, facts, account) -> None:
        assert judge("S3BucketPublic", bucket(**facts), account).status == "compliant"

    @pytest.mark.parametrize(
        ("facts", "account", "reason"),
        [
            ({"Acl": ...}, NO_ACCOUNT_BLOCK, "Acl of"),
            ({"PolicyStatus": ..., "Policy": ...}, NO_ACCOUNT_BLOCK, "Policy of"),
            ({"PolicyStatus": {}, "Policy": ...}, NO_ACCOUNT_BLOCK, "Policy of"),
            ({"PolicyStatus": ..., "Policy": "not json"}, NO_ACCOUNT_BLOCK, "not JSON"),
            ({"PolicyStatus": ..., "Policy": "[]"}, NO_ACCOUNT_BLOCK, "not a JSON object"),
            (PUBLIC_POLICY, {}, "AccountPublicAccessBlock is not in the inventory"),
            (PUBLIC_POLICY, {ACCOUNT_BLOCK: {}}, "PublicAccessBlock of"),
            (PUBLIC_ACL | {"PublicAccessBlock": ...}, NO_ACCOUNT_BLOCK, "PublicAccessBlock of"),
        ],
    )
    def test_unknown(self, judge, facts, account, reason) -> None:
        verdict = judge("S3BucketPublic", bucket(**facts), account)
        assert verdict.status == "unknown"
        assert reason in verdict.reason
        assert not verdict.evidence


ORG = "o-a1b2c3d4e5"
ROLE = "arn:aws:iam::111122223333:role/app"


class TestMeaningOfPublic:
    """The rules for when AWS's own verdict could not be read."""

    def status(self, judge, policy: str) -> str:
        return judge("S3BucketPublic", bucket(PolicyStatus=..., Policy=policy), NO_ACCOUNT_BLOCK).status

    @pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": [ROLE, "*"]}, {"CanonicalUser": "*"}])
    def test_principals_that_are_everyone(self, judge, principal) -> None:
        assert self.status(judge, document(Principal=principal)) == "violation"

    @pytest.mark.parametrize(
        "principal",
        [
            {"AWS": ROLE},
            {"AWS": ["111122223333", ROLE]},
            {"Service": "cloudfront.amazonaws.com"},
            {"CanonicalUser": "79a59df900b949e5"},
        ],
    )
    def test_principals_that_are_somebody(self, judge, principal) -> None:
        assert self.status(judge, document(Principal=principal)) == "compliant"

    def test_everyone_but_somebody_is_everyone(self, judge) -> None:
        statement = {"Effect": "Allow", "NotPrincipal": {"AWS": ROLE}, "Action": "s3:*", "Resource": "*"}
        verdict = judge(
            "S3BucketPublic",
            bucket(PolicyStatus=..., Policy=json.dumps({"Statement": statement})),
            NO_ACCOUNT_BLOCK,
        )
        shown = {"NotPrincipal": {"AWS": ROLE}, "Action": "s3:*"}
        assert verdict.evidence["BucketPolicy"] == {"IsPublic": True, "Statements": [shown]}

    def test_only_allow_counts(self, judge) -> None:
        assert self.status(judge, document(Effect="Deny", Action="s3:*")) == "compliant"

    @pytest.mark.parametrize("empty", [{}, {"Statement": []}])
    def test_a_document_without_statements(self, judge, empty) -> None:
        assert self.status(judge, json.dumps(empty)) == "compliant"

    def test_one_public_statement_among_others_is_named(self, judge) -> None:
        private = {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "s3:*"}
        public = {"Sid": "Open", "Effect": "Allow", "Principal": {"AWS": "*"}, "NotAction": "s3:Put*"}
        policy = json.dumps({"Statement": [private, public]})
        verdict = judge("S3BucketPublic", bucket(PolicyStatus=..., Policy=policy), NO_ACCOUNT_BLOCK)
        shown = {"Sid": "Open", "Principal": {"AWS": "*"}, "NotAction": "s3:Put*"}
        assert verdict.evidence["BucketPolicy"]["Statements"] == [shown]

    @pytest.mark.parametrize(
        "condition",
        [
            {"StringEquals": {"aws:SourceVpc": "vpc-91237329"}},
            {"StringEquals": {"aws:SourceVpce": ["vpce-1", "vpce-2"]}},
            {"StringEquals": {"aws:PrincipalOrgID": ORG}},
            {"StringEquals": {"AWS:principalorgid": [ORG]}},
            {"StringEqualsIgnoreCase": {"aws:SourceAccount": "111122223333"}},
            {"StringLike": {"aws:SourceOwner": "111122223333"}},
            {"StringEquals": {"aws:PrincipalAccount": "111122223333"}},
            {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": f"{ORG}/r-ab12/*"}},
            {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:111122223333:*"}},
            {"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::source"}},
            {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/*"}},
            {"StringLike": {"s3:DataAccessPointArn": "arn:aws:s3:us-west-2:123456789012:accesspoint/*"}},
            {"StringEquals": {"s3:DataAccessPointAccount": "123456789012"}},
            {"StringEquals": {"aws:SourceAccount": 111122223333}},
            {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
            {"IpAddress": {"aws:SourceIp": ["203.0.113.7", "10.0.0.0/8", "2001:db8::/32"]}},
            {"Bool": {"aws:SecureTransport": "true"}, "StringEquals": {"aws:SourceVpc": "vpc-1"}},
        ],
        ids=json.dumps,
    )
    def test_conditions_that_keep_strangers_out(self, judge, condition) -> None:
        assert self.status(judge, document(Condition=condition)) == "compliant"

    @pytest.mark.parametrize(
        "condition",
        [
            {"StringLike": {"aws:SourceVpc": "vpc-*"}},
            {"StringLike": {"aws:SourceVpce": ["vpce-1", "*"]}},
            {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}},
            {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}},
            {"ForAllValues:StringEquals": {"aws:PrincipalOrgID": ORG}},
            {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-*/r-ab12/*"}},
            {"StringEquals": {"aws:PrincipalAccount": "${aws:SourceAccount}"}},
            {"StringEquals": {"aws:SourceVpc": []}},
            {"StringLike": {"aws:userid": "AROAEXAMPLE:*"}},
            {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:topic"}},
            {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::source-*"}},
            {"ArnLike": {"aws:PrincipalArn": "*"}},
            {"ArnLike": {"aws:SourceArn": "arn:aws:s3:${aws:SourceAccount}:*:x"}},
            {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}},
            {"IpAddress": {"aws:SourceIp": ["0.0.0.0/1", "128.0.0.0/1"]}},
            {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "::/0"]}},
            {"IpAddress": {"aws:SourceIp": "2000::/3"}},
            {"IpAddress": {"aws:SourceIp": "office"}},
            {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
            {"StringLike": {"aws:Referer": "https://example.com/*"}},
            {"StringEquals": {"aws:UserAgent": "secret"}},
            {"Bool": {"aws:SecureTransport": "true"}},
            {"Null": {"aws:SourceVpc": "false"}},
            {},
        ],
        ids=json.dumps,
    )
    def test_conditions_that_do_not(self, judge, condition) -> None:
        assert self.status(judge, document(Condition=condition)) == "violation"


class TestVersioning:
    def test_enabled(self, judge) -> None:
        facts = {"Versioning": {"Status": "Enabled", "MFADelete": None}}
        assert judge("S3BucketVersioningDisabled", facts).status == "compliant"

    @pytest.mark.parametrize(
        ("versioning", "status"),
        [
            ({"Status": "Suspended", "MFADelete": "Disabled"}, "Suspended"),
            ({"Status": None}, None),
            (None, None),
        ],
    )
    def test_off_or_suspended(self, judge, versioning, status) -> None:
        verdict = judge("S3BucketVersioningDisabled", {"Versioning": versioning})
        assert verdict.status == "violation"
        assert verdict.evidence == {"VersioningStatus": status}


class TestMfaDelete:
    def test_enabled(self, judge) -> None:
        facts = {"Versioning": {"Status": "Enabled", "MFADelete": "Enabled"}}
        assert judge("S3BucketMfaDeleteDisabled", facts).status == "compliant"

    @pytest.mark.parametrize(
        ("versioning", "evidence"),
        [
            (
                {"Status": "Enabled", "MFADelete": "Disabled"},
                {"MFADelete": "Disabled", "VersioningStatus": "Enabled"},
            ),
            ({"Status": "Enabled", "MFADelete": None}, {"MFADelete": None, "VersioningStatus": "Enabled"}),
            ({"Status": None, "MFADelete": None}, {"MFADelete": None, "VersioningStatus": None}),
            (None, {"MFADelete": None, "VersioningStatus": None}),
        ],
    )
    def test_off(self, judge, versioning, evidence) -> None:
        verdict = judge("S3BucketMfaDeleteDisabled", {"Versioning": versioning})
        assert verdict.status == "violation"
        assert verdict.evidence == evidence


class TestEncryption:
    @pytest.mark.parametrize("algorithm", ["AES256", "aws:kms", "aws:kms:dsse"])
    def test_any_algorithm_will_do(self, judge, algorithm) -> None:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}, "BucketKeyEnabled": False}
        assert judge("S3BucketEncryptionDisabled", {"Encryption": [rule]}).status == "compliant"

    @pytest.mark.parametrize("rules", [None, [], [{"BucketKeyEnabled": True}]])
    def test_off(self, judge, rules) -> None:
        verdict = judge("S3BucketEncryptionDisabled", {"Encryption": rules})
        assert verdict.status == "violation"
        assert verdict.evidence == {"EncryptionRules": rules}
