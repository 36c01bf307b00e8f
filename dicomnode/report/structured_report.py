"""The numbers of every region as a Comprehensive SR (TID 1500)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from dicomnode.measure import iron
from dicomnode.measure.organ import Answered
from dicomnode.report import change, codes, wording
from dicomnode.report.identity import uid
from dicomnode.report.instance import KINDS, NOT_FOR_DIAGNOSIS, stamp
from dicomnode.report.provenance import algorithm, in_words, parameters
from dicomnode.report.quantities import FAT_FRACTION, R2STAR, T2STAR
from dicomnode.report.references import Reference, merged
from dicomnode.report.regions import anchors, area, has_holes, outlines
from dicomnode.report.segmentation import tracking_uid
from dicomnode.report.source import ALWAYS, UTF8
from dicomnode.trend.values import Bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from pydicom.sr.coding import Code

    from dicomnode.model import Roi, RoiMeasurement, Statistics
    from dicomnode.report.instance import Draft
    from dicomnode.report.quantities import Quantity
    from dicomnode.trend.rules import Change
    from dicomnode.trend.values import Point
    from dicomnode.trend.values import Reference as EarlierReport

    Written = Mapping[str, tuple[Reference, ...]]
    Group = (
        sr.MeasurementsAndQualitativeEvaluations
        | sr.PlanarROIMeasurementsAndQualitativeEvaluations
        | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    )

KIND = "structured_report"
# A region of many islands stays readable; the segmentation holds all of them.
MOST_OUTLINES = 50


def series_uid(key: str) -> str:
    """Return the Series Instance UID of the report of a result."""
    return uid(key, f"{KIND}/series")


def build(draft: Draft, written: Written) -> tuple[Dataset, ...]:
    """Return the report: one measurement group per region, drawn on the T2* map where there is one."""
    shown_on = anchors(draft, written)
    traced = [_drawn(roi) for roi in draft.result.rois]
    # A region without an outline gets words only: one group without coordinates blanks the whole report in OHIF.
    identified = sr.AlgorithmIdentification(algorithm(draft), draft.software_version, parameters(draft))
    shared = _Shared(identified, shown_on, written)
    groups = [_group(draft, index, lines, shared) for index, lines in enumerate(traced) if lines]
    told = (traced and traced[0]) or not groups  # beside the outline of what they are of, or where nothing has one
    earlier = list(_earlier(draft)) if told else []
    report = _document(draft, [*(groups or [_nothing_drawn(draft, identified)]), *earlier], shown_on, written)
    report.ContentSequence.append(_remarks(draft, traced))
    _name_earlier(report, draft)
    stamp(report, draft, KIND)
    return (report,)


# ---- measurement groups

_Lines = list[tuple[int, "NDArray[np.float32]"]]  # outlines with the slice each lies on, largest first


@dataclass(frozen=True, slots=True)
class _Shared:
    """What every group points at: how it was made, the image of each slice, the other results."""

    algorithm: sr.AlgorithmIdentification
    shown_on: Sequence[Reference]
    written: Written


def _group(draft: Draft, index: int, lines: _Lines, shared: _Shared) -> Group:
    """Return TID 1410 for a region of one outline, TID 1411 for one of several."""
    roi, numbers = draft.result.rois[index], draft.result.measurements[index]
    regions = [_outline(points, shared.shown_on[k]) for k, points in lines[:MOST_OUTLINES]]
    name = wording.tracked(roi, numbers)
    content: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=tracking_uid(draft.key, index), identifier=name),
        "finding_type": codes.finding(roi.finding, roi.name),
        "finding_sites": _sites(roi),
        "algorithm_id": shared.algorithm,
        "measurements": _measurements(draft, numbers, shared.written),
        "qualitative_evaluations": _evaluations(roi, numbers),
    }
    if len(regions) == 1:
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=regions[0], **content)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **content)


def _sites(roi: Roi) -> list[sr.FindingSite] | None:
    """Where in a body a region is; a phantom is none."""
    if codes.category(roi.finding) is codes.PHYSICAL_OBJECT:
        return None
    return [sr.FindingSite(anatomic_location=codes.finding(roi.finding, roi.name))]


def _drawn(roi: Roi) -> _Lines:
    """Return every outline of a region with the index of its slice, largest first."""
    found = [(k, points) for k, mask in enumerate(roi.mask) for points in outlines(mask)]
    return sorted(found, key=lambda outline: -area(outline[1]))


def _outline(points: NDArray[np.float32], image: Reference) -> sr.ImageRegion:
    source = sr.SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid, list(image.frames) or None)
    return sr.ImageRegion(graphic_type="POLYLINE", graphic_data=points, source_image=source)


def _measurements(draft: Draft, numbers: RoiMeasurement, written: Written) -> list[sr.Measurement]:
    """Put first what viewers that show five lines should show: medians, the concentration, how sure it is."""
    t2star = _Figures(T2STAR, numbers.t2star_ms, written.get(T2STAR.float_kind, ()))
    r2star = _Figures(R2STAR, numbers.r2star_per_s, written.get(R2STAR.float_kind, ()))
    iron = _iron(draft, numbers)
    return [
        *_bounds(draft, numbers),
        *_first(draft, r2star, t2star, iron),
        *_interval(draft, numbers),
        *_confidence(numbers),
        *_staging(draft, numbers),
        _plain(codes.AREA, numbers.area_mm2, codes.SQUARE_MILLIMETRE),
        _plain(codes.VOXELS, int(numbers.n_voxels), codes.VOXEL_COUNT),
        *iron[1:],
        *_fat(numbers, written.get(FAT_FRACTION.float_kind, ())),
        *r2star.item("mean", codes.MEAN),
        *t2star.item("mean", codes.MEAN),
        *r2star.item("sd", codes.STANDARD_DEVIATION),
        *t2star.item("sd", codes.STANDARD_DEVIATION),
        *r2star.item("iqr", codes.INTERQUARTILE_RANGE),
        *t2star.item("iqr", codes.INTERQUARTILE_RANGE),
        *_slices(draft, numbers, written),
    ]


def _first(draft: Draft, r2star: _Figures, t2star: _Figures, iron: list[sr.Measurement]) -> list[sr.Measurement]:
    """Return the medians and the concentration, what the answer gives as near the top as it was always read."""
    rate, time = r2star.item("median", codes.MEDIAN), t2star.item("median", codes.MEDIAN)
    return [*time, *rate, *iron[:1]] if draft.organ.answers is Answered.T2STAR else [*rate, *iron[:1], *time]


def _plain(name: Code, value: float, unit: Code) -> sr.Measurement:
    return _printed(sr.Measurement(name=name, value=value, unit=unit))


def _fat(numbers: RoiMeasurement, read_from: tuple[Reference, ...]) -> list[sr.Measurement]:
    """Return the signal fat fraction with its interval, and R2* without it where they differ by a word's worth."""
    found = []
    if numbers.measurable and numbers.fat_fraction is not None:
        value, (low, high) = numbers.fat_fraction.value, numbers.fat_fraction.ci95
        images = [sr.SourceImageForMeasurement(i.sop_class_uid, i.sop_instance_uid) for i in read_from]
        item = sr.Measurement(
            name=codes.FAT,
            value=100 * value,
            unit=codes.PERCENT,
            derivation=codes.MEDIAN,
            method=codes.FAT_FIT,
            referenced_images=images,
        )
        ends = ((codes.FAT_LOW, low), (codes.FAT_HIGH, high))
        found += [_printed(item), *(_plain(name, 100 * bound, codes.PERCENT) for name, bound in ends)]
    if wording.plain(numbers) and numbers.plain_r2star_per_s is not None:
        found.append(_plain(codes.R2STAR_PLAIN, numbers.plain_r2star_per_s, codes.PER_SECOND))
    return found


