"""The kinds of series that pipelines accept."""

from enum import StrEnum


class SeriesKind(StrEnum):
    """What an acquisition is, as far as a pipeline cares."""

    CTP = "CTP"
    NCCT = "NCCT"
    CTA = "CTA"
    PWI = "PWI"
    DWI = "DWI"
    OTHER = "OTHER"
