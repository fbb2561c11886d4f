"""Errors of the node.

::

    NodeError                    retryable = False unless said otherwise
    ├── ConfigError              config.toml is wrong; lists every error at once
    ├── StateError               a change of state that the transition table does not allow
    ├── LeaseLost (retryable)    another worker owns the job by now
    ├── StorageError (retryable) the spool or the database cannot be written
    ├── ReceiveError             an instance was refused; knows its DICOM status
    ├── AnalysisError            a pipeline failed; ``retryable`` says whether a retry can help
    └── SendError (retryable)    a destination could not be reached or refused the association

Errors of the analysis proper are in :mod:`inference.errors`. Messages say what was found, what was
expected and what to do, and never carry patient data.
"""


class NodeError(Exception):
    """Root of the node's errors; ``retryable`` says whether trying again can help."""

    retryable = False


class ConfigError(NodeError):
    """The configuration is wrong.

    Parameters
    ----------
    problems : list of str
        One line per error: key path, what was found, what is allowed.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("the configuration has errors:\n" + "\n".join(f"  {p}" for p in problems))


class StateError(NodeError):
    """A change of state that the transition table does not allow."""


class LeaseLost(NodeError):
    """The job's lease ran out and another worker owns it by now."""

    retryable = True


class StorageError(NodeError):
    """The spool or the database cannot be written."""

    retryable = True


class ReceiveError(NodeError):
    """An instance was refused.

    Parameters
    ----------
    status : int
        The C-STORE status that the sender gets (DICOM PS3.4 B.2.3).
    code : str
        Short name of the reason, kept in the table of problems.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class AnalysisError(NodeError):
    """A pipeline failed."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        self.retryable = retryable
        super().__init__(message)


class SendError(NodeError):
    """A destination could not be reached, or refused the association."""

    retryable = True
