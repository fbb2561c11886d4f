"""Text that the node itself writes into DICOM objects.

It is kept to characters that every DICOM character set shares, because results carry the
SpecificCharacterSet of their source.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from inference.results import Criterion, Measurement, PipelineResult, Warning

RESEARCH_USE = "RESEARCH USE ONLY; not for clinical decisions"

MET = {True: "met", False: "not met", None: "cannot be told"}

_DISTRUSTED = frozenset(
    {
        "aif_late", "incomplete", "motion", "timing_guessed", "truncated", "uncertain",
        "weak_bolus",
    }
)  # fmt: skip
_SPELLED = str.maketrans(
    {
        "\u2265": ">=", "\u2264": "<=", "\u00d7": "x", "\u00b7": ".", "\u00b5": "u", "\u03bc": "u",
        "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00b0": "deg ", "\u2018": "'",
        "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u03c1": "rho", "\u0394": "delta ",
        "\\": "/", "~": "-",
    }
)  # fmt: skip


def plain(text: str) -> str:
    """Text in printable ASCII, without the backslash that separates values.

    The tilde goes as well: it and the backslash mean other characters in ISO_IR 13.
    """
    spelled = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    kept = (c for c in spelled if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "}" else " " if c.isspace() else "?" for c in kept)


def shortened(text: str, length: int) -> str:
    """ASCII text of at most ``length`` characters, cut with ``...``."""
    text = plain(text).strip()
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."


def number(value: float) -> str:
    """A number for people: four significant digits, no trailing zeros."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def warning_codes(warnings: Sequence[Warning], length: int) -> str:
    """Codes of the warnings as ``[!code,code,+1]`` in at most ``length`` characters."""
    codes = list(dict.fromkeys(plain(warning.code) for warning in warnings))
    if not codes:
        return ""
    for shown in range(len(codes), 0, -1):
        rest = [f"+{len(codes) - shown}"] if shown < len(codes) else []
        text = f"[!{','.join(codes[:shown] + rest)}]"
        if len(text) <= length:
            return text
    return f"[!{len(codes)} warnings]" if length >= 15 else "[!]"


def warning_text(warning: Warning) -> str:
    """One warning in full, with its number."""
    value = "" if warning.value is None else f" ({number(warning.value)})"
    return plain(f"{warning.code}: {warning.text}{value}")


def distrusted_codes(warnings: Sequence[Warning]) -> list[str]:
    """Codes of the warnings after which no number of the result may be relied on.

    After the others, such as low coverage, the numbers hold for what was measured.
    """
    return list(dict.fromkeys(w.code for w in warnings if w.code in _DISTRUSTED))


def value_text(measurement: Measurement) -> str:
    """A measured value with its unit, ``n/a`` where it is not defined."""
    value, unit = measurement.value, measurement.unit
    if value is None:
        return "n/a"
    if unit.lower() == "ml":
        return f"{value:.1f} mL" if abs(value) < 99.95 else f"{value:.0f} mL"
    if unit == "1":
        return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"
    return plain(f"{number(value)} {unit}")


def criterion_inputs(criterion: Criterion, measurements: Sequence[Measurement]) -> str:
    """What a criterion was decided by; measurements among it with their labels and units.

    Why measurements have no value stands behind them.
    """
    known = {measurement.name: measurement for measurement in measurements}
    parts = []
    for name, value in criterion.inputs.items():
        if name in known:
            parts.append(f"{known[name].label} {value_text(replace(known[name], value=value))}")
        else:
            parts.append(f"{name} {'unknown' if value is None else number(value)}")
    reasons = dict.fromkeys(
        known[name].reason for name in criterion.inputs if name in known and known[name].reason
    )
    return plain("; ".join([", ".join(parts), *reasons]))


def parameter_lines(result: PipelineResult) -> list[str]:
    """How the result was made, one ``name=value`` per line, sorted by name."""
    return [plain(f"{name}={value}") for name, value in sorted(result.parameters.items())]


def training_statement(result: PipelineResult) -> str:
    """What the weights were trained on, where the pipeline says so.

    A pipeline that uses weights puts it into ``parameters`` under a name that ends in
    ``trained_on``.
    """
    said = [
        str(value)
        for name, value in sorted(result.parameters.items())
        if name.endswith("trained_on") and value
    ]
    return plain(f"weights trained on {', '.join(dict.fromkeys(said))}") if said else ""
