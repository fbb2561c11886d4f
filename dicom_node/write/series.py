"""SeriesNumber and SeriesDescription of every result: fixed, for hanging protocols."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SeriesEntry(BaseModel):
    """What one result's series is called; ``[series.ROLE]`` of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: Annotated[int, Field(ge=1, le=2**31 - 1)]
    description: Annotated[str, Field(min_length=1, max_length=40)]


def _entry(number: int, description: str) -> SeriesEntry:
    return SeriesEntry(number=number, description=description)


DEFAULT_SERIES: dict[str, SeriesEntry] = {
    "report": _entry(9100, "StrokeNode report"),
    "report_ctp_derived_ncct": _entry(9105, "StrokeNode derived NCCT report"),
    "summary": _entry(9101, "StrokeNode summary"),
    "maps": _entry(9102, "StrokeNode maps"),
    "quality": _entry(9103, "StrokeNode quality"),
    "baseline": _entry(9110, "StrokeNode baseline mean"),
    "ncct": _entry(9111, "StrokeNode derived NCCT"),
    "cbf": _entry(9121, "StrokeNode CBF"),
    "cbv": _entry(9122, "StrokeNode CBV"),
    "mtt": _entry(9123, "StrokeNode MTT"),
    "tmax": _entry(9124, "StrokeNode Tmax"),
    "ttp": _entry(9125, "StrokeNode TTP"),
    "ht_risk": _entry(9126, "StrokeNode HT risk"),
    "cbf_colour": _entry(9131, "StrokeNode CBF colour"),
    "cbv_colour": _entry(9132, "StrokeNode CBV colour"),
    "mtt_colour": _entry(9133, "StrokeNode MTT colour"),
    "tmax_colour": _entry(9134, "StrokeNode Tmax colour"),
    "ttp_colour": _entry(9135, "StrokeNode TTP colour"),
    "ht_risk_colour": _entry(9136, "StrokeNode HT risk colour"),
    "cbf_parametric": _entry(9141, "StrokeNode CBF parametric map"),
    "cbv_parametric": _entry(9142, "StrokeNode CBV parametric map"),
    "mtt_parametric": _entry(9143, "StrokeNode MTT parametric map"),
    "tmax_parametric": _entry(9144, "StrokeNode Tmax parametric map"),
    "ttp_parametric": _entry(9145, "StrokeNode TTP parametric map"),
    "ht_risk_parametric": _entry(9146, "StrokeNode HT risk parametric map"),
    "core": _entry(9151, "StrokeNode core"),
    "hypoperfused": _entry(9152, "StrokeNode hypoperfused"),
    "ich": _entry(9153, "StrokeNode intracranial hemorrhage"),
    "ht": _entry(9154, "StrokeNode hemorrhagic transformation"),
}
