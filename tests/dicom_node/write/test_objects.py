"""Every kind of object: valid, right values, right places."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, MRImageStorage

from dicom_node.write.colour import direction_letters
from dicom_node.write.derived_image import PADDING, Quantisation, linear_window
from dicom_node.write.layers import Layer, map_layer
from dicom_node.write.results import DEFAULT_SERIES, SourceImages, WrittenObject, write_results
from dicom_node.write.segmentation import segmentation_object, segmented_property
from inference.geometry import Geometry
from inference.quantities import CBF, TMAX
from inference.results import ParameterMap, PipelineResult
from tests.dicom_node.write.examples import (
    EVERYTHING,
    RUN,
    enhanced_mr_files,
    geometry,
    perfusion_result,
    source_files,
)
from tests.dicom_node.write.validators import assert_valid, run_tool

GRIDS = {
    "even": geometry(4),
    "tilted_uneven": geometry(tilt_deg=18.5, heights_mm=[0, 1.08, 5.08, 12.08]),
    "one_slice": geometry(1),
}


class Written:
    """Objects of one run with the result that they were made from."""

    def __init__(self, result: PipelineResult, objects: list[WrittenObject]) -> None:
        self.result = result
        self.objects = objects

    def read(self, role: str) -> list[Dataset]:
        found: list[Dataset] = [dcmread(w.path) for w in self.objects if w.role == role]
        assert found, role
        return found


def written(folder: Path, grid: Geometry, modality: str) -> Written:
    if modality == "Enhanced MR":
        paths = enhanced_mr_files(folder / "source", grid)
    else:
        paths = source_files(folder / "source", grid, modality=modality)
    result = perfusion_result(grid)
    source = SourceImages.from_files(paths)
    objects = write_results(result, source, RUN, EVERYTHING, DEFAULT_SERIES, folder / "results")
    return Written(result, objects)


@pytest.fixture(
    scope="module",
    params=[("even", "CT"), ("tilted_uneven", "CT"), ("even", "MR"), ("even", "Enhanced MR")],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    name, modality = request.param
    return written(tmp_path_factory.mktemp("run"), GRIDS[name], modality)


def test_everything_is_valid(run: Written) -> None:
    assert_valid(w.path for w in run.objects)


def test_map_values_read_back_within_half_a_step(run: Written) -> None:
    for parameter_map in run.result.maps:
        for index, ds in enumerate(run.read(parameter_map.quantity.name)):
            real_world = ds.RealWorldValueMappingSequence[0]
            slope = real_world.RealWorldValueSlope
            stored = ds.pixel_array.astype(float)
            expected = parameter_map.data[index]
            np.testing.assert_array_equal(stored == PADDING, ~np.isfinite(expected))
            measured = np.isfinite(expected)
            error = np.abs(stored * slope - expected)[measured]
            assert error.max() <= slope / 2 * (1 + 1e-6)
            assert ds.PixelPaddingValue == PADDING
            assert real_world.RealWorldValueFirstValueMapped == -32767
            if ds.SOPClassUID == CTImageStorage:
                assert float(ds.RescaleSlope) == slope
                assert float(ds.RescaleIntercept) == 0
            else:
                assert "RescaleSlope" not in ds


def test_derived_images_are_placed_by_the_result(run: Written) -> None:
    grid = run.result.maps[0].geometry
    images = run.read("cbf")
    assert [int(ds.InstanceNumber) for ds in images] == list(range(1, grid.slices + 1))
    np.testing.assert_allclose([ds.ImagePositionPatient for ds in images], grid.positions_mm)
    for ds in images:
        orientation = [*grid.row_cosines, *grid.column_cosines]
        np.testing.assert_allclose(ds.ImageOrientationPatient, orientation, atol=1e-12)
        assert tuple(ds.PixelSpacing) == grid.pixel_spacing_mm
        assert list(ds.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert ds.ImageType[3] == "CBF"
        assert ds.ContentQualification == "RESEARCH"
        assert ds.BurnedInAnnotation == "NO"
        assert "RESEARCH USE ONLY" in ds.DerivationDescription
        assert "0.1.0" in ds.DerivationDescription
        assert "simulated" in ds.DerivationDescription
        code = ds.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("ml/[100]g/min", "UCUM")


def test_references_name_all_times_at_the_slice(run: Written) -> None:
    for index, ds in enumerate(run.read("tmax")):
        items = ds.SourceImageSequence
        uids = {item.ReferencedSOPInstanceUID for item in items}
        if "ReferencedFrameNumber" in items[0]:
            assert len(uids) == 2
            frames = [item.ReferencedFrameNumber for item in items]
            assert frames == [run.result.maps[0].geometry.slices - index] * 2
        else:
            assert {uid.rsplit(".", 1)[1] for uid in uids} == {str(index + 1)}
            assert len(uids) == 3


def test_the_node_is_the_equipment_and_the_scanner_contributed(run: Written) -> None:
    for w in run.objects:
        ds = dcmread(w.path, stop_before_pixels=True)
        assert ds.Manufacturer == ds.ManufacturerModelName == "StrokeNode"
        assert list(ds.SoftwareVersions) == ["0.1.0", "ctp_perfusion 1.0"]
        assert ds.DeviceSerialNumber == "1"
        scanner = ds.ContributingEquipmentSequence[0]
        assert len(ds.ContributingEquipmentSequence) == 1
        assert scanner.Manufacturer == "SCANNERWORKS"
        assert not any(element.tag.is_private for element in ds.iterall())


def test_segmentation_reads_back_as_the_mask(run: Written) -> None:
    for segmentation in run.result.segmentations:
        ds = hd.seg.segread(next(w.path for w in run.objects if w.role == segmentation.name))
        grid = segmentation.geometry
        frames = ds.pixel_array.reshape(-1, grid.rows, grid.columns)
        used = np.flatnonzero(segmentation.mask.any(axis=(1, 2)))
        assert len(frames) == len(used)
        shared = ds.SharedFunctionalGroupsSequence[0]
        assert tuple(shared.PixelMeasuresSequence[0].PixelSpacing) == grid.pixel_spacing_mm
        baseline = run.read("baseline")
        for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
            position = groups.PlanePositionSequence[0].ImagePositionPatient
            index = int(np.argmin(np.abs(grid.positions_mm - position).sum(axis=1)))
            np.testing.assert_allclose(position, grid.positions_mm[index])
            np.testing.assert_array_equal(frame.astype(bool), segmentation.mask[index])
            source = groups.DerivationImageSequence[0].SourceImageSequence[0]
            assert source.ReferencedSOPInstanceUID == baseline[index].SOPInstanceUID
        assert ds.FrameOfReferenceUID == baseline[0].FrameOfReferenceUID
        assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == baseline[0].SeriesInstanceUID


def test_parametric_map_holds_the_numbers(run: Written) -> None:
    for parameter_map in run.result.maps:
        ds = run.read(f"{parameter_map.quantity.name}_parametric")[0]
        values = np.frombuffer(ds.FloatPixelData, "<f4").reshape(parameter_map.data.shape)
        positions = np.array(
            [
                frame.PlanePositionSequence[0].ImagePositionPatient
                for frame in ds.PerFrameFunctionalGroupsSequence
            ],
            dtype=float,
        )
        ascending = np.argsort(positions @ parameter_map.geometry.normal)
        expected = np.where(np.isfinite(parameter_map.data), parameter_map.data, -32768)
        np.testing.assert_array_equal(values[ascending], expected)
        np.testing.assert_allclose(positions[ascending], parameter_map.geometry.positions_mm)
        assert ds.FloatPixelPaddingValue == -32768


def test_classic_images_of_the_source_modality(run: Written) -> None:
    ds = run.read("mtt")[0]
    if ds.Modality == "CT":
        assert ds.SOPClassUID == CTImageStorage
        assert ds.RescaleType == "US"
        assert run.read("baseline")[0].RescaleType == "HU"
        assert ds.KVP == 80
    else:
        assert ds.SOPClassUID == MRImageStorage
        assert list(ds.ScanningSequence) == ["EP", "GR"]
        assert ds.EchoTime in (28.5, 35)
        assert ds.RepetitionTime in (1400, 1500)


def test_pictures_are_rgb_and_readable_by_dcmtk(run: Written, tmp_path: Path) -> None:
    for role in ("summary", "maps", "quality", "cbf_colour"):
        page = next(w for w in run.objects if w.role == role)
        ds = dcmread(page.path)
        assert ds.PhotometricInterpretation == "RGB"
        assert ds.BurnedInAnnotation == "NO"
        assert ds.pixel_array.shape[2] == 3
        assert run_tool("dcm2pnm", "+on", page.path, tmp_path / "page.png").returncode == 0


def test_one_slice_is_valid(tmp_path: Path) -> None:
    run = written(tmp_path, GRIDS["one_slice"], "CT")
    assert_valid(w.path for w in run.objects)
    assert run.read("cbf")[0].SliceThickness is None


def layer(data: np.ndarray, window: tuple[float, float], quantity: bool = True) -> Layer:
    grid = geometry(1, 4)
    values = np.resize(data.astype(np.float32), grid.shape)
    result = map_layer(ParameterMap(CBF, values, grid))
    return Layer(
        **{
            **{name: getattr(result, name) for name in Layer.__dataclass_fields__},
            "window": window,
            "quantity": result.quantity if quantity else None,
        }
    )


finite = st.floats(-1e5, 1e5, width=32)


@settings(deadline=None)
@given(
    values=st.lists(st.one_of(finite, st.just(float("nan"))), min_size=1, max_size=20),
    low=st.floats(-1e4, 1e4),
    width=st.floats(1e-3, 1e4),
)
def test_quantisation_error_is_half_a_step(values: list[float], low: float, width: float) -> None:
    given_layer = layer(np.array(values), (low, low + width), quantity=False)
    quantisation = Quantisation.of(given_layer)
    stored = quantisation.stored(given_layer.data)
    measured = np.isfinite(given_layer.data)
    error = np.abs(stored * quantisation.slope - given_layer.data.astype(float))[measured]
    assert error.max(initial=0) <= quantisation.slope / 2 * (1 + 1e-9)
    assert (stored[~measured] == PADDING).all()
    assert (stored[measured] > PADDING).all()
    assert len(repr(quantisation.slope)) <= 16


def test_an_absurd_value_does_not_coarsen_a_map() -> None:
    given_layer = layer(np.array([1.0, 1e9, np.inf]), (0, 60))
    quantisation = Quantisation.of(given_layer)
    assert quantisation.slope <= 0.1
    stored = quantisation.stored(given_layer.data).ravel()
    assert stored[1] == 32767
    assert stored[2] == PADDING


@given(low=st.floats(-1000, 1000), width=st.floats(0.5, 4000))
def test_window_spans_exactly_low_to_high(low: float, width: float) -> None:
    centre, full = (float(text) for text in linear_window(low, low + width))
    assert centre - 0.5 - (full - 1) / 2 == pytest.approx(low, abs=1e-6)
    assert centre - 0.5 + (full - 1) / 2 == pytest.approx(low + width, abs=1e-6)


def test_impossible_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="expected low < high"):
        layer(np.zeros(1), (1, 1))
    grid = geometry(2)
    with pytest.raises(ValueError, match="do not fit geometry"):
        map_layer(ParameterMap(CBF, np.zeros((1, 2, 3), np.float32), grid))


def test_an_empty_mask_is_no_segmentation(tmp_path: Path) -> None:
    from dicom_node.write.context import WriteContext

    grid = geometry()
    source = SourceImages.from_files(source_files(tmp_path, grid, times=1))
    result = perfusion_result(grid, core_empty=True)
    context = WriteContext(result, source, RUN, DEFAULT_SERIES)
    with pytest.raises(ValueError, match="mask of core is empty"):
        segmentation_object(result.segmentations[0], [], context)


def test_regions_have_codes() -> None:
    assert segmented_property("core").value == "55641003"
    assert segmented_property("ich_subdural") == codes.SCT.Hemorrhage
    assert segmented_property("other").meaning == "Lesion"


@pytest.mark.parametrize(
    ("direction", "letters"),
    [((1, 0, 0), "L"), ((-1, 0, 0), "R"), ((0, -1, 0), "A"), ((0, 0, 1), "H"),
     ((0.8, 0.6, 0), "LP"), ((0.99, 0.1, -0.1), "L")],
)  # fmt: skip
def test_letters_follow_geometry(direction: tuple[float, ...], letters: str) -> None:
    assert direction_letters(np.array(direction)) == letters


def test_windows_of_classic_mr_are_in_stored_values(tmp_path: Path) -> None:
    run = written(tmp_path, geometry(2), "MR")
    ds = run.read("tmax")[0]
    slope = ds.RealWorldValueMappingSequence[0].RealWorldValueSlope
    high = float(ds.WindowCenter) - 0.5 + (float(ds.WindowWidth) - 1) / 2
    assert high * slope == pytest.approx(TMAX.display_range[1])


@pytest.fixture
def lossy(tmp_path: Path) -> Written:
    grid = geometry(2)
    paths = source_files(
        tmp_path / "source", grid, LossyImageCompression="01", LossyImageCompressionRatio="8",
        LossyImageCompressionMethod="ISO_15444_1",
    )  # fmt: skip
    result = perfusion_result(grid)
    source = SourceImages.from_files(paths)
    return Written(
        result, write_results(result, source, RUN, EVERYTHING, DEFAULT_SERIES, tmp_path / "out")
    )


def test_results_of_lossy_images_stay_lossy(lossy: Written) -> None:
    ds = lossy.read("cbf")[0]
    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 8)
    assert_valid(w.path for w in lossy.objects)
