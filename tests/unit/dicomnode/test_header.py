"""Reading headers: every vendor's dialect, and whatever damage may come."""

import dataclasses
import math
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode import header
from dicomnode.config import GroupingSettings
from dicomnode.group import REASONS, assemble
from dicomnode.header import read
from dicomnode.model import Component, Encoding, SequenceKind

CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"


def dataset(**changes):
    """A Siemens VE gradient echo of 4 × 4 pixels; None takes an attribute away."""
    values = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "SOPClassUID": CLASSIC,
        "SOPInstanceUID": "1.2.3.4.1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.9",
        "AccessionNumber": "A1",
        "Modality": "MR",
        "Manufacturer": "SIEMENS",
        "ManufacturerModelName": "Prisma",
        "StationName": "MR1",
        "SeriesDescription": "liver",
        "ProtocolName": "t2star",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ScanOptions": "",
        "SequenceName": "*fl2d6",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "120",
        "EchoTime": "4.6",
        "EchoNumbers": "1",
        "EchoTrainLength": "0",
        "FlipAngle": "20",
        "MagneticFieldStrength": "3",
        "ImagingFrequency": "123.2",
        "ImagedNucleus": "1H",
        "SeriesNumber": "5",
        "AcquisitionNumber": "1",
        "InstanceNumber": "1",
        "ImagePositionPatient": [-10.5, 20, 30],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1.5, 1.25],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 4,
        "Columns": 4,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": bytes(32),
    }
    result = Dataset()
    for keyword, value in (values | changes).items():
        if value is not None:
            setattr(result, keyword, value)
    return result


def private(target, place, value):
    group, creator, element, vr = place
    target.private_block(group, creator, create=True).add_new(element, vr, value)
    return target


def item(**values):
    result = Dataset()
    for keyword, value in values.items():
        setattr(result, keyword, value)
    return result


def enhanced(frame_types=(("ORIGINAL", "PRIMARY", "M", "NONE"),) * 3, shared=None, **changes):
    """Frames at echo times 2, 4, 6 ms ...; ``shared`` moves the echo time to the shared groups."""
    frames = []
    for n, words in enumerate(frame_types):
        frame = item(
            FrameContentSequence=[item(TemporalPositionIndex=1)],
            PlanePositionSequence=[item(ImagePositionPatient=[-10.5, 20, 30])],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[item(PixelSpacing=[1.5, 1.25])],
            MRImageFrameTypeSequence=[item(FrameType=list(words))],
            PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=n + 1, RescaleType="US")],
        )
        if shared is None:
            frame.MREchoSequence = [item(EffectiveEchoTime=2.0 * (n + 1))]
        frames.append(frame)
    common = item(MRImagingModifierSequence=[item(TransmitterFrequency=123.2)])
    if shared is not None:
        common.MREchoSequence = [item(EffectiveEchoTime=shared)]
    classic_only = (
        "EchoTime",
        "EchoNumbers",
        "ScanningSequence",
        "SequenceVariant",
        "SequenceName",
        "ImagingFrequency",
    )
    planes = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RepetitionTime", "FlipAngle")
    values = dict.fromkeys((*classic_only, *planes)) | {
        "SOPClassUID": ENHANCED,
        "Manufacturer": "Siemens Healthineers",
        "EchoPulseSequence": "GRADIENT",
        "PulseSequenceName": "*fl2d6",
        "NumberOfFrames": len(frames),
        "SharedFunctionalGroupsSequence": [common],
        "PerFrameFunctionalGroupsSequence": frames,
        "PixelData": bytes(32 * len(frames)),
    }
    return dataset(**(values | changes))


def encoded(source, syntax=ExplicitVRLittleEndian):
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = syntax
    source.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.1"
    return source


@pytest.fixture
def written(tmp_path):
    def write(source, syntax=ExplicitVRLittleEndian):
        path = tmp_path / "object.dcm"
        dcmwrite(path, encoded(source, syntax), enforce_file_format=True)
        return path

    return write


@pytest.fixture
def image(written):
    """The one image of a data set."""

    def read_one(source, syntax=ExplicitVRLittleEndian):
        found = read(written(source, syntax))
        assert found.reason is None, found.reason
        (only,) = found.images
        return only

    return read_one


@pytest.fixture
def reason(written):
    def read_reason(source):
        found = read(written(source))
        assert found.images == ()
        assert found.reason.code in header.REASONS
        return found.reason

    return read_reason


# --- classic objects --------------------------------------------------------------------------------------------------


NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_classic_object_is_one_image_in_every_native_encoding(written, syntax):
    found = read(written(dataset(), syntax))
    (image,) = found.images
    assert (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid) == (
        "1.2.3",
        "1.2.3.4",
        "1.2.3.4.1",
    )
    assert found.accession_number == "A1"
    assert (image.component, image.sequence_kind, image.encoding) == (
        Component.MAGNITUDE,
        SequenceKind.GRADIENT_ECHO,
        Encoding.CLASSIC,
    )
    assert (image.echo_time_ms, image.frame, image.plane.rows, image.plane.pixel_spacing_mm) == (
        4.6,
        None,
        4,
        (1.5, 1.25),
    )
    assert image.field_strength_t == pytest.approx(2.8936, abs=1e-3)


SIEMENS, GE, PHILIPS = {"Manufacturer": "SIEMENS"}, {"Manufacturer": "GE MEDICAL SYSTEMS"}, {"Manufacturer": "Philips"}
UIH, CANON, OTHER = {"Manufacturer": "UIH"}, {"Manufacturer": "CANON_MEC"}, {"Manufacturer": "Esaote"}


@pytest.mark.parametrize(
    ("maker", "image_type", "component"),
    [
        (SIEMENS, "ORIGINAL\\PRIMARY\\M\\ND", Component.MAGNITUDE),
        (SIEMENS, "ORIGINAL\\PRIMARY\\M\\NORM\\DIS2D", Component.MAGNITUDE),
        (SIEMENS, "ORIGINAL\\PRIMARY\\M\\DIS2D\\MFSPLIT", Component.MAGNITUDE),
        (SIEMENS, "ORIGINAL\\PRIMARY\\P\\ND", Component.PHASE),
        (SIEMENS, "ORIGINAL\\PRIMARY\\R\\ND", Component.REAL),
        (SIEMENS, "DERIVED\\PRIMARY\\R2_STAR MAP\\ND\\NORM", Component.DERIVED),
        (SIEMENS, "ORIGINAL\\PRIMARY\\T2_STAR MAP\\ND", Component.DERIVED),
        (SIEMENS, "ORIGINAL\\PRIMARY\\M\\ND\\NORM\\MEAN", Component.DERIVED),
        (SIEMENS, "ORIGINAL\\PRIMARY\\OTHER\\ND", Component.DERIVED),
        (GE, "ORIGINAL\\PRIMARY\\OTHER", Component.MAGNITUDE),
        (GE, "DERIVED\\SECONDARY\\OTHER", Component.DERIVED),
        (PHILIPS, "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE", Component.MAGNITUDE),
        (PHILIPS, "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE", Component.PHASE),
        (PHILIPS, "ORIGINAL\\PRIMARY\\R_FFE\\R\\FFE", Component.REAL),
        (PHILIPS, "ORIGINAL\\PRIMARY\\I_FFE\\I\\FFE", Component.IMAGINARY),
        (PHILIPS, "ORIGINAL\\PRIMARY\\B0 MAP\\B0\\UNSPECIFIED", Component.DERIVED),
        (PHILIPS, "ORIGINAL\\PRIMARY\\T2_STAR_UNSPECIF\\T2_STAR\\UNSPECIFIED", Component.DERIVED),
        (PHILIPS, "ORIGINAL\\PRIMARY\\W\\W\\DERIVED", Component.DERIVED),
        (UIH, "ORIGINAL\\PRIMARY\\M\\UCA\\IF", Component.MAGNITUDE),
        (UIH, "ORIGINAL\\PRIMARY\\P\\UCA\\IF", Component.PHASE),
        (CANON, "ORIGINAL\\PRIMARY\\GDC", Component.MAGNITUDE),
        (CANON, "ORIGINAL\\PRIMARY\\PHASE", Component.PHASE),
        (OTHER, "ORIGINAL\\PRIMARY", Component.MAGNITUDE),
        (OTHER, "ORIGINAL\\PRIMARY\\IMAGINARY", Component.IMAGINARY),
    ],
)
def test_the_component_is_read_from_each_vendors_image_type(image, maker, image_type, component):
    assert image(dataset(**maker, ImageType=image_type.split("\\"))).component is component


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("number", "component"), list(enumerate(Component)))
def test_ge_says_the_component_in_a_private_element(image, number, component, syntax):
    source = dataset(**GE, ImageType=["ORIGINAL", "PRIMARY", "OTHER"], ScanningSequence="RM")
    private(source, (0x0043, "GEMS_PARM_01", 0x2F, "SS"), number)
    private(source, (0x0019, "GEMS_ACQU_01", 0x7E, "SS"), 12)
    found = image(source, syntax)
    assert (found.component, found.promised_echoes, found.sequence_kind) == (component, 12, SequenceKind.GRADIENT_ECHO)


