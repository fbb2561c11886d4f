"""Centre lines of the large cerebral vessels in the template: textbook courses and radii.

LPS in mm with the origin at the anterior commissure; paired vessels are given for the left side.
"""

from dataclasses import dataclass

from training.simulate.anatomy.model import Vessel


@dataclass(frozen=True)
class Path:
    """One vessel of the template.

    Parameters
    ----------
    name : str
        Short name; variants of the person's tree go by it.
    vessel : Vessel
        Its segment.
    points : tuple of (x, y, z)
        Control points of the centre line, in the direction of the arterial flow (veins: from the
        sinus outwards or downstream, whichever is more convenient).
    radii : (first, last)
        Radius in mm at both ends; linear in between.
    paired : bool
        Whether it exists on both sides.
    free : bool
        Whether it may leave the cranial cavity (neck, canals of the base).
    hugging : bool
        Whether it lies against the skull, as a dural sinus does.
    winding : float
        How far it winds with age, relative to others.
    after : str
        Name of an earlier path whose end, on the same side, this one goes on from.
    """

    name: str
    vessel: Vessel
    points: tuple[tuple[float, float, float], ...]
    radii: tuple[float, float]
    paired: bool = True
    free: bool = False
    hugging: bool = False
    winding: float = 1.0
    after: str = ""


@dataclass(frozen=True)
class Sprout:
    """Where branches over the cortex begin and lead to, left side of the template, mm."""

    vessel: Vessel
    start: tuple[float, float, float]
    goal: tuple[float, float, float]
    radius: float
    vein: bool = False


ARTERIES: tuple[Path, ...] = (
    Path("ICA neck", Vessel.ICA, ((27, 17, -100), (28, 15, -84), (26, 17, -68), (25, 14, -54)),
         (2.4, 2.3), free=True, winding=1.5),
    Path("ICA petrous", Vessel.ICA, ((25, 14, -54), (23, 12, -49), (17, 7, -45), (13, 4, -41)),
         (2.3, 2.2), free=True, winding=0.0),
    Path("ICA siphon", Vessel.ICA,
         ((13, 4, -41), (12, 3, -35), (11.5, -2, -32), (11, -9, -31), (11.5, -12, -27.5),
          (12.5, -10, -24), (13, -7, -21), (14, -5, -18.5)), (2.2, 1.9), free=True, winding=0.6),
    Path("M1", Vessel.M1, ((14, -5, -18.5), (20, -6.5, -18), (27, -6, -17.5), (34, -4, -18.5)),
         (1.55, 1.35), after="ICA siphon"),
    Path("M2 superior", Vessel.M2_SUPERIOR,
         ((34, -4, -18.5), (39, -6, -15), (40, -10, -6), (40.5, -12, 3), (39, -11, 11)),
         (1.1, 0.85)),
    Path("M2 superior b", Vessel.M2_SUPERIOR,
         ((39, -6, -15), (41, -2, -7), (41.5, 3, 3), (39.5, 6, 13)), (0.9, 0.75)),
    Path("M3 superior a", Vessel.M2_SUPERIOR,
         ((39, -11, 11), (42, -13, 9), (48, -14, 6), (55, -13, 6)), (0.75, 0.65)),
    Path("M3 superior b", Vessel.M2_SUPERIOR,
         ((39.5, 6, 13), (44, 5, 11), (51, 4, 9), (61, 4, 9)), (0.75, 0.65)),
    Path("M2 inferior", Vessel.M2_INFERIOR,
         ((34, -4, -18.5), (39, -1, -14), (41, 8, -7), (41, 17, 0), (39, 26, 6)), (1.15, 0.85)),
    Path("M2 inferior b", Vessel.M2_INFERIOR,
         ((39, -1, -14), (43, 0, -11), (48, 0, -7), (55, -1, -5)), (0.8, 0.65)),
    Path("M3 inferior", Vessel.M2_INFERIOR,
         ((39, 26, 6), (43, 30, 10), (50, 33, 13), (59, 35, 15)), (0.8, 0.7)),
    Path("M3 inferior b", Vessel.M2_INFERIOR,
         ((41, 17, 0), (46, 19, 2), (53, 20, 4), (62, 21, 4)), (0.75, 0.65)),
    Path("A1", Vessel.ACA, ((14, -5, -18.5), (10, -8, -17), (6, -11, -15.5), (2.5, -13, -14.5)),
         (1.1, 1.0), after="ICA siphon"),
    Path("AComm", Vessel.ACA, ((2.5, -13, -14.5), (0, -13.5, -14), (-2.5, -13, -14.5)),
         (0.6, 0.6), paired=False, winding=0.3),
    Path("A2", Vessel.ACA,
         ((2.5, -13, -14.5), (2, -22, -13), (2, -32, -8), (2, -38, 2), (2.2, -38, 13),
          (2.2, -31, 23)), (1.1, 0.95), winding=0.7),
    Path("pericallosal", Vessel.ACA,
         ((2.2, -31, 23), (2.2, -18, 30), (2.3, 0, 33), (2.3, 18, 32), (3, 32, 27), (4, 42, 18)),
         (0.9, 0.5), winding=0.6),
    Path("callosomarginal", Vessel.ACA,
         ((2, -38, 2), (3, -46, 14), (3.5, -42, 30), (3.5, -28, 41), (4, -8, 47), (4, 12, 52)),
         (0.9, 0.6)),
    Path("vertebral", Vessel.VERTEBRAL,
         ((21, 44, -100), (29, 39, -88), (29, 39, -80), (24, 50, -76), (13, 52, -73),
          (9, 42, -68), (5.5, 31, -60), (0, 21.5, -49)), (1.7, 1.5), free=True, winding=0.8),
    Path("basilar", Vessel.BASILAR, ((0, 21.5, -49), (0, 14, -42), (0, 10.5, -34), (0, 11, -26),
         (0, 13, -18.5)), (1.75, 1.55), paired=False, winding=1.6,
         after="vertebral"),
    Path("P1", Vessel.PCA, ((0, 13, -18.5), (4, 12, -17.5), (9, 13.5, -17)), (1.15, 1.1),
         winding=0.4),
    Path("PComm", Vessel.PCA, ((12.5, -8, -22), (12, 0, -20), (11, 8, -18.5), (9, 13.5, -17)),
         (0.65, 0.65)),
    Path("P2", Vessel.PCA, ((9, 13.5, -17), (15, 19, -16), (19, 28, -13), (19, 38, -7),
         (15, 47, -3)), (1.15, 0.95)),
    Path("P3", Vessel.PCA, ((15, 47, -3), (13, 57, 0), (11, 68, 3), (9, 82, 4), (9, 94, 3)),
         (0.85, 0.45)),
    Path("P3 parietal", Vessel.PCA, ((13, 57, 0), (11, 66, 10), (9, 74, 22), (9, 78, 34)),
         (0.65, 0.4)),
    Path("P2 temporal", Vessel.PCA, ((19, 30, -12), (25, 38, -15), (31, 49, -16), (38, 62, -14)),
         (0.65, 0.4)),
    Path("SCA", Vessel.CEREBELLAR, ((0, 12, -21), (7, 14, -21.5), (15, 24, -20), (17, 35, -16),
         (13, 46, -10), (13, 60, -11), (18, 74, -19)), (0.75, 0.45)),
    Path("AICA", Vessel.CEREBELLAR, ((0, 14, -42), (9, 15, -43), (17, 20, -44), (25, 28, -46),
         (32, 40, -52)), (0.55, 0.4)),
    Path("PICA", Vessel.CEREBELLAR, ((7, 35, -63), (13, 40, -62), (13, 48, -61), (6, 54, -57),
         (5, 62, -52), (10, 76, -52), (20, 82, -46)), (0.75, 0.45)),
    *(
        Path(f"lenticulostriate {k}", Vessel.M1,
             ((x, -6, -17.5), (x + 2, -3, -10), (x + 5, -1, -2), (x + 3, 1, 8)), (0.4, 0.2),
             winding=0.5)
        for k, x in enumerate((18, 21, 24))
    ),
)  # fmt: skip

