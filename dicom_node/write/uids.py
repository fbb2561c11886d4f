"""UIDs of results, the same for the same run for ever."""

from uuid import NAMESPACE_OID, uuid5

from pydicom.uid import UID


def result_uid(run_uid: str, role: str, index: int) -> UID:
    """``2.25.UUIDv5(run, role, index)``.

    Parameters
    ----------
    run_uid : str
        Stored with the job, before anything is computed.
    role : str
        What the UID is for, for example ``cbf`` or ``cbf/series``.
    index : int
        Number of the object within its role.

    Raises
    ------
    ValueError
        The run has no UID.

    References
    ----------
    DICOM PS3.5 B.2 (UUID derived UID).
    """
    if not run_uid:
        raise ValueError("the run UID is empty; it is made and stored with the job")
    return UID(f"2.25.{uuid5(NAMESPACE_OID, f'{run_uid}/{role}/{index}').int}")