def test_private_elements_are_found_by_their_creator_and_not_by_their_block(image):
    source = dataset(**GE, ImageType=["ORIGINAL", "PRIMARY", "OTHER"])
    private(source, (0x0043, "SOMEONE ELSE", 0x2F, "SS"), 3)
    private(source, (0x0043, "GEMS_PARM_01", 0x2F, "SS"), 1)
    assert image(source).component is Component.PHASE


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"ScanningSequence": "GR"}, SequenceKind.GRADIENT_ECHO),
        ({"ScanningSequence": "RM", **GE}, SequenceKind.GRADIENT_ECHO),
        ({"ScanningSequence": "RM", "SequenceName": None}, SequenceKind.UNKNOWN),
        ({"ScanningSequence": None}, SequenceKind.GRADIENT_ECHO),
        ({"ScanningSequence": "EP", "SequenceName": "*epfid2d1_64"}, SequenceKind.ECHO_PLANAR),
        ({"ScanningSequence": ["EP", "GR"]}, SequenceKind.ECHO_PLANAR),
        ({"SequenceName": "epfid2d2_64"}, SequenceKind.ECHO_PLANAR),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, SequenceKind.ECHO_PLANAR),
        ({"ScanOptions": ["FS", "EPI_GEMS"], **GE}, SequenceKind.ECHO_PLANAR),
        ({"ScanningSequence": "SE", "SequenceName": "se2d16"}, SequenceKind.SPIN_ECHO),
        ({"ScanningSequence": "SE", "SequenceName": "*tse2d2_5"}, SequenceKind.TURBO_SPIN_ECHO),
        (
            {"ScanningSequence": "SE", "SequenceName": None, "SequenceVariant": "SK", "EchoTrainLength": "10"},
            SequenceKind.TURBO_SPIN_ECHO,
        ),
        ({"ScanningSequence": ["GR", "IR"]}, SequenceKind.INVERSION_RECOVERY),
        ({"SequenceName": "*ep_b1000#1"}, SequenceKind.DIFFUSION),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "DIFFUSION"]}, SequenceKind.DIFFUSION),
        ({"EchoTrainLength": "6"}, SequenceKind.GRADIENT_ECHO),
        ({"ScanningSequence": None, "SequenceName": None}, SequenceKind.UNKNOWN),
    ],
)
def test_the_kind_of_sequence_is_read_from_what_the_vendors_write(image, changes, kind):
    assert image(dataset(**changes)).sequence_kind is kind


def test_philips_multi_echo_with_an_epi_factor_is_echo_planar(image):
    source = dataset(**PHILIPS, ImageType=["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], SequenceName=None)
    assert image(source).sequence_kind is SequenceKind.GRADIENT_ECHO
    private(source, (0x2001, "Philips Imaging DD 001", 0x13, "SL"), 11)
    assert image(source).sequence_kind is SequenceKind.ECHO_PLANAR


@pytest.mark.parametrize(
    ("changes", "tesla"),
    [
        ({"ImagingFrequency": "123.2"}, 2.8936),
        ({"ImagingFrequency": "127.7"}, 2.9992),
        ({"ImagingFrequency": None, "MagneticFieldStrength": "3.0"}, 3.0),
        ({"ImagingFrequency": None, "MagneticFieldStrength": "15000"}, 1.5),
        ({"ImagingFrequency": "63.6", "MagneticFieldStrength": "1.4939999580383"}, 1.4937),
        ({"ImagingFrequency": "63.6", "MagneticFieldStrength": "15000"}, 1.4937),
        ({"ImagingFrequency": "0", "MagneticFieldStrength": "3"}, 3.0),
        ({"ImagingFrequency": "63.6", "MagneticFieldStrength": "3"}, None),
        ({"ImagingFrequency": None, "MagneticFieldStrength": None}, None),
        ({"ImagingFrequency": "nonsense", "MagneticFieldStrength": "3"}, 3.0),
        ({"ImagingFrequency": "32.1", "ImagedNucleus": "13C", "MagneticFieldStrength": "3"}, 3.0),
    ],
)
def test_the_field_comes_from_the_frequency_and_contradictions_leave_it_unknown(written, changes, tesla):
    frequency = changes.get("ImagingFrequency")
    source = dataset(**(changes | ({"ImagingFrequency": None} if frequency == "nonsense" else {})))
    content = written(source).read_bytes()
    path = written(source)
    if frequency == "nonsense":
        path.write_bytes(content.replace(b"\x18\x00\x85\x00", raw(0x00180084, "DS", b"nonsense") + b"\x18\x00\x85\x00"))
    (image,) = read(path).images
    assert image.field_strength_t == (None if tesla is None else pytest.approx(tesla, abs=1e-3))


@pytest.mark.parametrize(
    ("changes", "twin"),
    [
        ({}, ()),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]}, ("distortion corrected", "normalised")),
        ({"ScanOptions": "FS"}, ("fat saturated",)),
        ({"ScanOptions": ["PFP", "FS"]}, ("fat saturated",)),
    ],
)
def test_what_tells_twins_apart_is_kept(image, changes, twin):
    assert image(dataset(**changes)).twin == twin