VEINS: tuple[Path, ...] = (
    Path("superior sagittal", Vessel.SUPERIOR_SAGITTAL,
         ((0, -68, -8), (0, -70, 12), (0, -60, 35), (0, -40, 56), (0, -15, 70), (0, 15, 77),
          (0, 45, 72), (0, 70, 58), (0, 88, 38), (0, 97, 15), (0, 97, -6), (0, 94, -18)),
         (1.2, 3.9), paired=False, hugging=True, winding=0.1),
    Path("straight", Vessel.STRAIGHT,
         ((0, 45, 4), (0, 54, 1), (0, 66, -5), (0, 80, -14), (0, 94, -18)), (1.9, 2.3),
         paired=False, winding=0.1),
    Path("transverse", Vessel.TRANSVERSE,
         ((0, 94, -18), (14, 96, -19), (30, 92, -20), (44, 84, -22), (55, 72, -24), (61, 60, -27),
          (61, 50, -32)), (3.3, 3.4), hugging=True, winding=0.1, after="superior sagittal"),
    Path("sigmoid", Vessel.TRANSVERSE,
         ((61, 50, -32), (56, 43, -40), (48, 39, -49), (40, 38, -56), (32, 36, -60)), (3.4, 3.4),
         hugging=True, winding=0.1, after="transverse"),
    Path("jugular", Vessel.TRANSVERSE,
         ((32, 36, -60), (26, 33, -60), (27, 29, -67), (30, 24, -80), (32, 22, -100)), (3.6, 4.2),
         free=True, winding=0.3, after="sigmoid"),
    Path("Galen", Vessel.DEEP_VEIN, ((0, 33, 8), (0, 39, 8.5), (0, 45, 4)), (1.7, 2.0),
         paired=False, winding=0.2),
    Path("internal cerebral", Vessel.DEEP_VEIN,
         ((3, -2, 9), (2, 6, 13), (2, 18, 12.5), (1.8, 27, 9), (0, 33, 8)), (0.7, 1.2),
         winding=0.4),
    Path("thalamostriate", Vessel.DEEP_VEIN, ((3, -2, 9), (10, -3, 14), (15, 4, 18),
         (18, 13, 20)), (0.7, 0.35), winding=0.4),
    Path("basal", Vessel.DEEP_VEIN,
         ((19, -2, -16), (16, 8, -14), (19, 20, -13), (18, 30, -6), (10, 36, 3), (0, 37, 8)),
         (0.6, 1.1), winding=0.6),
    Path("superficial sylvian", Vessel.CORTICAL_VEIN,
         ((60, 22, 12), (62, 6, 4), (58, -10, 0), (52, -22, -10), (42, -25, -22), (30, -20, -27)),
         (0.9, 1.5)),
    Path("cavernous", Vessel.CORTICAL_VEIN, ((13, -9, -31), (13, -2, -32), (14, 5, -35)),
         (2.2, 2.6), free=True, winding=0.0),
    Path("superior petrosal", Vessel.TRANSVERSE, ((14, 10, -33), (30, 22, -35), (48, 33, -36),
         (58, 45, -36)), (0.9, 1.2), winding=0.1),
)  # fmt: skip

