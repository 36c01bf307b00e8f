"""Pixels: every transfer syntax decodes alike, and rescale never bends the decay."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import compress
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode import pixels
from dicomnode.config import GroupingSettings
from dicomnode.errors import Implausible, UndecodablePixels
from dicomnode.group import assemble
from dicomnode.header import read

ROWS, COLUMNS = 64, 80
ECHOES = (2.0, 4.0, 6.0)
CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def decay(dtype=np.uint16, seed=1):
    """Values (slices, K, L, M), different in every voxel."""
    s0 = np.random.default_rng(seed).integers(200, 4000, (2, ROWS, COLUMNS))
    return np.round(s0[..., None] * np.exp(-np.array(ECHOES) / 5)).astype(dtype)


def base(values, sop_instance_uid, sop_class_uid=CLASSIC):
    result = Dataset()
    result.SOPClassUID, result.SOPInstanceUID = sop_class_uid, sop_instance_uid
    result.StudyInstanceUID, result.SeriesInstanceUID, result.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.9"
    result.Manufacturer = "Esaote"
    result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
    result.Rows, result.Columns, result.BitsAllocated, result.BitsStored, result.HighBit = ROWS, COLUMNS, 16, 16, 15
    result.PixelRepresentation = int(values.dtype.kind == "i")
    result.PixelData = values.tobytes()
    return result


def classic(values, s, e, part="M", **changes):
    result = base(values, f"1.2.3.4.{s + 1}.{e + 1}.{ord(part)}")
    result.ImageType = ["ORIGINAL", "PRIMARY", part]
    result.ScanningSequence, result.EchoTime = "GR", str(ECHOES[e])
    result.ImagePositionPatient, result.ImageOrientationPatient = [0, 0, 5 * s], [1, 0, 0, 0, 1, 0]
    result.PixelSpacing = [1, 1]
    for keyword, value in changes.items():
        setattr(result, keyword, value)
    return result


def item(**values):
    result = Dataset()
    for keyword, value in values.items():
        setattr(result, keyword, value)
    return result


def enhanced(values):
    """All slices and echoes in one object, echo by echo, echo e with slope e + 1."""
    cells = [(s, e) for e in range(len(ECHOES)) for s in range(len(values))]
    result = base(np.stack([values[s, :, :, e] for s, e in cells]), "1.2.3.4.99", ENHANCED)
    result.ImageType, result.EchoPulseSequence = ["ORIGINAL", "PRIMARY", "M", "NONE"], "GRADIENT"
    result.NumberOfFrames = len(cells)
    result.PerFrameFunctionalGroupsSequence = [
        item(
            MREchoSequence=[item(EffectiveEchoTime=ECHOES[e])],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 5 * s])],
            PixelValueTransformationSequence=[item(RescaleSlope=e + 1, RescaleIntercept=0)],
        )
        for s, e in cells
    ]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1])],
    )
    result.SharedFunctionalGroupsSequence = [shared]
    return result


def all_images(values, **changes):
    return [classic(values[s, :, :, e].copy(), s, e, **changes) for s in range(2) for e in range(len(ECHOES))]


@pytest.fixture
def stack_of(tmp_path):
    """Write data sets and group them to their one stack."""

    def group(sources, syntax=ExplicitVRLittleEndian):
        for n, source in enumerate(sources):
            if "file_meta" not in source.__dict__:
                source.file_meta = FileMetaDataset()
                source.file_meta.TransferSyntaxUID = syntax
            dcmwrite(tmp_path / f"{n}.dcm", source, enforce_file_format=True)
        found = [read(path) for path in sorted(tmp_path.iterdir())]
        assert [str(f.reason) for f in found if f.reason] == []
        (candidate,) = assemble([image for f in found for image in f.images], GroupingSettings())
        return candidate.stack

    return group


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_native_pixels_are_returned_as_they_are(stack_of, syntax, dtype):
    values = decay(dtype)
    loaded = pixels.load(stack_of(all_images(values), syntax))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, values)


def test_big_endian_pixels_are_returned_in_order(stack_of):
    sources = all_images(decay())
    for source in sources:
        source.PixelData = np.frombuffer(source.PixelData, np.uint16).byteswap().tobytes()
    np.testing.assert_array_equal(pixels.load(stack_of(sources, ExplicitVRBigEndian)), decay())


@pytest.mark.parametrize(
    ("syntax", "dtype"),  # JPEG-LS has no signed samples
    [
        (RLELossless, np.uint16),
        (RLELossless, np.int16),
        (JPEGLSLossless, np.uint16),
        (JPEG2000Lossless, np.uint16),
        (JPEG2000Lossless, np.int16),
    ],
)
def test_compressed_pixels_are_returned_bit_for_bit(stack_of, syntax, dtype):
    values = decay(dtype) - (500 if dtype is np.int16 else 0)
    sources = all_images(values)
    for source in sources:
        source.file_meta = FileMetaDataset()
        source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        compress(source, syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(pixels.load(stack_of(sources)), values)


def test_a_frame_in_several_fragments_is_put_together(stack_of):
    sources = all_images(decay())
    for source in sources:
        source.file_meta = FileMetaDataset()
        source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        compress(source, JPEG2000Lossless, generate_instance_uid=False, encapsulate_ext=False)
        stream = next(iter_frames(source.PixelData))
        source.PixelData = encapsulate([stream], fragments_per_frame=3)
    np.testing.assert_array_equal(pixels.load(stack_of(sources)), decay())


def iter_frames(data):
    from pydicom.encaps import generate_frames

    return generate_frames(data, number_of_frames=1)


def test_slopes_that_differ_between_echoes_do_not_bend_the_decay(stack_of):
    slopes = np.array([1.0, 0.5, 0.25])
    stored = np.round(decay() / slopes).astype(np.uint16)
    sources = [
        classic(stored[s, :, :, e].copy(), s, e, RescaleSlope=str(slopes[e]), RescaleIntercept="0")
        for s in range(2)
        for e in range(3)
    ]
    np.testing.assert_allclose(pixels.load(stack_of(sources)), decay(), atol=0.5)


def test_a_philips_scale_that_differs_between_echoes_does_not_bend_the_decay(stack_of):
    scales = np.array([1.0, 2.0, 4.0])
    stored = (decay() * scales).astype(np.uint16)
    sources = [
        classic(stored[s, :, :, e].copy(), s, e, Manufacturer="Philips", RescaleSlope="1.5", RescaleIntercept="0")
        for s in range(2)
        for e in range(3)
    ]
    for n, source in enumerate(sources):
        source.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
        block = source.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", float(scales[n % 3]))
    np.testing.assert_allclose(pixels.load(stack_of(sources)), decay(), rtol=1e-6)


def philips(stored, slopes, scales):
    """Classic Philips images whose rescale slope and private scale slope (None: absent) are those of their echo."""
    for s in range(2):
        for e in range(3):
            source = classic(stored[s, :, :, e].copy(), s, e, RescaleSlope=str(slopes[e]), RescaleIntercept="0")
            source.Manufacturer, source.ImageType = "Philips", ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
            if scales[e] is not None:
                block = source.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
                block.add_new(0x0E, "FL", float(scales[e]))
            yield source


def test_a_display_slope_that_differs_between_echoes_does_not_bend_what_one_scale_says(stack_of):
    stored = decay()
    loaded = pixels.load(stack_of(list(philips(stored, (1.0, 0.5, 0.25), (2.0, 2.0, 2.0)))))
    np.testing.assert_allclose(loaded, stored / 2.0, rtol=1e-6)


def test_one_display_slope_compares_where_some_echoes_lack_the_private_scale(stack_of):
    loaded = pixels.load(stack_of(list(philips(decay(), (1.5, 1.5, 1.5), (2.0, None, None)))))
    np.testing.assert_allclose(loaded, decay() * 1.5, rtol=1e-6)


@pytest.mark.parametrize("scales", [(2.0, 2.0, None), (2.0, 2.0, 0.0)])
def test_two_units_in_one_decay_are_refused(stack_of, scales):
    stack = stack_of(list(philips(decay(), (1.0, 0.5, 0.25), scales)))
    with pytest.raises(Implausible, match="2 of 6 images lack the private scale slope") as caught:
        pixels.load(stack)
    assert caught.value.code == "scales-differ"


@pytest.mark.parametrize(
    ("kind", "padding", "more"),
    [
        (np.uint16, 65535, {}),
        (np.int16, -2000, {}),
        (np.uint16, 60000, {"PixelPaddingRangeLimit": 65535}),
    ],
)
def test_padding_is_no_signal(stack_of, kind, padding, more):
    values = decay(kind)
    values[:, :8] = padding if not more else 64000
    sources = all_images(values, PixelRepresentation=int(kind is np.int16))
    vr = "SS" if kind is np.int16 else "US"
    for source in sources:
        source.add_new("PixelPaddingValue", vr, padding)
        for keyword, value in more.items():
            source.add_new(keyword, vr, value)
    loaded = pixels.load(stack_of(sources))
    assert not loaded[:, :8].any()
    np.testing.assert_array_equal(loaded[:, 8:], values[:, 8:])


def test_surplus_bytes_change_no_value(stack_of):
    sources = all_images(decay())
    for source in sources:
        source.PixelData += bytes(512)
    np.testing.assert_array_equal(pixels.load(stack_of(sources)), decay())


def test_frames_of_an_enhanced_object_go_to_their_cells_each_with_its_own_slope(stack_of):
    stack = stack_of([enhanced(decay())])
    np.testing.assert_array_equal(pixels.load(stack), decay() * np.array([1.0, 2.0, 3.0], np.float32))


def test_bits_above_those_stored_are_not_part_of_a_signed_value(stack_of):
    values = decay(np.int16) - 1000
    stored = (values & 0x0FFF).astype(np.uint16)
    sources = all_images(stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(pixels.load(stack_of(sources)), values)


def test_magnitude_is_computed_from_rescaled_real_and_imaginary(stack_of):
    real, imaginary = decay(np.int16, 1), -decay(np.int16, 2)
    parts = [
        *all_images(real, part="REAL"[:1]),
        *all_images(imaginary, part="I", RescaleSlope="2", RescaleIntercept="1"),
    ]
    stack = stack_of(parts)
    np.testing.assert_allclose(pixels.load(stack), np.hypot(real.astype(float), 2.0 * imaginary + 1), rtol=1e-6)


def test_a_slice_is_given_before_the_files_of_the_next_are_opened(stack_of):
    stack = stack_of(all_images(decay()))
    slabs = pixels.slabs(stack)
    first = next(slabs)
    for image in stack.images[1 - first.slice]:
        image.path.unlink()
    np.testing.assert_array_equal(first.values, decay()[first.slice])
    with pytest.raises(UndecodablePixels, match="slice 2"):
        next(slabs)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_header_is_kept_as_it_was_sent_as_far_as_the_pixels(stack_of, syntax):
    stack = stack_of(all_images(decay()), syntax)
    slabs = list(pixels.slabs(stack))
    assert len(slabs) == len(stack.images)
    for slab in slabs:
        path, kept = stack.images[slab.slice][0].path, slab.header
        again = dcmread(BytesIO(kept), force=True)
        assert path.read_bytes().startswith(kept)
        assert again == dcmread(path, stop_before_pixels=True)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_pixels_that_cannot_be_decoded_are_named_and_never_filled_in(stack_of, syntax, damage):
    sources = all_images(decay())
    for source in sources:
        source.file_meta = FileMetaDataset()
        source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        compress(source, syntax, generate_instance_uid=False)
    stream = next(iter_frames(sources[4].PixelData))
    streams = {"cut": stream[: len(stream) // 2 // 2 * 2], "noise": bytes(len(stream)), "empty": bytes(2)}
    sources[4].PixelData = encapsulate([streams[damage]])
    stack = stack_of(sources)
    with pytest.raises(UndecodablePixels, match=r"echo 2, slice 2 \(SOP Instance UID 1\.2\.3\.4\.2\.2\.77\)"):
        pixels.load(stack)


def test_a_transfer_syntax_that_nobody_knows_is_named(stack_of):
    stack = stack_of(all_images(decay()))
    path = stack.images[0][0].path
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(UndecodablePixels, match=r"echo 1, slice 1"):
        pixels.load(stack)


def test_a_file_that_went_away_is_named(stack_of):
    stack = stack_of(all_images(decay()))
    stack.images[1][2].path.unlink()
    with pytest.raises(UndecodablePixels, match=r"echo 3, slice 2"):
        pixels.load(stack)