def _bounds(draft: Draft, numbers: RoiMeasurement) -> list[sr.Measurement]:
    """Return what is there at the least, beyond the measurable range."""
    if numbers.at_least is None:
        return []
    rate, iron = numbers.at_least.r2star_per_s, numbers.at_least.lic_mg_per_g
    found = [_plain(codes.R2STAR_AT_LEAST, float(rate), codes.PER_SECOND)]
    return found if iron is None else [*found, _plain(draft.iron.at_least, float(iron), codes.MILLIGRAM_PER_GRAM_DRY)]


def _confidence(numbers: RoiMeasurement) -> list[sr.Measurement]:
    if numbers.confidence is None:
        return []
    return [_plain(codes.CONFIDENCE, round(100 * float(numbers.confidence), 1), codes.PERCENT)]


def _staging(draft: Draft, numbers: RoiMeasurement) -> list[sr.Measurement]:
    """Return how likely each published range is; what a bound excludes is said by the bound."""
    ranges = draft.organ.ranges
    if ranges is None or numbers.lic is None or not numbers.measurable:
        return []
    return [
        _plain(codes.in_range(stage.name, draft.organ.symbol, ranges.scheme), 100 * stage.probability, codes.PERCENT)
        for stage in numbers.stages
        if stage.probability is not None
    ]


