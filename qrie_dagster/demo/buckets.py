"""The buckets of an emulated account."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from qrie_dagster.demo.access import Entered
from qrie_dagster.models import Account

BLOCK_ALL = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
BLOCK_NOTHING = dict.fromkeys(BLOCK_ALL, False)
BLOCK_ACLS = {**BLOCK_NOTHING, "BlockPublicAcls": True, "IgnorePublicAcls": True}

# Accounts that block public access for all their buckets.
BLOCKED_ACCOUNTS = {"payments-prod", "security-audit"}


@dataclass(frozen=True)
class Plan:
    """What one bucket is for, and how well it is kept. ``block`` None means: never configured."""

    purpose: str
    versioning: str | None = "Enabled"
    encryption: str | None = "AES256"
    acl: str = "private"
    policy: str | None = None
    block: Mapping[str, bool] | None = field(default_factory=lambda: BLOCK_ALL)
    tags: Mapping[str, str] = field(default_factory=dict)


# In every account but the nearly empty one.
ALWAYS = (
    Plan("logs", tags={"team": "platform", "retention": "400 days"}),
    Plan("website", policy="public", block=None, encryption=None, tags={"contents": "öffentliche Bilder 🖼"}),
)

SOMETIMES = (
    Plan("backups", encryption="aws:kms"),
    Plan("terraform-state", encryption="aws:kms", tags={"managed-by": "terraform"}),
    Plan("uploads", versioning=None),
    Plan("exports", versioning="Suspended", encryption=None),
    Plan("reports", tags={"comment": "<script>alert(1)</script>"}),
    # Open in itself, but stopped.
    Plan("shared-old", acl="public-read", block=BLOCK_ACLS),
    Plan("press-kit", policy="public", versioning=None),
    # Open, by ACL and by policy.
    Plan("downloads", acl="public-read", block=BLOCK_NOTHING, versioning=None, encryption=None),
    Plan("partners-drop", acl="authenticated-read", block=None),
    Plan("fonts", policy="public", block=BLOCK_ACLS, versioning=None),
    # A policy that looks open and is not.
    Plan("org-artifacts", policy="organisation", block=None),
    Plan("cdn-origin", policy="tls-only", tags={"größe": "groß", "团队": "网络"}),
    Plan("tmp", versioning=None, encryption=None, block=None),
    Plan("ml-features", encryption="aws:kms", tags={"cost-centre": "4711"}),
)


def fill(entered: Entered, account: Account, size: int, chance: Random) -> None:
    """Create buckets: two in an account of size 0."""
    s3 = entered.client("s3")
    plans = [*ALWAYS, *chance.sample(SOMETIMES, 4 * size)]
    for plan in plans:
        create(s3, f"{_slug(account.name)}-{plan.purpose}-{account.account_id[-4:]}", plan)
    if account.name in BLOCKED_ACCOUNTS:
        entered.client("s3control").put_public_access_block(
            AccountId=account.account_id, PublicAccessBlockConfiguration=BLOCK_ALL
        )


def _slug(name: str) -> str:
    return name.replace("ë", "e")


def create(s3: Any, name: str, plan: Plan) -> None:
    """Create one bucket according to plan."""
    s3.create_bucket(Bucket=name)
    if plan.acl != "private":
        s3.put_bucket_acl(Bucket=name, ACL=plan.acl)
    if plan.versioning:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": plan.versioning})
    if plan.encryption:
        default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": plan.encryption}}
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [default]})
    if plan.policy:
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document(name, plan.policy)))
    if plan.block is not None:
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=plan.block)
    if plan.tags:
        tags = [{"Key": key, "Value": value} for key, value in plan.tags.items()]
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})


def document(bucket: str, kind: str) -> dict[str, Any]:
    """A bucket policy: ``public``, for the ``organisation`` only, or ``tls-only`` (which only denies)."""
    statement: dict[str, Any] = {
        "Sid": kind.replace("-", ""),
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    if kind == "organisation":
        statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": "o-halden0001"}}
    if kind == "tls-only":
        statement["Effect"] = "Deny"
        statement["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
    return {"Version": "2012-10-17", "Statement": [statement]}
