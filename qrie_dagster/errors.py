"""The errors qrie shows to people."""


class QrieError(Exception):
    """Something a person can mend.

    The message is one sentence or two: what went wrong, where, and how to mend it. The command line prints
    it without a traceback; a scan records it on the scope that failed.
    """


class StoreError(QrieError):
    """DynamoDB could not be read or written: missing table, no credentials, endpoint down, access denied."""


class MissingTableError(StoreError):
    """A table of qrie's does not exist."""


class NotFoundError(QrieError):
    """What was asked for does not exist: a policy, a service, an account, a scan."""


class ConflictError(QrieError):
    """It is not in a state in which that can be done: launched already, not launched."""


class DagsterError(QrieError):
    """Dagster does not answer, or did not take what it was given."""


class AwsAccessError(QrieError):
    """A member account could not be entered: its role is missing, denied, or the endpoint did not answer."""


class NotDeliveredError(QrieError):
    """A channel did not take an alert. The message holds no secret."""