def _slices(draft: Draft, numbers: RoiMeasurement, written: Written) -> list[sr.Measurement]:
    """Return the medians of single slices, each inferred from the R2* map of its slice."""
    maps = written.get("mr_map_r2star", ())
    images = list(maps) or [slice_.echoes[0] for slice_ in draft.source.slices]
    found = []
    for one in numbers.slices:
        image = images[one.index]
        source = sr.SourceImageForMeasurement(image.sop_class_uid, image.sop_instance_uid, list(image.frames) or None)
        values = (
            (codes.R2STAR_OF_SLICE, one.r2star_per_s, codes.PER_SECOND),
            (draft.iron.of_slice, one.lic_mg_per_g, codes.MILLIGRAM_PER_GRAM_DRY),
        )
        for name, value, unit in values:
            if value is not None and math.isfinite(value):
                item = sr.Measurement(
                    name=name, value=float(value), unit=unit, derivation=codes.MEDIAN, referenced_images=[source]
                )
                found.append(_printed(item))
    return found


@dataclass(frozen=True, slots=True)
class _Figures:
    """One quantity of a region and the map it was read from."""

    quantity: Quantity
    values: Statistics | None
    read_from: tuple[Reference, ...]

    def item(self, field: str, derivation: Code) -> list[sr.Measurement]:
        """Return one figure of the distribution, or nothing where it could not be measured."""
        value = math.nan if self.values is None else float(getattr(self.values, field))
        if not math.isfinite(value):
            return []
        images = [sr.SourceImageForMeasurement(i.sop_class_uid, i.sop_instance_uid) for i in self.read_from]
        item = sr.Measurement(
            name=self.quantity.code,
            value=value,
            unit=self.quantity.unit,
            derivation=derivation,
            method=codes.R2STAR_FIT,
            referenced_images=images,
        )
        return [_printed(item)]


def _interval(draft: Draft, numbers: RoiMeasurement) -> list[sr.Measurement]:
    """Return the ends of the 95 % intervals, each under a name that nothing takes for the value."""
    if not numbers.measurable:
        return []
    found = []
    if numbers.lic is not None and not wording.is_under_range(numbers):
        low, high = numbers.lic.ci95
        unit = codes.MILLIGRAM_PER_GRAM_DRY
        found += [(draft.iron.low, low, unit), (draft.iron.high, high, unit)]
    if numbers.r2star is not None:
        low, high = numbers.r2star.ci95
        found += [(codes.R2STAR_LOW, low, codes.PER_SECOND), (codes.R2STAR_HIGH, high, codes.PER_SECOND)]
        if draft.organ.answers is Answered.T2STAR and low > 0:
            unit = codes.MILLISECOND
            found += [(codes.T2STAR_LOW, 1000.0 / high, unit), (codes.T2STAR_HIGH, 1000.0 / low, unit)]
    return [_plain(name, max(float(value), 0.0), unit) for name, value, unit in found]


