"""Published rules for late reperfusion, as statements with the numbers that decided them.

They say whether a patient's imaging is like that of a trial's patients, not whether to treat.
"""

from inference.results import Criterion, Measurement

_LARGEST_CORE_ML = 70.0
_DEFUSE_3_RATIO, _DEFUSE_3_MISMATCH_ML = 1.8, 15.0
_EXTEND_RATIO, _EXTEND_MISMATCH_ML = 1.2, 10.0


def selection_criteria(measurements: tuple[Measurement, ...]) -> tuple[Criterion, ...]:
    """DEFUSE 3 and EXTEND from the measured volumes.

    DEFUSE 3 (Albers 2018, N Engl J Med 378:708): core below 70 mL, mismatch ratio at least 1.8,
    mismatch volume at least 15 mL. EXTEND (Ma 2019, N Engl J Med 380:1795): core below 70 mL,
    ratio above 1.2, mismatch volume above 10 mL. Without a core the ratio is not defined and does
    not decide: the mismatch volume then does, which is that of the hypoperfused tissue.

    Parameters
    ----------
    measurements : tuple of Measurement
        With ``core_volume``, ``mismatch_volume`` (mL) and ``mismatch_ratio``.
    """
    values = {measurement.name: measurement.value for measurement in measurements}
    core, mismatch = values["core_volume"], values["mismatch_volume"]
    ratio = values["mismatch_ratio"]
    inputs = {"core_volume": core, "mismatch_volume": mismatch, "mismatch_ratio": ratio}
    if core is None or mismatch is None:
        return tuple(Criterion(name, None, inputs) for name in ("defuse_3", "extend"))
    small = core < _LARGEST_CORE_ML
    defuse_3 = mismatch >= _DEFUSE_3_MISMATCH_ML and (ratio is None or ratio >= _DEFUSE_3_RATIO)
    extend = mismatch > _EXTEND_MISMATCH_ML and (ratio is None or ratio > _EXTEND_RATIO)
    return (
        Criterion("defuse_3", small and defuse_3, inputs),
        Criterion("extend", small and extend, inputs),
    )