@pytest.mark.parametrize("text", ["4.6", "4.60", " 4.6 ", "46e-1", "+4.6"])
def test_echo_times_are_numbers_however_they_are_written(written, text):
    path = written(dataset(EchoTime=None))
    content = path.read_bytes().replace(b"\x18\x00\x84\x00", raw(0x00180081, "DS", text.encode()) + b"\x18\x00\x84\x00")
    path.write_bytes(content)
    assert read(path).images[0].echo_time_ms == 4.6


def test_an_echo_time_of_zero_is_none(image):
    assert image(dataset(EchoTime="0.0")).echo_time_ms is None


def test_rescale_is_one_where_it_is_absent_and_kept_where_it_is_there(image):
    assert (image(dataset()).rescale_slope, image(dataset()).rescale_intercept) == (1.0, 0.0)
    scaled = image(dataset(RescaleSlope="1.2366", RescaleIntercept="-4096"))
    assert (scaled.rescale_slope, scaled.rescale_intercept) == (1.2366, -4096.0)


_PHASE = ["ORIGINAL", "PRIMARY", "P", "ND"]
_OF_PHILIPS = {"Manufacturer": "Philips", "ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]}


@pytest.mark.parametrize(
    ("changes", "turn"),
    [
        ({"ImageType": _PHASE, "RescaleSlope": "2", "RescaleIntercept": "-4096"}, 8192.0),
        ({"ImageType": _PHASE}, 4096.0),
        ({"ImageType": _PHASE, "RescaleSlope": "1", "RescaleIntercept": "0"}, None),
        ({**_OF_PHILIPS, "RescaleSlope": "1.53455433455433", "RescaleIntercept": "-3142"}, 2000 * math.pi),
        ({**_OF_PHILIPS}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"], "RescaleSlope": "2"}, None),
        ({"ImageType": _PHASE, "Manufacturer": "UIH"}, None),
    ],
)
def test_a_whole_turn_of_phase_is_what_its_vendor_writes_and_what_can_be_stored(image, changes, turn):
    assert image(dataset(BitsStored=12, **changes)).turn == turn


def test_a_series_split_by_the_scanner_names_its_scan(image):
    split = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "DIS2D", "MFSPLIT"], "EchoNumbers": None}
    assert image(dataset(**split, SeriesNumber="9002")).scan == "9"
    assert image(dataset(**split, SeriesNumber="9")).scan == ""
    assert image(dataset(SeriesNumber="9002")).scan == ""


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"AcquisitionTime": "121816.5"}, 44296.5),
        ({"AcquisitionTime": "121816.5", "AcquisitionDate": "00010102"}, 2 * 86400 + 44296.5),
        ({"AcquisitionDateTime": "00010101121816.500000+0100"}, 86400 + 44296.5),
        ({"AcquisitionTime": "1218"}, 44280.0),
        ({"AcquisitionTime": "12"}, 43200.0),
        ({}, None),
    ],
)
def test_the_time_of_acquisition_is_kept_in_seconds(image, changes, seconds):
    assert image(dataset(**changes)).acquired_s == seconds


@pytest.mark.parametrize("name", ["GE MEDICAL SYSTEMS", "GE Healthcare", "GE", "General Electric"])
def test_a_vendor_is_known_by_each_of_its_names(image, name):
    source = private(dataset(Manufacturer=name), (0x0043, "GEMS_PARM_01", 0x2F, "SS"), 1)
    assert image(source).component is Component.PHASE


def test_a_classic_object_that_counts_its_one_frame_is_read(image):
    assert image(dataset(NumberOfFrames="1")).frame is None