def _iron(draft: Draft, numbers: RoiMeasurement) -> list[sr.Measurement]:
    """Return the concentration in both units; where there is none, words say so among the remarks."""
    if numbers.lic_mg_per_g is None or not numbers.measurable or wording.is_under_range(numbers):
        return []
    value = float(numbers.lic_mg_per_g)
    name = draft.iron.doubted if wording.is_doubted(numbers) else draft.iron.value
    return [
        _printed(
            sr.Measurement(
                name=what,
                value=value * factor,
                unit=unit,
                derivation=codes.MEDIAN,
                method=codes.calibration(numbers.calibration_name, numbers.calibration_formula, draft.organ.symbol),
            )
        )
        for what, unit, factor in (
            (name, codes.MILLIGRAM_PER_GRAM_DRY, 1.0),
            (draft.iron.amount, codes.MICROMOLE_PER_GRAM_DRY, iron.UMOL_PER_MG),
        )
    ]


def _printed(item: sr.Measurement) -> sr.Measurement:
    """Print six significant digits; the floating point value beside them stays exact (PS3.3 C.18.1)."""
    measured = item[0].MeasuredValueSequence[0]
    exact = measured.get("FloatingPointValue", measured.NumericValue)
    measured.NumericValue = DSfloat(f"{float(exact):.6g}")
    return item


def _evaluations(roi: Roi, numbers: RoiMeasurement) -> list[sr.QualitativeEvaluation]:
    """Say in codes what is no number: how the region came about, and each flag with its grade.

    What failed is named with the standard's qualifier (CID 42) as an evaluation: a measurement without a value
    is an error to validators and to highdicom, and any number in its place would be read as one.
    """
    facts = [
        (codes.REGION, codes.AUTOMATIC if roi.automatic else codes.MANUAL),
        (codes.QUALITY, codes.FLAGGED if numbers.flags else codes.NO_FLAG),
        *((codes.grade(flag), codes.flag(flag)) for flag in wording.flags_by_grade(numbers.flags)),
    ]
    if numbers.t2star_ms is None:
        facts.append((codes.T2STAR, codes.MEASUREMENT_FAILURE))
    if numbers.r2star_per_s is None:
        facts.append((codes.R2STAR, codes.MEASUREMENT_FAILURE))
    return [sr.QualitativeEvaluation(name=fact, value=value) for fact, value in facts]


