"""Many images in one Enhanced MR Image object (PS3.3 A.36)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from dicomnode.model import Component
from dicomnode.simulate.dialects import slice_by_slice
from dicomnode.simulate.modules import (
    FLIP_ANGLE_DEG,
    REPETITION_TIME_MS,
    acquired_at,
    code,
    date_time,
    decimal,
    decimals,
    item,
    set_pixels,
    set_times,
    start,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicomnode.simulate.frames import Frame
    from dicomnode.simulate.modules import Exam

STACK = (Tag("StackID"), Tag("FrameContentSequence"))
POSITION = (Tag("InStackPositionNumber"), Tag("FrameContentSequence"))
TIME = (Tag("TemporalPositionIndex"), Tag("FrameContentSequence"))
ECHO = (Tag("EffectiveEchoTime"), Tag("MREchoSequence"))
PHILIPS_IMAGE_TYPE = (Tag(0x2005, 0x1011), Tag(0x2005, 0x140F))
PHILIPS_CREATORS = ("Philips MR Imaging DD 001", "Philips MR Imaging DD 005")


def encode_per_echo(exam: Exam, frames: Sequence[Frame]) -> Iterator[Dataset]:
    """Give one object per echo of a series, its frames the slices, as Siemens XA does."""
    for series, echo in sorted({(exam.series_number(frame), frame.echo_index) for frame in frames}):
        chosen = [f for f in frames if (exam.series_number(f), f.echo_index) == (series, echo)]
        dataset = _object(exam, chosen, echo + 1)
        _dimensions(dataset, exam, (STACK, POSITION, TIME))
        for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, chosen, strict=True):
            group.FrameContentSequence[0].DimensionIndexValues = [1, frame.slice_index + 1, 1]
        yield dataset


def encode_whole(exam: Exam, frames: Sequence[Frame]) -> Iterator[Dataset]:
    """Give one object with every component, slice and echo, as Philips does."""
    chosen = sorted(frames, key=slice_by_slice)
    dataset = _object(exam, chosen, 1)
    _dimensions(dataset, exam, (STACK, POSITION, PHILIPS_IMAGE_TYPE, ECHO))
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, chosen, strict=True):
        image_type = frame.kind.codes["dimension"]
        group.FrameContentSequence[0].DimensionIndexValues = [
            1,
            frame.slice_index + 1,
            image_type,
            frame.echo_index + 1,
        ]
        _philips_private_group(group, frame)
    yield dataset


def _object(exam: Exam, frames: Sequence[Frame], instance_number: int) -> Dataset:
    dataset = start(exam, frames[0], EnhancedMRImageStorage, instance_number)
    set_times(dataset, exam, frames[0])
    _description(dataset, frames)
    _acquisition(dataset)
    if dataset.ImageType[0] == "ORIGINAL":
        _pulse_sequence(dataset, exam)
    set_pixels(dataset, frames)
    dataset.NumberOfFrames = len(frames)
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(exam)]
    dataset.PerFrameFunctionalGroupsSequence = [_frame_groups(exam, frame) for frame in frames]
    return dataset


def _component_name(frame: Frame) -> str:
    """PS3.3 C.8.13.3.1.2 knows no derived component: a map calls itself a magnitude."""
    component = frame.kind.component
    return "MAGNITUDE" if component is Component.DERIVED else component.value.upper()


def _description(dataset: Dataset, frames: Sequence[Frame]) -> None:
    """Set the MR Image Description macro (PS3.3 C.8.13.3.1): MIXED where the frames differ."""
    components = {_component_name(frame) for frame in frames}
    image_types = {frame.kind.image_type for frame in frames}
    first = frames[0].kind.image_type
    dataset.ImageType = list(first if len(image_types) == 1 else (*first[:3], "MIXED"))
    dataset.ComplexImageComponent = components.pop() if len(components) == 1 else "MIXED"
    dataset.AcquisitionContrast = frames[0].kind.frame_contrast
    _pixel_description(dataset)


def _pixel_description(dataset: Dataset) -> None:
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"


def _acquisition(dataset: Dataset) -> None:
    """Set what the Enhanced MR Image module asks of maps too (PS3.3 C.8.13.1)."""
    dataset.ContentQualification = "PRODUCT"
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.ResonantNucleus = "1H"
    dataset.KSpaceFiltering = "NONE"
    dataset.AcquisitionDuration = 20.0


def _pulse_sequence(dataset: Dataset, exam: Exam) -> None:
    """Set the MR Pulse Sequence module (PS3.3 C.8.13.4)."""
    dataset.MRAcquisitionType = "2D"
    dataset.PulseSequenceName = exam.dialect.sequence_name
    dataset.EchoPulseSequence = "GRADIENT"
    dataset.MultiPlanarExcitation = "NO"
    dataset.PhaseContrast = "NO"
    dataset.TimeOfFlightContrast = "NO"
    dataset.SteadyStatePulseSequence = "NONE"
    dataset.EchoPlanarPulseSequence = "NO"
    dataset.SaturationRecovery = "NO"
    dataset.SpectrallySelectedSuppression = "NONE"
    dataset.OversamplingPhase = "NONE"
    dataset.GeometryOfKSpaceTraversal = "RECTILINEAR"
    dataset.SegmentedKSpaceTraversal = "SINGLE"
    dataset.RectilinearPhaseEncodeReordering = "LINEAR"
    dataset.NumberOfKSpaceTrajectories = 1


def _dimensions(dataset: Dataset, exam: Exam, pointers: Sequence[tuple[int, int]]) -> None:
    """Set the Multi-frame Dimension module (PS3.3 C.7.6.17)."""
    organization = exam.uid("dimensions")
    dataset.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    dataset.DimensionIndexSequence = [_dimension(organization, *pointer) for pointer in pointers]


def _dimension(organization: str, pointer: int, group: int) -> Dataset:
    dimension = item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
    if Tag(pointer).is_private:
        dimension.DimensionIndexPrivateCreator, dimension.FunctionalGroupPrivateCreator = PHILIPS_CREATORS
    return dimension


def _shared_groups(exam: Exam) -> Dataset:
    """Return the functional groups that are the same for every frame."""
    modifier = item(PixelBandwidth=decimal(600), MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE")
    frequency = exam.dialect.frequency_mhz[exam.plan.field_strength_t]
    if frequency is not None:
        modifier.TransmitterFrequency = frequency
    return item(
        MRImagingModifierSequence=[modifier],
        MRReceiveCoilSequence=[_receive_coil()],
        MRTransmitCoilSequence=[
            item(TransmitCoilName="Body", TransmitCoilManufacturerName="", TransmitCoilType="BODY"),
        ],
        MRTimingAndRelatedParametersSequence=[_timing(exam)],
        MRModifierSequence=[_modifier()],
        MRAveragesSequence=[item(NumberOfAverages=decimal(1))],
        MRFOVGeometrySequence=[_field_of_view(exam)],
        FrameAnatomySequence=[
            item(AnatomicRegionSequence=[code("10200004", "SCT", "Liver")], FrameLaterality="U"),
        ],
    )


def _receive_coil() -> Dataset:
    return item(
        ReceiveCoilName="BODY ARRAY",
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=[item(MultiCoilElementName="1", MultiCoilElementUsed="YES")],
    )


def _timing(exam: Exam) -> Dataset:
    train = exam.dialect.echo_train_length
    return item(
        RepetitionTime=decimal(REPETITION_TIME_MS),
        EchoTrainLength=len(exam.plan.echo_times_ms) if train is None else train,
        FlipAngle=decimal(FLIP_ANGLE_DEG),
        OperatingModeSequence=[item(OperatingModeType="GRADIENT", OperatingMode="IEC_NORMAL")],
        GradientOutputType="PER_NERVE_STIM",
        GradientOutput=0.5,
        SpecificAbsorptionRateSequence=[
            item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.1),
        ],
        RFEchoTrainLength=0,
        GradientEchoTrainLength=0,
    )


def _modifier() -> Dataset:
    return item(
        InversionRecovery="NO",
        FlowCompensation="NONE",
        Spoiling="RF",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        ParallelAcquisition="NO",
        PartialFourier="NO",
    )


def _field_of_view(exam: Exam) -> Dataset:
    return item(
        PercentSampling=decimal(100),
        PercentPhaseFieldOfView=decimal(100 * exam.plan.rows / exam.plan.columns),
        InPlanePhaseEncodingDirection="COLUMN",
        MRAcquisitionFrequencyEncodingSteps=exam.plan.columns,
        MRAcquisitionPhaseEncodingStepsInPlane=exam.plan.rows,
    )


def _frame_groups(exam: Exam, frame: Frame) -> Dataset:
    """Return the functional groups of one frame."""
    centre, width = window(frame.kind, [frame])
    placement = frame.placement
    return item(
        MREchoSequence=[item(EffectiveEchoTime=frame.echo_time_ms)],
        MRImageFrameTypeSequence=[_frame_type(frame)],
        FrameContentSequence=[_frame_content(exam, frame)],
        PlanePositionSequence=[item(ImagePositionPatient=decimals(placement.position))],
        PlaneOrientationSequence=[item(ImageOrientationPatient=decimals(placement.orientation))],
        PixelMeasuresSequence=[
            item(
                PixelSpacing=decimals(placement.spacing_mm[:2]),
                SliceThickness=decimal(placement.spacing_mm[2]),
                SpacingBetweenSlices=decimal(placement.spacing_mm[2]),
            )
        ],
        FrameVOILUTSequence=[item(WindowCenter=decimal(centre), WindowWidth=decimal(width))],
        PixelValueTransformationSequence=[_pixel_value_transformation(frame)],
    )


def _frame_type(frame: Frame) -> Dataset:
    described = item(
        FrameType=list(frame.kind.image_type),
        ComplexImageComponent=_component_name(frame),
        AcquisitionContrast=frame.kind.frame_contrast,
    )
    _pixel_description(described)
    return described


def _frame_content(exam: Exam, frame: Frame) -> Dataset:
    taken = date_time(acquired_at(exam, frame))
    return item(
        FrameAcquisitionDateTime=taken,
        FrameReferenceDateTime=taken,
        FrameAcquisitionDuration=20000.0,
        StackID="1",
        InStackPositionNumber=frame.slice_index + 1,
        TemporalPositionIndex=1,
        FrameAcquisitionNumber=1,
    )


def _pixel_value_transformation(frame: Frame) -> Dataset:
    rescale = frame.kind.rescale
    slope, intercept = (rescale.slope, rescale.intercept) if rescale else (1.0, 0.0)
    return item(RescaleSlope=decimal(slope), RescaleIntercept=decimal(intercept), RescaleType="US")


def _philips_private_group(group: Dataset, frame: Frame) -> None:
    """Add the group that Philips' third dimension points into."""
    inner = Dataset()
    first, second = PHILIPS_CREATORS
    inner.private_block(0x2005, first, create=True).add_new(0x11, "CS", frame.kind.image_type[3])
    # The block of the outer creator must be 14 for the element to be (2005,140F), as the dimension's pointer says.
    group.add_new(Tag(0x2005, 0x0014), "LO", second)
    group.add_new(Tag(0x2005, 0x140F), "SQ", [inner])