@pytest.mark.parametrize(
    ("sets", "value", "shown"),
    [
        ("ISO_IR 100", "Leberfläche".encode("latin-1"), "Leberfläche"),
        ("ISO_IR 192", "Печень".encode(), "Печень"),
        ("\\ISO 2022 IR 87", b"\x1b$B4NB!\x1b(B MRI ", "肝臓 MRI"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
        ("GB18030", "肝脏".encode("gb18030"), "肝脏"),
        ("", b"caf\xe9", "café"),
        ("NO SUCH SET", b"liver", "liver"),
        ("NO SUCH SET", b"caf\xe9", "café"),
        ("ISO_IR 192", b"\xff\xfe\x00", "��"),
        ("", b"two\r\nlines\x07 " + b"x" * 80, "twolines " + "x" * 55),
    ],
)
def test_texts_decode_in_any_character_set_without_a_warning(written, sets, value, shown):
    path = written(dataset(SpecificCharacterSet=None, SeriesDescription=None))
    content = path.read_bytes()
    content = content.replace(b"\x08\x00\x08\x00CS", raw(0x00080005, "CS", sets.encode()) + b"\x08\x00\x08\x00CS")
    content = content.replace(b"\x08\x00\x90\x10LO", raw(0x0008103E, "LO", value) + b"\x08\x00\x90\x10LO")
    path.write_bytes(content)
    assert read(path).images[0].series_description == shown


# --- enhanced objects -------------------------------------------------------------------------------------------------


def test_each_frame_of_an_enhanced_object_is_an_image(written):
    images = read(written(enhanced())).images
    assert [(i.frame, i.echo_time_ms, i.rescale_slope) for i in images] == [(0, 2.0, 1.0), (1, 4.0, 2.0), (2, 6.0, 3.0)]
    assert {(i.encoding, i.sequence_kind, i.component) for i in images} == {
        (Encoding.ENHANCED, SequenceKind.GRADIENT_ECHO, Component.MAGNITUDE)
    }
    assert images[0].field_strength_t == pytest.approx(2.8936, abs=1e-3)


def test_the_echo_time_may_be_in_the_shared_groups(written):
    assert {i.echo_time_ms for i in read(written(enhanced(shared=12.46))).images} == {12.46}


@pytest.mark.parametrize(
    ("words", "component"),
    [
        (("ORIGINAL", "PRIMARY", "T1", "M"), Component.MAGNITUDE),
        (("ORIGINAL", "PRIMARY", "T1", "P"), Component.PHASE),
        (("ORIGINAL", "PRIMARY", "T1", "R"), Component.REAL),
        (("ORIGINAL", "PRIMARY", "T1", "I"), Component.IMAGINARY),
        (("ORIGINAL", "PRIMARY", "T1", "FIELD_MAP"), Component.DERIVED),
        (("ORIGINAL", "PRIMARY", "T2_STAR", "M"), Component.MAGNITUDE),
        (("ORIGINAL", "PRIMARY", "T2_STAR", "T2_STAR"), Component.DERIVED),
        (("DERIVED", "PRIMARY", "T2_STAR", "M"), Component.DERIVED),
    ],
)
def test_philips_says_the_component_in_the_frame_type(written, words, component):
    source = enhanced([words], Manufacturer="Philips", ImageType=["ORIGINAL", "PRIMARY", "T1", "MIXED"])
    assert read(written(source)).images[0].component is component


def test_a_field_map_that_calls_itself_real_is_derived(written):
    source = enhanced([("ORIGINAL", "PRIMARY", "T1", "FIELD_MAP")], Manufacturer="Philips", shared=0.0)
    frame = source.PerFrameFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0]
    frame.ComplexImageComponent = "REAL"
    (image,) = read(written(source)).images
    assert (image.component, image.echo_time_ms) == (Component.DERIVED, None)


def test_a_gradient_echo_that_is_echo_planar_is_told_by_its_name(written):
    assert read(written(enhanced(PulseSequenceName="*epfid2d1_64"))).images[0].sequence_kind is SequenceKind.ECHO_PLANAR


def test_the_private_scale_of_each_philips_frame_is_kept(written):
    source = enhanced(Manufacturer="Philips")
    for n, frame in enumerate(source.PerFrameFunctionalGroupsSequence):
        attributes = private(Dataset(), (0x2005, "Philips MR Imaging DD 001", 0x0E, "FL"), 0.5 * (n + 1))
        private(frame, (0x2005, "Philips MR Imaging DD 005", 0x0F, "SQ"), [attributes])
    assert [i.scale_slope for i in read(written(source)).images] == [0.5, 1.0, 1.5]


def test_a_part_of_a_concatenation_says_how_many_there_are(written):
    source = enhanced(ConcatenationUID="1.2.7", InConcatenationNumber=1, InConcatenationTotalNumber=3)
    assert {i.concatenation for i in read(written(source)).images} == {("1.2.7", 3)}