def _nothing_drawn(draft: Draft, algorithm: sr.AlgorithmIdentification | None = None) -> Group:
    """Return a group that says no region was measured: a report may not be silent about it."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking_uid(draft.key, 0), identifier="No region"),
        algorithm_id=algorithm,
        qualitative_evaluations=[sr.QualitativeEvaluation(name=codes.R2STAR, value=codes.MEASUREMENT_FAILURE)],
    )


# ---- what was measured earlier


def _earlier(draft: Draft) -> Iterator[Group]:
    """Return TID 1501 for each earlier value, at its time point (TID 1502): days before this study.

    The tracking identifier is that of the region, which is the same one: viewers put both together, and OHIF, which a
    group without coordinates would break, shows today's outline with them.
    """
    now, judged = draft.trend.now, draft.trend.is_judged
    why = codes.OBSTACLE if judged else codes.DIFFERENCE
    for then, verdict in draft.trend.entries:
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uid=tracking_uid(draft.key, 0), identifier=f"{draft.organ.name}, earlier"
            ),
            time_point_context=_time_point(then, now),
            finding_type=codes.finding(draft.organ.name),
            finding_sites=[sr.FindingSite(anatomic_location=codes.finding(draft.organ.name))],
            measurements=_earlier_values(draft, then, verdict),
            qualitative_evaluations=[
                sr.QualitativeEvaluation(name=name, value=value)
                for name, value in (
                    *([(codes.CHANGE, codes.outcome(verdict.outcome))] if judged else []),
                    *((why, codes.obstacle(one)) for one in verdict.obstacles),
                )
            ]
            or None,
        )
        if then.report is not None:
            group[0].ContentSequence.append(_pointer(then.report))
        yield group


def _time_point(then: Point, now: Point) -> sr.TimePointContext:
    days = change.days_since(then, now)
    offset = None
    if days is not None:
        offset = sr.LongitudinalTemporalOffsetFromEvent(-float(days), codes.DAY, codes.THIS_STUDY)
    return sr.TimePointContext(time_point=change.day(then), temporal_offset_from_event=offset)


def _earlier_values(draft: Draft, then: Point, verdict: Change) -> list[sr.Measurement]:
    iron = draft.iron
    of_bound = {Bound.NONE: iron.prior, Bound.BELOW: iron.prior_below, Bound.ABOVE: iron.prior_above}
    of_time = codes.T2STAR_PRIOR if then.bound is Bound.NONE else codes.T2STAR_PRIOR_BELOW
    values = (
        (of_bound[then.bound], then.lic_mg_per_g, codes.MILLIGRAM_PER_GRAM_DRY),
        (of_time, then.t2star_ms, codes.MILLISECOND),
        (codes.R2STAR_PRIOR, then.r2star_per_s, codes.PER_SECOND),
        (iron.change, verdict.difference_mg_per_g, codes.MILLIGRAM_PER_GRAM_DRY),
        (iron.change_limit, verdict.limit_mg_per_g, codes.MILLIGRAM_PER_GRAM_DRY),
    )
    return [_plain(name, float(value), unit) for name, value, unit in values if value is not None]


def _pointer(report: EarlierReport) -> sr.CompositeContentItem:
    return sr.CompositeContentItem(
        name=codes.PRIOR_REPORT,
        referenced_sop_class_uid=KINDS[KIND].sop_class_uid,
        referenced_sop_instance_uid=report.sop_uid,
        relationship_type="CONTAINS",
    )


def _name_earlier(report: Dataset, draft: Draft) -> None:
    """Name the reports of other studies that are referred to (PS3.3 C.17.2, Pertinent Other Evidence)."""
    items = []
    for one in dict.fromkeys(then.report for then, _ in draft.trend.entries if then.report is not None):
        instance, series, study = Dataset(), Dataset(), Dataset()
        instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = KINDS[KIND].sop_class_uid, one.sop_uid
        series.SeriesInstanceUID, series.ReferencedSOPSequence = one.series_uid, [instance]
        study.StudyInstanceUID, study.ReferencedSeriesSequence = one.study_uid, [series]
        items.append(study)
    if items:
        report.PertinentOtherEvidenceSequence = [*report.get("PertinentOtherEvidenceSequence", ()), *items]


# ---- the document around them


def _remarks(draft: Draft, traced: Sequence[_Lines]) -> sr.ContainerContentItem:
    """Return everything that takes words (TID 1500, Qualitative Evaluations), the answer first."""
    answer, *remarks = wording.remarks(draft.result)
    sentences = [(codes.ANSWER, answer), (codes.LIMITATION, NOT_FOR_DIAGNOSIS)]
    sentences += [(codes.REMARK, sentence) for sentence in (*remarks, *_undrawn(draft, traced))]
    sentences += [(codes.REMARK, sentence) for sentence in wording.numbers_in_words(draft.result)]
    sentences += [(codes.OF_SLICE, line) for line in wording.slice_lines(draft.result)]
    sentences += [(codes.EARLIER, line) for line in (*change.remarks(draft.trend), *change.lines(draft.trend))]
    sentences += [(codes.PROVENANCE, line) for line in in_words(draft)]
    container = sr.ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence(
        [sr.TextContentItem(name=what, value=words, relationship_type="CONTAINS") for what, words in sentences]
    )
    return container


def _undrawn(draft: Draft, traced: Sequence[_Lines]) -> list[str]:
    """Say which regions are not, or not exactly, what the report draws."""
    found = [] if draft.result.rois else ["No region was found or drawn; only maps were made"]
    for roi, lines in zip(draft.result.rois, traced, strict=True):
        if not lines:
            found.append(f"{roi.name}: no voxel, no numbers")
        if has_holes(roi):
            found.append(f"{roi.name}: the outline encloses voxels that were left out; the segmentation does not")
        if len(lines) > MOST_OUTLINES:
            found.append(f"{roi.name}: the {MOST_OUTLINES} largest outlines are drawn; the segmentation holds all")
    return found


def _document(
    draft: Draft,
    groups: list[Group],
    shown_on: Sequence[Reference],
    written: Written,
) -> sr.ComprehensiveSR:
    library = [_evidence_item(draft, reference) for reference in merged(shown_on)]

    def content(measured: list[Group]) -> sr.MeasurementReport:
        return sr.MeasurementReport(
            observation_context=_observers(draft),
            procedure_reported=codes.MRI,
            imaging_measurements=measured,
            title=codes.MEASUREMENT_REPORT,
            referenced_images=library,
        )

    earlier = draft.earlier()
    # Content is copied and searched for references several times there; what is measured is put in afterwards.
    report = sr.ComprehensiveSR(
        evidence=[*library, *_evidence(draft, written)],
        content=content([_nothing_drawn(draft)]),
        series_instance_uid=draft.series_uid(KIND),
        series_number=KINDS[KIND].place,
        sop_instance_uid=draft.instance_uid(KIND),
        instance_number=1,
        manufacturer=draft.manufacturer,
        is_complete=True,
        previous_versions=None if earlier is None else [_predecessor(earlier)],
        specific_character_set=UTF8,
    )
    for element in content(groups)[0]:
        report[element.tag] = element
    return report


def _observers(draft: Draft) -> sr.ObservationContext:
    """Name this device, and the person who drew the regions where one did (TID 1001)."""
    maker, serial = draft.manufacturer, draft.settings.device_serial_number
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid("observer", f"{maker}/{serial}"),
        name=draft.device,
        manufacturer_name=maker,
        model_name=draft.device,
        serial_number=serial,
    )
    author = draft.author
    person = None if author is None else sr.PersonObserverIdentifyingAttributes(name=author)
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(codes.concept(codes.DEVICE), device),
        observer_person_context=None if person is None else sr.ObserverContext(codes.concept(codes.PERSON), person),
    )


def _evidence(draft: Draft, written: Written) -> list[Dataset]:
    """Name every other result and every source image."""
    results = [one for kind in written.values() for one in kind]
    return [_evidence_item(draft, reference) for reference in merged((*results, *draft.source.references))]


def _evidence_item(draft: Draft, reference: Reference) -> Dataset:
    """Return what highdicom asks of an instance to name it."""
    item = Dataset()
    for keyword in ALWAYS:
        setattr(item, keyword, None)
    item.StudyInstanceUID = draft.source.study_instance_uid
    item.SeriesInstanceUID = reference.series_instance_uid
    item.SOPInstanceUID = reference.sop_instance_uid
    item.SOPClassUID = reference.sop_class_uid
    item.FrameOfReferenceUID = draft.source.frame_of_reference_uid
    plane = draft.source.slices[0].plane
    item.Rows, item.Columns = plane.rows, plane.columns
    item.Modality = ""  # or the library would print each image's geometry, twelve numbers that nobody measured
    return item


def _predecessor(earlier: Draft) -> Dataset:
    return _evidence_item(earlier, earlier.reference(KIND))
