"""Amazon S3: buckets, and the account's public access block."""

from qrie_dagster.inventory.resource_type import ONE_PER_ACCOUNT, Detail, Listing, ResourceType, Service

# Bucket calls answer NoSuchBucket once the bucket is deleted.
GONE = frozenset({"NoSuchBucket"})
BUCKET = {"Bucket": "Name"}

SERVICE = Service(
    name="s3",
    display_name="Amazon S3",
    types=(
        ResourceType(
            name="AWS::S3::Bucket",
            # MaxBuckets makes the answer paged and lets it name each bucket's region.
            listing=Listing("list_buckets", params=(("MaxBuckets", 1000),)),
            items="Buckets[]",
            arn="arn:{partition}:s3:::{Name}",
            is_global=True,
            region="BucketRegion",
            tags="Tagging",
            gone=GONE,
            details=(
                Detail("Versioning", "get_bucket_versioning", BUCKET, "{Status: Status, MFADelete: MFADelete}"),
                Detail(
                    "Encryption",
                    "get_bucket_encryption",
                    BUCKET,
                    "ServerSideEncryptionConfiguration.Rules",
                    absent=frozenset({"ServerSideEncryptionConfigurationNotFoundError"}),
                ),
                Detail(
                    "PublicAccessBlock",
                    "get_public_access_block",
                    BUCKET,
                    "PublicAccessBlockConfiguration",
                    absent=frozenset({"NoSuchPublicAccessBlockConfiguration"}),
                ),
                Detail(
                    "PolicyStatus",
                    "get_bucket_policy_status",
                    BUCKET,
                    "PolicyStatus",
                    absent=frozenset({"NoSuchBucketPolicy"}),
                ),
                Detail("Policy", "get_bucket_policy", BUCKET, "Policy", absent=frozenset({"NoSuchBucketPolicy"})),
                # Without grants it would be private, which nobody may conclude from an answer that says nothing.
                Detail("Acl", "get_bucket_acl", BUCKET, "Grants != `null` && {Owner: Owner, Grants: Grants} || `null`"),
                Detail("Tagging", "get_bucket_tagging", BUCKET, "TagSet", absent=frozenset({"NoSuchTagSet"})),
            ),
        ),
        ResourceType(
            name="AWS::S3::AccountPublicAccessBlock",
            listing=ONE_PER_ACCOUNT,
            items="Items[]",
            arn="arn:{partition}:s3::{account}:account-public-access-block",
            is_global=True,
            details=(
                Detail(
                    "PublicAccessBlock",
                    "get_public_access_block",
                    {"AccountId": "AccountId"},
                    "PublicAccessBlockConfiguration",
                    absent=frozenset({"NoSuchPublicAccessBlockConfiguration"}),
                    client="s3control",
                ),
            ),
        ),
    ),
)
