"""Policies on S3 buckets."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from qrie_dagster.models import Resource, UnknownFactError
from qrie_dagster.policies.document import Statement, allow_statements, as_list
from qrie_dagster.policies.policy import (
    COMPLIANT,
    Category,
    Surroundings,
    Verdict,
    policy,
    unknown,
    violation,
)

BUCKET = "AWS::S3::Bucket"
ACCOUNT_BLOCK = "AWS::S3::AccountPublicAccessBlock"

# Everyone, and everyone with any AWS account, which anyone can open.
PUBLIC_GROUPS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": "AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": "AuthenticatedUsers",
}


@policy(
    id="S3BucketPublic",
    resource_type=BUCKET,
    severity=90,
    category=Category.ACCESS_CONTROL,
    description=(
        "The bucket policy or the bucket's ACL grants access to everyone, and neither the bucket's nor the "
        "account's public access block stops it: anyone on the internet can use what is granted. A missing "
        "public access block alone is not reported."
    ),
    remediation=(
        "Block public access: aws s3api put-public-access-block --bucket NAME "
        "--public-access-block-configuration "
        "BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true. Then "
        "remove the public statements from the bucket policy and the public grants from the ACL. If the "
        "content is meant for the public, serve it through CloudFront with origin access control."
    ),
    controls=("FSBP S3.2", "FSBP S3.3"),
)
def bucket_public(bucket: Resource, surroundings: Surroundings) -> Verdict:
    """Two ways lead in, the policy and the ACL, and each has its own setting that closes it."""
    evidence: dict[str, Any] = {}
    missing = []
    ways: tuple[tuple[str, Callable[[Resource], Any], str], ...] = (
        ("BucketPolicy", _public_policy, "RestrictPublicBuckets"),
        ("AclGrants", _public_grants, "IgnorePublicAcls"),
    )
    for way, find_grants, setting in ways:
        try:
            grants = _open_grants(bucket, surroundings, find_grants, setting)
        except UnknownFactError as error:
            missing.append(str(error))
        else:
            if grants:
                evidence[way] = grants
    if evidence:
        return violation(
            **evidence,
            PublicAccessBlock=bucket.fact("PublicAccessBlock"),
            AccountPublicAccessBlock=surroundings.only(ACCOUNT_BLOCK).fact("PublicAccessBlock"),
        )
    return unknown("; ".join(missing)) if missing else COMPLIANT


def _open_grants(
    bucket: Resource, surroundings: Surroundings, find_grants: Callable[[Resource], Any], setting: str
) -> Any:
    """The public grants that no block stops, or None.

    Raises UnknownFactError only when the answer depends on what is not known: with the block on, the grants
    do not matter, and without grants, the block does not.
    """
    try:
        grants = find_grants(bucket)
    except UnknownFactError:
        if _is_blocked(bucket, surroundings, setting):
            return None
        raise
    if not grants or _is_blocked(bucket, surroundings, setting):
        return None
    return grants


def _is_blocked(bucket: Resource, surroundings: Surroundings, setting: str) -> bool:
    """Whether the bucket's or the account's public access block has ``setting`` on: one of them suffices."""
    if (bucket.configuration.get("PublicAccessBlock") or {}).get(setting):
        return True
    if (surroundings.only(ACCOUNT_BLOCK).fact("PublicAccessBlock") or {}).get(setting):
        return True
    # To say no, the bucket's own block must be known too.
    bucket.fact("PublicAccessBlock")
    return False


def _public_grants(bucket: Resource) -> list[dict[str, str]]:
    acl = bucket.fact("Acl") or {}
    grants = [
        {"Grantee": PUBLIC_GROUPS[grant["Grantee"]["URI"]], "Permission": grant["Permission"]}
        for grant in acl.get("Grants") or ()
        if grant["Grantee"].get("URI") in PUBLIC_GROUPS
    ]
    return sorted(grants, key=lambda grant: (grant["Grantee"], grant["Permission"]))


def _public_policy(bucket: Resource) -> dict[str, Any] | None:
    """What makes the bucket policy public, or None. Where AWS's own verdict could be read, it counts."""
    status = bucket.configuration.get("PolicyStatus", {})
    # None: there is no policy.
    is_public = False if status is None else status.get("IsPublic")
    if is_public is False:
        return None
    try:
        statements = _public_statements(bucket)
    except UnknownFactError:
        if not is_public:
            raise
        statements = []
    return {"IsPublic": True, "Statements": statements} if is_public or statements else None


def _public_statements(bucket: Resource) -> list[dict[str, Any]]:
    shown = ("Sid", "Principal", "NotPrincipal", "Action", "NotAction", "Condition")
    return [
        {key: statement[key] for key in shown if key in statement}
        for statement in allow_statements(bucket.fact("Policy") or {})
        if _is_public(statement)
    ]


# What follows is "The meaning of public" in the Amazon S3 User Guide: an Allow is public unless its
# principals, or one of its conditions, admit fixed values only. Deny statements are not subtracted.

FIXED_KEYS = frozenset(
    {
        "aws:principalaccount",
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
    }
)
FIXED_ARN_KEYS = frozenset({"aws:principalarn", "aws:sourcearn", "s3:dataaccesspointarn"})

