"""The report: Comprehensive 3D SR by TID 1500, what must be read first in its first group."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage

from dicom_node.write.codes import own_code, scheme_identification, unit_code
from dicom_node.write.context import WriteContext
from dicom_node.write.modules import MANUFACTURER, add_common_modules, referenced_series
from dicom_node.write.segmentation import CATEGORY, segmented_property, tracking_uid
from dicom_node.write.source import ImageReference
from dicom_node.write.text import (
    MET,
    RESEARCH_USE,
    criterion_inputs,
    parameter_lines,
    plain,
    shortened,
    training_statement,
    warning_codes,
    warning_text,
)
from dicom_node.write.uids import result_uid
from inference.results import Criterion, Finding, Measurement, PipelineResult, Segmentation

ROLE = "report"
_STATUS = {"ok": "Analysed", "not_analysed": "Not analysed", "failed": "Failed"}
_SIDES = {"L": codes.SCT.Left, "R": codes.SCT.Right, "both": codes.SCT.RightAndLeft}
_FINDINGS = {
    "ich": Code("1386000", "SCT", "Intracranial hemorrhage"),
    "ht": own_code("ht", "Hemorrhagic transformation"),
}
_TRACKING_LENGTH = 200
_MEANING_LENGTH = 64

_Group = (
    hd.sr.MeasurementsAndQualitativeEvaluations
    | hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)


@dataclass(frozen=True, eq=False)
class WrittenRegion:
    """A segmented region that the report points to, with the images that it lies on."""

    segmentation: Segmentation
    reference: ImageReference
    sources: tuple[ImageReference, ...]


def report(
    context: WriteContext,
    regions: Sequence[WrittenRegion],
    others: Sequence[ImageReference],
) -> Dataset:
    """The report of a run, whatever its status.

    Without a result it says that there is none and why, and nothing else.

    Parameters
    ----------
    regions : sequence of WrittenRegion
        The Segmentation objects of the same run.
    others : sequence of ImageReference
        Further results of the run, listed as evidence.
    """
    result = context.result
    groups: list[_Group] = [_first_group(context)]
    if result.status == "ok":
        groups += [_region_group(region, context) for region in regions]
    evidence = [*context.source.references, *(r.reference for r in regions), *others]
    complete = not any(warning.code == "incomplete" for warning in result.warnings)
    series = context.series(ROLE)
    ds = hd.sr.Comprehensive3DSR(
        evidence=[_stand_in(image, context) for image in evidence],
        content=_content(context, groups),
        series_instance_uid=series.uid,
        series_number=series.number,
        sop_instance_uid=context.uid(ROLE, 1),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=complete,
        is_final=complete,
        is_verified=False,
        previous_versions=_predecessors(context),
        series_description=series.description,
    )
    if not complete:
        ds.CompletionFlagDescription = "the acquisition was incomplete"
    add_common_modules(ds, context, role=ROLE, index=1, sop_class_uid=ds.SOPClassUID, modality="SR")
    ds.CurrentRequestedProcedureEvidenceSequence = _evidence_sequence(
        evidence, context.source.study_uid
    )
    ds.CodingSchemeIdentificationSequence = [scheme_identification()]
    return ds


def _content(context: WriteContext, groups: Sequence[_Group]) -> hd.sr.MeasurementReport:
    serial = context.run.device_serial_number
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=result_uid(MANUFACTURER, "device", int(zlib.crc32(serial.encode()))),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MANUFACTURER} {plain(context.run.software_version)}",
        serial_number=serial,
    )
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_procedure(context),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )


def _procedure(context: WriteContext) -> Code:
    if context.result.pipeline.startswith("ctp"):
        return Code("39142-5", "LN", "CT perfusion head with contrast IV")
    if context.source.modality == "CT":
        return Code("303653007", "SCT", "CT of head")
    return Code("816077007", "SCT", "MRI of brain")


def _first_group(context: WriteContext) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Status, warnings, numbers, findings, criteria; for a failed run status and reason only."""
    result = context.result
    ok = result.status == "ok"
    evaluations = [
        hd.sr.QualitativeEvaluation(
            own_code("analysis_status", "Analysis status"),
            own_code(result.status, _STATUS[result.status]),
        ),
        *(_warning_evaluation(w.code) for w in result.warnings),
    ]
    measurements: list[hd.sr.Measurement] = []
    if ok:
        measurements += [_measurement(m) for m in result.measurements if m.value is not None]
        measurements += [_probability(f) for f in result.findings if f.probability is not None]
        evaluations += _evaluations(result)
    images = [plane.images[0] for plane in context.source.slices]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.uid("summary/tracking"), identifier=_headline(result)
        ),
        algorithm_id=_algorithm(context),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(
                image.sop_class_uid, image.sop_instance_uid, list(image.frame_numbers) or None
            )
            for image in images
        ],
    )
    group[0].ContentSequence.extend(_comment(text) for text in _comments(result))
    return group