def test_a_legacy_converted_object_keeps_its_echo_time_among_the_unassigned_attributes(written):
    source = enhanced(
        shared=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.4", EchoPulseSequence=None, ScanningSequence="GR"
    )
    for n, frame in enumerate(source.PerFrameFunctionalGroupsSequence):
        del frame.MREchoSequence
        frame.UnassignedPerFrameConvertedAttributesSequence = [item(EchoTime=f"{n + 1}.5")]
    assert [i.echo_time_ms for i in read(written(source)).images] == [1.5, 2.5, 3.5]


def test_an_enhanced_object_with_fewer_frames_than_it_says_is_damaged(reason):
    assert "NumberOfFrames" in str(reason(enhanced(NumberOfFrames=4, PixelData=bytes(128))))


def test_a_component_number_that_cannot_be_read_is_damage_and_not_a_magnitude(reason):
    source = private(dataset(**GE), (0x0043, "GEMS_PARM_01", 0x2F, "LO"), "zero")
    assert "ImageTypeRealImaginaryPhaseMagnitude" in str(reason(source))


# --- what is no echo image --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "not-an-mr-image", "Presentation State"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66"}, "not-an-mr-image", "Raw Data Storage"),
        ({"SOPClassUID": "1.3.46.670589.11.0.0.12.4"}, "private-sop-class", "1.3.46.670589.11.0.0.12.4"),
        ({"EchoTime": "-4.6"}, "damaged", "(0018,0081) EchoTime is '-4.6'"),
        ({"EchoTime": "4600"}, "damaged", "EchoTime is '4600', which is not within the repetition time of 120 ms"),
        ({"EchoTime": "0.0046"}, "damaged", "EchoTime is '0.0046', milliseconds were expected"),
        ({"ImagePositionPatient": None}, "damaged", "(0020,0032) ImagePositionPatient is missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "damaged", "ImageOrientationPatient"),
        ({"PixelSpacing": [0, 1]}, "damaged", "PixelSpacing"),
        ({"Rows": 0}, "damaged", "(0028,0010) Rows"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "damaged", "RescaleSlope"),
        ({"SOPInstanceUID": None}, "damaged", "SOPInstanceUID is missing"),
        ({"StudyInstanceUID": ""}, "damaged", "StudyInstanceUID is empty"),
        ({"PixelData": None}, "damaged", "PixelData is missing"),
        ({"PixelData": bytes(30)}, "damaged", "PixelData has 30 bytes where Rows and Columns ask for 32"),
        ({"Rows": 2}, "damaged", "PixelData has 32 bytes where Rows and Columns ask for 16"),
        ({"BitsAllocated": 12}, "damaged", "BitsAllocated"),
        ({"BitsStored": 8}, "damaged", "HighBit"),
        ({"BitsStored": 17}, "damaged", "BitsStored"),
        ({"PixelRepresentation": 2}, "damaged", "PixelRepresentation"),
        ({"RescaleSlope": "1e30", "RescaleIntercept": "0"}, "damaged", "RescaleSlope"),
        ({"NumberOfFrames": "2", "PixelData": bytes(64)}, "damaged", "NumberOfFrames"),
    ],
)
def test_what_cannot_be_used_says_why(reason, changes, code, words):
    found = reason(dataset(**changes))
    assert found.code == code
    assert words in found.sentence


def test_a_frame_of_reference_that_is_no_uid_is_damage(written):
    path = written(dataset())
    path.write_bytes(path.read_bytes().replace(b"1.2.3.9\0", b"1.2.x.9\0"))
    assert "(0020,0052) FrameOfReferenceUID is '1.2.x.9'" in str(read(path).reason)


def test_what_cannot_be_used_still_says_which_object_it_is(written):
    found = read(written(dataset(EchoTime="-1")))
    assert (found.sop_instance_uid, found.study_instance_uid) == ("1.2.3.4.1", "1.2.3")


@pytest.mark.parametrize("content", [b"", b"DICM", b"hello" * 100, bytes(132), bytes(128) + b"DICM"])
def test_bytes_that_are_no_dicom_object_say_so(tmp_path, content):
    path = tmp_path / "something"
    path.write_bytes(content)
    assert read(path).reason.code in {"not-dicom", "damaged"}


# --- what the standard lets be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("surplus", [2, 14])
def test_surplus_bytes_after_the_pixels_are_no_damage(image, surplus):
    assert image(dataset(PixelData=bytes(32 + surplus))).echo_time_ms == 4.6