SPROUTS: tuple[Sprout, ...] = (
    *(
        Sprout(Vessel.M2_SUPERIOR, (54, -14, 6), goal, 0.65)
        for goal in ((44, -55, -8), (42, -52, 20), (44, -32, 44))
    ),
    *(
        Sprout(Vessel.M2_SUPERIOR, (60, 4, 9), goal, 0.65)
        for goal in ((46, -12, 55), (44, 10, 60), (42, 32, 60), (56, 20, 40))
    ),
    *(
        Sprout(Vessel.M2_INFERIOR, (59, 35, 15), goal, 0.7)
        for goal in ((42, 62, 48), (48, 72, 22), (46, 82, 2))
    ),
    Sprout(Vessel.M2_INFERIOR, (61, 21, 4), (60, 52, -8), 0.65),
    Sprout(Vessel.M2_INFERIOR, (61, 21, 4), (62, 34, -22), 0.55),
    Sprout(Vessel.M2_INFERIOR, (55, -1, -5), (58, 8, -34), 0.65),
    Sprout(Vessel.M2_INFERIOR, (55, -1, -5), (44, -16, -38), 0.55),
    Sprout(Vessel.ACA, (2, -32, -8), (8, -62, -20), 0.45),
    Sprout(Vessel.ACA, (3, -46, 14), (10, -66, 20), 0.5),
    Sprout(Vessel.ACA, (3.5, -42, 30), (12, -55, 42), 0.5),
    Sprout(Vessel.ACA, (4, -8, 47), (14, -16, 70), 0.5),
    Sprout(Vessel.ACA, (4, 12, 52), (14, 22, 74), 0.5),
    Sprout(Vessel.ACA, (3, 32, 27), (12, 52, 66), 0.5),
    Sprout(Vessel.PCA, (9, 78, 34), (16, 88, 40), 0.4),
    Sprout(Vessel.PCA, (9, 94, 3), (22, 98, 10), 0.4),
    Sprout(Vessel.PCA, (38, 62, -14), (44, 80, -10), 0.45),
    Sprout(Vessel.PCA, (24, 30, -22), (40, 25, -38), 0.45),
    Sprout(Vessel.CEREBELLAR, (18, 74, -19), (34, 82, -30), 0.4),
    Sprout(Vessel.CEREBELLAR, (20, 82, -46), (38, 78, -48), 0.4),
    *(
        Sprout(Vessel.CORTICAL_VEIN, (4, y, z), (goal_x, y + slant, goal_z), 1.15, vein=True)
        for y, z, goal_x, slant, goal_z in (
            (-58, 36, 44, -2, 10), (-44, 52, 50, 6, 18), (-22, 66, 56, 4, 24),
            (-4, 74, 58, 2, 26), (14, 76, 60, 2, 28), (30, 75, 60, 6, 26), (48, 70, 58, 4, 22),
            (66, 60, 52, 6, 20), (82, 44, 46, 0, 8),
        )
    ),
    Sprout(Vessel.CORTICAL_VEIN, (59, 58, -23), (60, 24, 8), 1.5, vein=True),
    Sprout(Vessel.CORTICAL_VEIN, (60, 50, -28), (58, 10, -32), 1.0, vein=True),
    Sprout(Vessel.CORTICAL_VEIN, (50, 80, -20), (42, 92, 4), 1.0, vein=True),
)  # fmt: skip