# Operators that ask for a match. Those with IfExists or ForAllValues also pass requests without the key.
MATCHING = frozenset({"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"})

# Ranges broader than these are public, by IP version.
SHORTEST_PREFIX = {4: 8, 6: 32}


def _is_public(statement: Statement) -> bool:
    return _admits_everyone(statement) and not any(
        _narrows(operator.lower().removeprefix("foranyvalue:"), key.lower(), as_list(values))
        for operator, keys in (statement.get("Condition") or {}).items()
        for key, values in keys.items()
    )


def _admits_everyone(statement: Statement) -> bool:
    # Everyone but those named is still everyone.
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    groups = principal.values() if isinstance(principal, dict) else [principal]
    return any("*" in name for group in groups for name in as_list(group))


def _narrows(operator: str, key: str, values: list[str]) -> bool:
    """Whether a condition keeps strangers out: it must, for each of the values it accepts."""
    if key == "aws:sourceip":
        is_fixed = _is_narrow_range
    elif key in FIXED_ARN_KEYS:
        is_fixed = _is_fixed_arn
    elif key == "aws:principalorgpaths":
        is_fixed = _is_fixed_path
    elif key in FIXED_KEYS:
        is_fixed = _is_fixed
    else:
        return False
    expected = operator == "ipaddress" if key == "aws:sourceip" else operator in MATCHING
    return expected and bool(values) and all(is_fixed(str(value)) for value in values)


def _is_fixed(value: str) -> bool:
    return bool(value) and not any(sign in value for sign in ("*", "?", "${"))


def _is_fixed_arn(value: str) -> bool:
    """An ARN may hold wildcards as long as its account is fixed: strangers cannot get in there."""
    parts = value.split(":", 5)
    return _is_fixed(value) or (len(parts) == 6 and _is_fixed(parts[4]) and "${" not in value)


def _is_fixed_path(value: str) -> bool:
    """An organisation path below a fixed organisation: ``o-a1b2c3/r-ab12/*``."""
    return _is_fixed(value.partition("/")[0])


def _is_narrow_range(value: str) -> bool:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        return False
    return network.prefixlen >= SHORTEST_PREFIX[network.version]


@policy(
    id="S3BucketVersioningDisabled",
    resource_type=BUCKET,
    severity=60,
    category=Category.DATA_PROTECTION,
    description=(
        "Versioning is off or suspended: an object that is overwritten or deleted, by mistake or by an "
        "attacker, cannot be brought back."
    ),
    remediation=(
        "aws s3api put-bucket-versioning --bucket NAME --versioning-configuration Status=Enabled. Add a "
        "lifecycle rule that expires noncurrent versions, to bound the cost."
    ),
    # S3.14 is a Security Hub control, but not part of FSBP.
    controls=("Security Hub S3.14",),
)
def bucket_versioning_disabled(bucket: Resource, _surroundings: Surroundings) -> Verdict:
    """``Status`` is ``Enabled``, ``Suspended``, or null when versioning was never turned on."""
    status = (bucket.fact("Versioning") or {}).get("Status")
    return COMPLIANT if status == "Enabled" else violation(VersioningStatus=status)


@policy(
    id="S3BucketEncryptionDisabled",
    resource_type=BUCKET,
    severity=90,
    category=Category.ENCRYPTION,
    description=(
        "The bucket has no default encryption, so objects may be stored unencrypted. Amazon S3 has encrypted "
        "all new objects by default since January 2023; a bucket without it deserves a look."
    ),
    remediation=(
        'aws s3api put-bucket-encryption --bucket NAME --server-side-encryption-configuration \'{"Rules": '
        '[{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": true}]}\' '
        "(or AES256 for keys that S3 manages). Copy older objects onto themselves to encrypt them."
    ),
    controls=(),
)
def bucket_encryption_disabled(bucket: Resource, _surroundings: Surroundings) -> Verdict:
    """Any algorithm will do; which keys to use is another question."""
    rules = bucket.fact("Encryption")
    encrypted = any((rule.get("ApplyServerSideEncryptionByDefault") or {}).get("SSEAlgorithm") for rule in rules or ())
    return COMPLIANT if encrypted else violation(EncryptionRules=rules)


@policy(
    id="S3BucketMfaDeleteDisabled",
    resource_type=BUCKET,
    severity=70,
    category=Category.DATA_PROTECTION,
    description=(
        "MFA delete is off: stolen credentials suffice to delete object versions for good or to suspend versioning."
    ),
    remediation=(
        "As the root user, whom AWS requires for this: aws s3api put-bucket-versioning --bucket NAME "
        "--versioning-configuration Status=Enabled,MFADelete=Enabled --mfa 'MFA_SERIAL CODE'. The bucket "
        "must have no lifecycle configuration."
    ),
    controls=("CIS 3.0 2.1.2", "CIS 5.0 2.1.2", "Security Hub S3.20"),
)
def bucket_mfa_delete_disabled(bucket: Resource, _surroundings: Surroundings) -> Verdict:
    """``MFADelete`` is ``Enabled``, ``Disabled``, or null when it was never set."""
    versioning = bucket.fact("Versioning") or {}
    if versioning.get("MFADelete") == "Enabled":
        return COMPLIANT
    return violation(MFADelete=versioning.get("MFADelete"), VersioningStatus=versioning.get("Status"))