@pytest.mark.parametrize("syntax", NATIVE[:3])
@pytest.mark.parametrize("source", [dataset, enhanced])
def test_a_bare_data_set_is_read_like_a_file(written, tmp_path, source, syntax):
    whole = written(source(), syntax)
    dataset_at = dcmread(whole).file_meta.FileMetaInformationGroupLength + 144
    bare = tmp_path / "bare"
    bare.write_bytes(whole.read_bytes()[dataset_at:])
    with_file, without = read(whole), read(bare)
    assert without.reason is None
    assert [one.echo_time_ms for one in without.images] == [one.echo_time_ms for one in with_file.images]
    assert without.sop_instance_uid == with_file.sop_instance_uid


def test_a_file_that_lacks_only_its_preamble_is_read(written, tmp_path):
    headless = tmp_path / "headless"
    headless.write_bytes(written(dataset()).read_bytes()[132:])
    assert len(read(headless).images) == 1


def test_text_is_not_called_a_damaged_object(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Dear colleague, " * 100)
    assert "does not begin as a data set does" in read(path).reason.sentence


@pytest.mark.parametrize(
    ("words", "stated", "component"),
    [
        (["ORIGINAL", "PRIMARY", "T2_STAR", "NONE"], "MAGNITUDE", Component.MAGNITUDE),
        (["ORIGINAL", "PRIMARY", "T2_STAR", "NONE"], None, Component.DERIVED),
        (["DERIVED", "PRIMARY", "T2_STAR", "NONE"], "MAGNITUDE", Component.DERIVED),
        (["ORIGINAL", "PRIMARY", "T2_STAR", "T2_STAR"], "MAGNITUDE", Component.DERIVED),
        (["ORIGINAL", "PRIMARY", "R2_STAR", "NONE"], "MAGNITUDE", Component.DERIVED),
    ],
)
def test_a_contrast_of_a_frame_type_is_no_map_where_the_component_is_stated(image, words, stated, component):
    made = dataset(ImageType=words, ComplexImageComponent=stated, Manufacturer="Esaote")
    assert image(made).component is component


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("source", [dataset, enhanced])
def test_a_file_that_was_cut_short_is_damaged(written, source, share):
    path = written(source())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert read(path).reason.code == "damaged"


def test_a_file_that_would_inflate_beyond_all_memory_is_damaged(written):
    path = written(dataset(), DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    meta = content[: 144 + struct.unpack_from("<I", content, 140)[0]]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(200)) + deflate.flush()
    path.write_bytes(meta + bomb)
    assert read(path).reason.code == "damaged"


def test_a_file_of_zeros_after_a_good_start_is_not_read_to_its_end(written):
    path = written(dataset(PixelData=None))
    path.write_bytes(path.read_bytes() + bytes(100_000_000))
    began = time.process_time()
    assert read(path).reason.code == "damaged"
    assert time.process_time() - began < 2


def test_a_part_of_a_broken_object_still_says_which_study_it_belongs_to(written):
    path = written(enhanced())
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x00\x52\x30\x92") + 200])
    found = read(path)
    assert (found.study_instance_uid, found.reason.code) == ("1.2.3", "damaged")


def test_sequences_nested_thousands_deep_are_damage_and_not_a_crash(written):
    path = written(dataset())
    level = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"\x10\x00\x18\x00", level * 5000 + b"\x10\x00\x18\x00", 1).replace(
            b"\x18\x00\x20\x00", level * 5000 + b"\x18\x00\x20\x00", 1
        )
    )
    assert read(path).reason.code == "damaged"


def test_a_file_that_is_not_there_says_so(tmp_path):
    assert read(tmp_path / "gone.dcm").reason.code == "unreadable"
    assert read(tmp_path).reason.code == "unreadable"


def test_reading_does_not_take_memory_for_pixels(written):
    path = written(dataset(Rows=4000, Columns=4000, PixelData=bytes(32_000_000)))
    tracemalloc.start()
    assert read(path).images
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


# --- damage -----------------------------------------------------------------------------------------------------------


def raw(tag, vr, value):
    """One element in Explicit VR Little Endian, whatever it holds."""
    value += b" " * (len(value) % 2)
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("SQ", "OW", "OB", "UN", "UT"):
        return start + struct.pack("<HI", 0, len(value)) + value
    return start + struct.pack("<H", len(value) & 0xFFFF) + value


_NO_NUMBER = (b"abc", b"4.6.6", b"1\\", b"nan", b"inf", b"1e999", b"\\\\\\", b"1_0", b"\xff\xfe")
_HUGE = (b"9" * 60000, b"1e308", b"-99999999999999999999", b"65536", b"X\\" * 9000)
_OTHER_VR = ("US", "FD", "SL", "SQ", "UN", "OW", "CS", "DS", "ZZ", "UT")

