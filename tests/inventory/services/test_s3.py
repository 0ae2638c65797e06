"""S3 as collected from a moto server."""

import json
from typing import Any

import pytest

BLOCK = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}
EVERYONE = "http://acs.amazonaws.com/groups/global/AllUsers"


def _policy(bucket: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _bucket(member: Any, name: str = "plain") -> Any:
    return member.resources("s3")[f"arn:aws:s3:::{name}-{member.id}"]


def test_nothing_configured_is_data(member: Any) -> None:
    member.client("s3").create_bucket(Bucket=f"plain-{member.id}")
    bucket = _bucket(member)
    assert bucket.resource_type == "AWS::S3::Bucket"
    assert bucket.account_id == member.id
    assert bucket.region == "us-east-1"
    assert bucket.unread == ()
    assert bucket.tags == {}
    assert bucket.fact("Versioning") == {"Status": None, "MFADelete": None}
    for key in ("Encryption", "PublicAccessBlock", "Policy", "PolicyStatus"):
        assert bucket.fact(key) is None
    assert [grant["Permission"] for grant in bucket.fact("Acl")["Grants"]] == ["FULL_CONTROL"]


def test_everything_configured_is_read(member: Any) -> None:
    s3, name = member.client("s3"), f"plain-{member.id}"
    s3.create_bucket(Bucket=name, ACL="public-read")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(_policy(name)))
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "team", "Value": "web"}]})
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=BLOCK)

    bucket = _bucket(member)
    assert bucket.tags == {"team": "web"}
    assert bucket.fact("Versioning")["Status"] == "Suspended"
    assert bucket.fact("Encryption")[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert bucket.fact("PublicAccessBlock") == BLOCK
    assert json.loads(bucket.fact("Policy")) == _policy(name)
    assert bucket.fact("PolicyStatus") == {"IsPublic": True}
    assert EVERYONE in [grant["Grantee"].get("URI") for grant in bucket.fact("Acl")["Grants"]]


def test_buckets_of_other_regions_are_asked_there(member: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"plain-{member.id}"
    europe = member.client("s3", "eu-west-1")
    europe.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    home = member.client("s3")
    asked, ask = [], home._make_api_call

    def with_region(operation: str, parameters: Any) -> Any:
        asked.append(operation)
        answer = ask(operation, parameters)
        # AWS names the region of each bucket when asked for pages; moto does not.
        for bucket in answer.get("Buckets", ()):
            bucket["BucketRegion"] = "eu-west-1"
        return answer

    monkeypatch.setattr(home, "_make_api_call", with_region)
    bucket = _bucket(member)
    assert bucket.region == "eu-west-1"
    assert bucket.fact("Policy") is None
    assert set(asked) == {"ListBuckets"}


def test_the_accounts_own_block(member: Any) -> None:
    arn = f"arn:aws:s3::{member.id}:account-public-access-block"
    assert member.resources("s3")[arn].fact("PublicAccessBlock") is None
    member.client("s3control").put_public_access_block(AccountId=member.id, PublicAccessBlockConfiguration=BLOCK)
    assert member.resources("s3")[arn].fact("PublicAccessBlock") == BLOCK


def test_a_bucket_that_vanishes_meanwhile_is_no_failure(member: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = member.client("s3")
    for name in ("plain", "brief"):
        s3.create_bucket(Bucket=f"{name}-{member.id}")
    list_buckets = s3._make_api_call

    def delete_after_listing(operation: str, parameters: Any) -> Any:
        answer = list_buckets(operation, parameters)
        if operation == "ListBuckets":
            list_buckets("DeleteBucket", {"Bucket": f"brief-{member.id}"})
        return answer

    monkeypatch.setattr(s3, "_make_api_call", delete_after_listing)
    seen = member.look("s3")
    assert not seen.failures
    assert f"arn:aws:s3:::brief-{member.id}" not in {resource.arn for resource in seen.resources}
    assert len(seen.resources) == 2
