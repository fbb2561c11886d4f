"""Errors of the analysis.

::

    InferenceError
    ├── DicomReadError      a file or a set of files cannot be read as images
    ├── NotAnalysable       the images are readable, but no trustworthy result can be had from them
    └── WeightsError        a model that came with the software is missing or damaged

Every message says what was found, what was expected and what to do. No message carries patient
data: UIDs and numbers only.
"""


class InferenceError(Exception):
    """Root of all errors that the analysis raises on purpose."""


class DicomReadError(InferenceError):
    """A file, or a set of files, cannot be read as the images it claims to be."""


class NotAnalysable(InferenceError):
    """The study is readable, but a result from it could not be trusted.

    The reader gets a report that says "not analysed" with this reason.

    Parameters
    ----------
    reason : str
    code : str, optional
        The warning code that this reason is the extreme of, such as ``truncated``; it goes into
        the results beside the reason, so that programs can tell refusals apart.
    value : float, optional
        The measured number that decided, in the unit of that warning.
    """

    def __init__(self, reason: str, *, code: str = "", value: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.value = value


class WeightsError(InferenceError):
    """A model is missing, damaged or not the one that its manifest describes."""