_DAMAGE = (
    lambda chance, tag, vr, value: b"",
    lambda chance, tag, vr, value: raw(tag, vr, b""),
    lambda chance, tag, vr, value: raw(tag, vr, chance.choice(_NO_NUMBER)),
    lambda chance, tag, vr, value: raw(tag, vr, chance.choice(_HUGE)),
    lambda chance, tag, vr, value: raw(tag, chance.choice(_OTHER_VR), value),
    lambda chance, tag, vr, value: raw(tag, vr, value)[: chance.randrange(1, 12)],
    lambda chance, tag, vr, value: raw(tag, vr, chance.randbytes(chance.randrange(64))),
    lambda chance, tag, vr, value: raw(tag, vr, value) * 2,
    lambda chance, tag, vr, value: raw(tag, vr, b"")[:6] + struct.pack("<H", chance.randrange(65536)) + value,
)


def _elements(path):
    """The encoded elements of a written classic object, without its preamble and file meta."""
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x05\x00CS")
    position, elements = start, []
    while position < len(content):
        group, element, vr, length = struct.unpack_from("<HH2sH", content, position)
        vr = vr.decode()
        size = 12 if vr in ("OW", "SQ", "UN") else 8
        length = struct.unpack_from("<I", content, position + 8)[0] if size == 12 else length
        elements.append((group << 16 | element, vr, content[position + size : position + size + length]))
        position += size + length
    return content[:start], elements


def _damaged_classic(chance, start, elements):
    hurt = set(chance.sample(range(len(elements)), chance.randrange(1, 4)))
    parts = [
        chance.choice(_DAMAGE)(chance, *element) if n in hurt else raw(*element) for n, element in enumerate(elements)
    ]
    return start + b"".join(parts)


def _damaged_bytes(chance, content):
    damaged = bytearray(content)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(damaged))
        if chance.random() < 0.8:
            damaged[place] = chance.randrange(256)
        else:
            del damaged[place : place + chance.randrange(1, 40)]
    return bytes(damaged[: chance.randrange(len(damaged))] if chance.random() < 0.2 else damaged)


def test_ten_thousand_damaged_objects_end_in_a_stack_or_a_named_reason(written, tmp_path):
    chance = random.Random(20260101)
    start, elements = _elements(written(dataset(RescaleSlope="2", RescaleIntercept="0")))
    whole = [written(source).read_bytes() for source in (dataset(), enhanced(), enhanced(Manufacturer="Philips"))]
    path = tmp_path / "damaged.dcm"
    images = []
    for n in range(10_000):
        damaged = n % 2 == 0
        path.write_bytes(_damaged_classic(chance, start, elements) if damaged else _damaged_bytes(chance, whole[n % 3]))
        found = read(path)
        assert (found.reason is None) == bool(found.images)
        assert found.reason is None or found.reason.code in header.REASONS
        images += [dataclasses.replace(image, path=Path(f"{n}.dcm")) for image in found.images]
    assert len(images) > 1000
    for group in assemble(images, GroupingSettings()):
        assert group.stack is not None or group.reason.code in REASONS


def test_four_thousand_headers_are_read_within_ten_seconds_of_processor_time(written):
    path = written(dataset())
    began = time.process_time()
    for _ in range(400):
        read(path)
    assert (time.process_time() - began) * 10 < 10


# --- attributes against words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"SequenceName": "iron_gre", "ScanningSequence": "GR"}, SequenceKind.GRADIENT_ECHO),
        ({"SequenceName": "ir_fl2d", "ScanningSequence": "GR"}, SequenceKind.GRADIENT_ECHO),
        ({"SequenceName": "diff_te_gre", "ScanningSequence": "GR"}, SequenceKind.GRADIENT_ECHO),
        ({"SequenceName": "sepia", "EchoPlanarPulseSequence": "NO"}, SequenceKind.GRADIENT_ECHO),
        ({"SequenceName": "*ir2d", "ScanningSequence": None}, SequenceKind.INVERSION_RECOVERY),
        ({"SequenceName": "iron_gre", "ScanningSequence": None}, SequenceKind.GRADIENT_ECHO),
        ({"SequenceName": "fl2d", "ScanningSequence": ["GR", "IR"]}, SequenceKind.INVERSION_RECOVERY),
        ({"SequenceName": "dwi_x", "ScanningSequence": ["EP", "SE"]}, SequenceKind.DIFFUSION),
    ],
)
def test_a_name_decides_only_where_no_attribute_does(image, changes, kind):
    assert image(dataset(**changes)).sequence_kind is kind


def test_a_private_encoding_is_called_one(written):
    path = written(dataset())
    content = path.read_bytes()
    standard, private_one = b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"
    path.write_bytes(content.replace(standard, private_one, 1))
    assert "a private encoding" in read(path).reason.sentence