def _headline(result: PipelineResult) -> str:
    """The first line that a reader sees: status, reason or warnings, research use."""
    parts = [_STATUS[result.status]]
    if result.status != "ok":
        parts.append(plain(result.reason) or "no reason was given")
    if result.warnings:
        parts.append(f"WARNINGS {warning_codes(result.warnings, _TRACKING_LENGTH)}")
    return ". ".join([*parts, RESEARCH_USE])


def _comments(result: PipelineResult) -> list[str]:
    texts = [RESEARCH_USE]
    if result.status != "ok":
        texts.append(f"{_STATUS[result.status]}: {plain(result.reason) or 'no reason was given'}")
    texts += [f"Warning: {warning_text(w)}" for w in result.warnings]
    if result.status == "ok":
        texts += [_criterion_text(c, result) for c in result.criteria]
    trained = training_statement(result)
    return [*texts, trained] if trained else texts


def _comment(text: str) -> hd.sr.TextContentItem:
    return hd.sr.TextContentItem(
        name=codes.DCM.Comment,
        value=plain(text),
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )


def _criterion_text(criterion: Criterion, result: PipelineResult) -> str:
    inputs = criterion_inputs(criterion, result.measurements)
    return f"Criterion {criterion.name}: {MET[criterion.met]} ({inputs})"


def _warning_evaluation(code: str) -> hd.sr.QualitativeEvaluation:
    return hd.sr.QualitativeEvaluation(
        codes.DCM.QualityIssue, own_code(code, f"Warning: {code.replace('_', ' ')}")
    )


def _evaluations(result: PipelineResult) -> list[hd.sr.QualitativeEvaluation]:
    """Side, undefined numbers, findings, criteria."""
    evaluations = []
    if result.side is not None:
        evaluations.append(hd.sr.QualitativeEvaluation(codes.SCT.Laterality, _SIDES[result.side]))
    for measurement in result.measurements:
        if measurement.value is None:
            evaluations.append(_undefined(measurement, result))
    for finding in result.findings:
        present = {
            True: codes.DCM.Present,
            False: codes.DCM.Absent,
            None: codes.DCM.PresenceUndetermined,
        }[finding.present]
        evaluations.append(hd.sr.QualitativeEvaluation(finding_code(finding), present))
    for criterion in result.criteria:
        met = {True: codes.SCT.Yes, False: codes.SCT.No, None: codes.SCT.Unknown}[criterion.met]
        name = own_code(criterion.name, f"Criterion {criterion.name} met")
        evaluations.append(hd.sr.QualitativeEvaluation(name, met))
    return evaluations


