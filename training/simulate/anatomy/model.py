"""A person's head on the head grid: what each voxel is made of, and where in the brain it lies."""

from dataclasses import dataclass
from enum import IntEnum

from training.simulate.anatomy.person import Person
from training.simulate.arrays import BoolArray, Float32Array, Uint8Array


class Region(IntEnum):
    """Parts of the brain, as far as the kind and place of a hemorrhage depend on them."""

    NONE = 0
    FRONTAL = 1
    PARIETAL = 2
    TEMPORAL = 3
    OCCIPITAL = 4
    INSULA = 5
    LENTIFORM = 6
    CAUDATE = 7
    INTERNAL_CAPSULE = 8
    THALAMUS = 9
    BRAINSTEM = 10
    CEREBELLUM = 11
    LATERAL_VENTRICLE = 12
    THIRD_VENTRICLE = 13
    FOURTH_VENTRICLE = 14
    SULCI = 15


class Territory(IntEnum):
    """Which artery a voxel of brain lives on."""

    NONE = 0
    ACA = 1
    MCA_SUPERIOR = 2
    MCA_INFERIOR = 3
    MCA_DEEP = 4
    ANTERIOR_CHOROIDAL = 5
    PCA = 6
    THALAMIC = 7
    SCA = 8
    PICA = 9
    BASILAR = 10


class Vessel(IntEnum):
    """Segments of the large vessels; sides are told by :attr:`Anatomy.left`."""

    NONE = 0
    ICA = 1
    M1 = 2
    M2_SUPERIOR = 3
    M2_INFERIOR = 4
    ACA = 5
    PCA = 6
    BASILAR = 7
    VERTEBRAL = 8
    CEREBELLAR = 9
    SUPERIOR_SAGITTAL = 10
    STRAIGHT = 11
    TRANSVERSE = 12
    DEEP_VEIN = 13
    CORTICAL_VEIN = 14


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One head without disease; arrays of shape ``HEAD_SHAPE``.

    Parameters
    ----------
    person : Person
        Whose head.
    grey, white, csf, artery, vein, bone, fat, soft, calcification : float32 arrays
        Share of each voxel that is this material, in steps of 1/255; what is missing to 1 is air.
        ``soft`` is skin, muscle, dura, eyes; ``bone`` both tables and diploë; ``calcification``
        is physiological (pineal gland, choroid plexus, falx).
    static_hu : float32 array
        HU at 120 kVp of bone, fat, soft tissue, calcification and air in the voxel, each times its
        share: the part of the baseline that disease and contrast do not change. Whole numbers.
    cavity : bool array
        The cranial cavity.
    depth_mm : float32 array
        Distance from the inner surface of the skull, positive inside the cavity.
    region, territory, vessel : uint8 arrays
        :class:`Region`, :class:`Territory` and :class:`Vessel` of each voxel.
    left : bool array
        Left of the person's own midline.
    """

    person: Person
    grey: Float32Array
    white: Float32Array
    csf: Float32Array
    artery: Float32Array
    vein: Float32Array
    bone: Float32Array
    fat: Float32Array
    soft: Float32Array
    calcification: Float32Array
    static_hu: Float32Array
    cavity: BoolArray
    depth_mm: Float32Array
    region: Uint8Array
    territory: Uint8Array
    vessel: Uint8Array
    left: BoolArray
