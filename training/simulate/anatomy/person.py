"""Who the patient is: everything about a head that the seed decides before any disease."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.simulate.arrays import stream

Cohort = Literal["usual", "shifted"]
Side = Literal["L", "R"]
Sides = Literal["L", "R", "both"]

SKULL_THICKNESS_MM: dict[Cohort, tuple[float, float]] = {
    "usual": (4.5, 8.5),
    "shifted": (9.0, 11.5),
}
DEFORMATION_MM: dict[Cohort, tuple[float, float]] = {"usual": (2.5, 5.0), "shifted": (5.5, 7.5)}
_MEAN_SCALE = {"F": 0.885, "M": 0.915}


@dataclass(frozen=True)
class Person:
    """Traits of one person; HU are those at 120 kVp.

    Parameters
    ----------
    seed, cohort : int, str
        ``cohort`` says from which ranges the traits were drawn: ``shifted`` heads lie outside the
        ranges of ``usual`` ones (skull thickness, size of the deformation) and are for testing
        only.
    age_years, sex : float, str
        Most other traits depend on them.
    atrophy : float
        Loss of brain with age, 0 to 1: wide ventricles, sulci and fissures.
    skull_thickness_mm : float
        Mean distance of the inner from the outer table at the convexity.
    grey_hu, white_hu, csf_hu, blood_hu : float
        HU of the materials.
    hematocrit : float
        Share of red cells in blood; decides ``blood_hu``.
    scale : (x, y, z)
        Size of the head relative to the template, whose brain is larger than most.
    shear : (xy, xz, yz)
        Shear of the head, dimensionless.
    deformation_mm : float
        Largest length of the smooth random displacement of the template.
    folding_mm : float
        Largest length of the fine displacement along the cortex, which makes the gyri own ones.
    petalia_mm : float
        By how much the left occipital and right frontal poles protrude (negative: reversed).
    ventricle_growth_mm : float
        By how much the walls of the ventricles lie outside those of the template.
    ventricle_asymmetry : float
        Growth of the left lateral ventricle relative to the mean of both, minus 1.
    sulcal_width : float
        0 (closed sulci) to 1 (wide open).
    subarachnoid_gap_mm : float
        CSF between the brain's hull and the skull.
    leukoaraiosis : float
        Share of water that takes the place of periventricular white matter, at its worst.
    old_lacunes, old_infarcts : int
        Number of old small-vessel and old cortical (wedge) infarcts.
    calcified_pineal, calcified_choroid, calcified_falx, calcified_pallidum : float
        Size of physiological calcifications, 0 (none) to 1.
    diploe_fraction : float
        Share of the skull's thickness that is diploë.
    table_hu, diploe_hu : float
        HU of the tables and of the diploë.
    scalp_mm, fat_fraction : float
        Thickness of the scalp and share of it that is fat.
    sinus_air, mastoid_air : float
        Pneumatisation of the paranasal sinuses and of the mastoids, 0 to 1.
    frontal_hyperostosis : float
        Inward thickening of the frontal bone, 0 (none) to 1.
    gaze_deg : float
        Deviation of the eyes to the left.
    vessel_scale, tortuosity : float
        Radius of the vessels relative to the mean, and how far they wind (0 to 1).
    dominant_transverse_sinus : str
        Side of the wider transverse sinus.
    fetal_pca : str or None
        Side of a PCA that the ICA feeds.
    """

    seed: int
    cohort: Cohort
    age_years: float
    sex: Literal["F", "M"]
    atrophy: float
    skull_thickness_mm: float
    grey_hu: float
    white_hu: float
    csf_hu: float
    blood_hu: float
    hematocrit: float
    scale: tuple[float, float, float]
    shear: tuple[float, float, float]
    deformation_mm: float
    folding_mm: float
    petalia_mm: float
    ventricle_growth_mm: float
    ventricle_asymmetry: float
    sulcal_width: float
    subarachnoid_gap_mm: float
    leukoaraiosis: float
    old_lacunes: int
    old_infarcts: int
    calcified_pineal: float
    calcified_choroid: float
    calcified_falx: float
    calcified_pallidum: float
    diploe_fraction: float
    table_hu: float
    diploe_hu: float
    scalp_mm: float
    fat_fraction: float
    sinus_air: float
    mastoid_air: float
    frontal_hyperostosis: float
    gaze_deg: float
    vessel_scale: float
    tortuosity: float
    dominant_transverse_sinus: Side
    fetal_pca: Side | None


def draw_person(seed: int, cohort: Cohort = "usual") -> Person:
    """Draw the person whom a seed stands for; ranges are textbook ones unless said otherwise."""
    rng = stream(seed, "person")
    age = float(np.clip(rng.normal(68, 13), 20, 98))
    sex: Literal["F", "M"] = "F" if rng.random() < 0.45 else "M"
    hematocrit = float(np.clip(rng.normal(0.42, 0.04), 0.28, 0.52))
    atrophy = float(np.clip((age - 45) / 60 + rng.normal(0, 0.2), 0, 1))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def near(value: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(value, spread), low, high))

    def sometimes(chance: float) -> float:
        size = between(0.2, 1.0)
        return size if rng.random() < chance else 0.0

    def side(left: float) -> Side:
        return "L" if rng.random() < left else "R"

    old = float(np.clip((age - 40) / 40, 0, 1))
    grey_hu = near(35.5, 1.4, 32.5, 39)
    return Person(
        seed=seed,
        cohort=cohort,
        age_years=age,
        sex=sex,
        atrophy=atrophy,
        skull_thickness_mm=between(*SKULL_THICKNESS_MM[cohort]),
        grey_hu=grey_hu,
        white_hu=grey_hu - near(8.0, 1.0, 5.5, 10.5),
        csf_hu=between(3, 9),
        blood_hu=8 + 90 * hematocrit,
        hematocrit=hematocrit,
        scale=_draw_scale(rng, sex),
        shear=(
            near(0, 0.012, -0.03, 0.03),
            near(0, 0.015, -0.04, 0.04),
            near(0, 0.03, -0.07, 0.07),
        ),
        deformation_mm=between(*DEFORMATION_MM[cohort]),
        folding_mm=between(2.0, 3.2),
        petalia_mm=near(2.0, 1.5, -2, 5),
        ventricle_growth_mm=near(-0.8 + 8.5 * atrophy, 1.2, -1.4, 9.0),
        ventricle_asymmetry=near(0.05, 0.12, -0.3, 0.35),
        sulcal_width=near(0.1 + 0.75 * atrophy, 0.12, 0, 1),
        subarachnoid_gap_mm=near(1.3 + 3.2 * atrophy, 0.6, 1.0, 6.0),
        leukoaraiosis=0.25 * float(np.clip(rng.beta(1.2, 3) + 0.3 * (atrophy - 0.5), 0, 1)) * old,
        old_lacunes=int(rng.poisson(0.9 * old)),
        old_infarcts=int(rng.random() < 0.12 * old + 0.01),
        calcified_pineal=sometimes(0.65),
        calcified_choroid=sometimes(0.25 + 0.4 * old),
        calcified_falx=sometimes(0.07 + 0.1 * old),
        calcified_pallidum=sometimes(0.03 + 0.15 * old),
        diploe_fraction=between(0.3, 0.6),
        table_hu=between(1000, 1600),
        diploe_hu=between(350, 750),
        scalp_mm=between(3.5, 8.0),
        fat_fraction=between(0.3, 0.7),
        sinus_air=near(0.7, 0.3, 0, 1),
        mastoid_air=near(0.7, 0.25, 0.05, 1),
        frontal_hyperostosis=sometimes(0.2 * old if sex == "F" else 0.02),
        gaze_deg=near(0, 10, -35, 35),
        vessel_scale=near(1.0, 0.09, 0.75, 1.25),
        tortuosity=near(0.2 + 0.4 * old, 0.2, 0, 1),
        dominant_transverse_sinus=side(0.3),
        fetal_pca=side(0.5) if rng.random() < 0.12 else None,
    )


def _draw_scale(rng: np.random.Generator, sex: str) -> tuple[float, float, float]:
    """Size along x, y, z; the cephalic index (width over length) is drawn apart from the size."""
    size = float(np.clip(rng.normal(_MEAN_SCALE[sex], 0.025), 0.83, 0.99))
    narrow = float(np.clip(rng.normal(0, 0.025), -0.06, 0.06))
    tall = float(np.clip(rng.normal(0, 0.02), -0.04, 0.04))
    return size * (1 - narrow), size * (1 + narrow - tall / 2), size * (1 + tall)