def _undefined(measurement: Measurement, result: PipelineResult) -> hd.sr.QualitativeEvaluation:
    """A number that has no value is said to have none, with the reason where it is known."""
    core = next((m.value for m in result.measurements if m.name == "core_volume"), None)
    value = own_code("not_defined", "not defined")
    if measurement.reason:
        value = own_code("not_measured", shortened(measurement.reason, _MEANING_LENGTH))
    if measurement.name == "mismatch_ratio" and core == 0:
        value = own_code("core_is_zero", "not defined: core is zero")
    return hd.sr.QualitativeEvaluation(own_code(measurement.name, measurement.label), value)


def _measurement(measurement: Measurement) -> hd.sr.Measurement:
    return hd.sr.Measurement(
        name=own_code(measurement.name, measurement.label),
        value=_rounded(measurement.value or 0.0),
        unit=unit_code(measurement.unit),
    )


def _rounded(value: float) -> float:
    """Six significant digits: more would only be noise of the computation."""
    return float(f"{value:.6g}")


def finding_code(finding: Finding) -> Code:
    """What is found or not, as a code."""
    meaning = finding.name.replace("_", " ")
    return _FINDINGS.get(finding.name) or own_code(finding.name, meaning.capitalize())


def _probability(finding: Finding) -> hd.sr.Measurement:
    meaning = f"Probability of {finding_code(finding).meaning.lower()}"
    return hd.sr.Measurement(
        name=own_code(f"p_{finding.name}", meaning),
        value=_rounded(finding.probability or 0.0),
        unit=unit_code("1"),
    )


def _algorithm(context: WriteContext) -> hd.sr.AlgorithmIdentification:
    result = context.result
    lines = parameter_lines(result)
    if result.status == "ok":
        lines.append(f"device={plain(result.device)}")
    return hd.sr.AlgorithmIdentification(
        name=plain(result.pipeline),
        version=f"{plain(result.version)} (StrokeNode {plain(context.run.software_version)})",
        parameters=lines or None,
        manufacturer=MANUFACTURER,
    )


def _region_group(
    region: WrittenRegion, context: WriteContext
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    segmentation = region.segmentation
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=tracking_uid(segmentation, context), identifier=plain(segmentation.name)
        ),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=region.reference.sop_class_uid,
            sop_instance_uid=region.reference.sop_instance_uid,
            segment_number=1,
            source_images=[
                hd.sr.SourceImageForSegmentation(
                    image.sop_class_uid, image.sop_instance_uid, list(image.frame_numbers) or None
                )
                for image in region.sources
            ],
        ),
        finding_type=segmented_property(segmentation.name),
        finding_category=CATEGORY,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Brain)],
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=plain(f"{context.result.pipeline}: {segmentation.algorithm}"),
            version=plain(context.result.version),
        ),
        measurements=[
            hd.sr.Measurement(
                name=codes.SCT.Volume, value=_rounded(segmentation.volume_ml), unit=unit_code("ml")
            )
        ],
    )


def _stand_in(reference: ImageReference, context: WriteContext) -> Dataset:
    """An image as far as highdicom looks at it, of a class that highdicom knows."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = reference.sop_instance_uid
    ds.SeriesInstanceUID = reference.series_instance_uid
    ds.StudyInstanceUID = context.source.study_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(ds, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(ds, keyword, "")
    return ds


def _evidence_sequence(references: Sequence[ImageReference], study_uid: str) -> list[Dataset]:
    """Items of Current Requested Procedure Evidence Sequence."""
    item = Dataset()
    item.StudyInstanceUID = study_uid
    item.ReferencedSeriesSequence = referenced_series(references, "ReferencedSOPSequence")
    return [item]


def _predecessors(context: WriteContext) -> list[Dataset] | None:
    predecessor = context.run.predecessor
    if predecessor is None:
        return None
    ds = Dataset()
    ds.SOPClassUID = predecessor.sop_class_uid
    ds.SOPInstanceUID = predecessor.sop_instance_uid
    ds.SeriesInstanceUID = predecessor.series_instance_uid
    ds.StudyInstanceUID = predecessor.study_instance_uid
    return [ds]
