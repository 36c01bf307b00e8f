"""The pixels of a stack, decoded and scaled to what the scanner means by them."""

from __future__ import annotations

import io
import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from dicomnode.errors import Implausible, UndecodablePixels
from dicomnode.header.envelope import enveloped
from dicomnode.model import Component, Unused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicomnode.model import EchoImage, EchoStack

__all__ = ["ComplexSlab", "Slab", "complex_slabs", "load", "no_complex_signal", "slabs"]

# JPEG and JPEG-LS: their decoders fill what a stream that was cut short lacks, and say nothing.
_ENDS_WITH_A_MARKER = frozenset({
    JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless,
})  # fmt: skip
_END_OF_IMAGE = b"\xff\xd9"  # ISO/IEC 10918-1 B.1.1.3, ISO/IEC 14495-1 C.1
_REAL_AND_IMAGINARY = frozenset({Component.REAL, Component.IMAGINARY})


@dataclass(frozen=True, slots=True)
class Slab:
    """A slice as its files hold it."""

    slice: int
    values: NDArray[np.float32]  # (K, L, M), the echo axis last, in the scanner's signal units
    header: bytes  # of the file of its first echo, as far as the pixels


@dataclass(frozen=True, slots=True)
class ComplexSlab:
    """A slice of the complex signal, as its files hold it."""

    slice: int
    values: NDArray[np.complex64]  # (K, L, M), the echo axis last; |values| need not be the magnitudes of the stack
    span_turns: float | None = None  # from the lowest phase to the highest, before it is wound up; None: of no phase


def load(stack: EchoStack) -> NDArray[np.float32]:
    """Return the magnitudes, (slices, K, L, M) with the echo axis last, in the scanner's signal units.

    Where the scanner sent no magnitude it is |real + i imaginary|. Raises UndecodablePixels, Implausible.
    """
    signal = np.empty(stack.shape, np.float32)
    for slab in slabs(stack):
        signal[slab.slice] = slab.values
    return signal


def slabs(stack: EchoStack) -> Iterator[Slab]:
    """Yield every slice as soon as the last of its images is decoded, so that few are held at once.

    Their order is that of the files. Every file is opened once, however many of its frames are needed. Raises as
    ``load`` does.
    """
    parts = [stack.images]
    if stack.magnitude_from is not Component.MAGNITUDE:
        parts = [stack.companions[part] for part in (Component.REAL, Component.IMAGINARY)]
    headers = {echoes[0].path: b"" for echoes in stack.images}
    for number, values in _decoded(parts, stack.shape, headers):
        magnitude = values[0] if len(parts) == 1 else np.hypot(*values)
        yield Slab(number, magnitude, headers[stack.images[number][0].path])


def no_complex_signal(stack: EchoStack) -> Unused | None:
    """Why a stack holds no complex signal; None where it does, from real and imaginary images or from a phase."""
    if stack.companions.keys() >= _REAL_AND_IMAGINARY:
        return None
    phase = stack.companions.get(Component.PHASE)
    if phase is None:
        return Unused("no-phase", "no phase, nor real and imaginary images, of every echo and slice")
    if any(not image.turn for echoes in phase for image in echoes):
        return Unused("phase-unscaled", "the header does not say what of the phase is a whole turn")
    return None


def complex_slabs(stack: EchoStack) -> Iterator[ComplexSlab]:
    """Yield every slice of the complex signal of a stack that holds one; order, files and errors as of ``slabs``.

    It is real + i imaginary where these came, which is never mixed with stored magnitudes: scanners correct those.
    Otherwise it is the magnitude, turned by the phase.
    """
    if stack.companions.keys() >= _REAL_AND_IMAGINARY:
        parts = [stack.companions[part] for part in (Component.REAL, Component.IMAGINARY)]
        for number, (real, imaginary) in _decoded(parts, stack.shape, {}):
            yield ComplexSlab(number, real + 1j * imaginary)
        return
    phases = stack.companions[Component.PHASE]
    for number, (magnitude, written) in _decoded([stack.images, phases], stack.shape, {}):
        phase = written * np.array([2 * np.pi / (image.turn or np.inf) for image in phases[number]], np.float32)
        turned = magnitude * np.exp(1j * phase)
        yield ComplexSlab(number, turned.astype(np.complex64), float(np.ptp(phase) / (2 * np.pi)))


def _decoded(
    parts: Sequence[Sequence[Sequence[EchoImage]]], shape: tuple[int, int, int, int], headers: dict[Path, bytes]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Number of a slice and its values (parts, K, L, M), as soon as all are there; fills in ``headers`` by path."""
    wanted = _wanted(parts)
    images = [one.image for each in wanted.values() for one in each]
    floating = _floating([image for image in images if image.component is not Component.PHASE])
    slices = _Slices(shape, len(parts))
    for path, frames in wanted.items():
        file = _Opened(path, sorted(frames, key=lambda one: one.image.frame or 0))
        if path in headers:
            headers[path] = file.header
        for one, values in file.decoded(shape[1:3], floating=floating):
            if (done := slices.put(one, values)) is not None:
                yield one.slice, done


class _Slices:
    """Slices of which some images are decoded and some are not yet."""

    def __init__(self, shape: tuple[int, int, int, int], parts: int) -> None:
        self.shape = shape
        self._parts = parts
        self._begun: dict[int, NDArray[np.float32]] = {}
        self._missing = [parts * shape[3]] * shape[0]  # images, of each slice

    def put(self, one: _Wanted, values: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """Take an image; return its slice (parts, K, L, M) if it was the last of it."""
        if one.slice not in self._begun:
            self._begun[one.slice] = np.empty((self._parts, *self.shape[1:]), np.float32)
        self._begun[one.slice][one.part, :, :, one.echo] = values
        self._missing[one.slice] -= 1
        if self._missing[one.slice]:
            return None
        return self._begun.pop(one.slice)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A frame and where its values go."""

    image: EchoImage
    part: int  # component
    slice: int
    echo: int


def _wanted(parts: Sequence[Sequence[Sequence[EchoImage]]]) -> dict[Path, list[_Wanted]]:
    """The frames that are needed of each file, slice after slice."""
    wanted: dict[Path, list[_Wanted]] = defaultdict(list)
    for s, components in enumerate(zip(*parts, strict=True)):
        for part, echoes in enumerate(components):
            for e, image in enumerate(echoes):
                wanted[image.path].append(_Wanted(image, part, s, e))
    return wanted


def _floating(images: Sequence[EchoImage]) -> bool:
    """Whether only the floating-point values of the images compare; raises Implausible where none do.

    Chenevert et al., Transl Oncol 2014;7:65: FP = (PV · RS + RI) / (RS · SS). Rescale is what the scanner displays:
    where it is one for all, displayed values compare unless the private scale says otherwise.
    """
    displays = {(image.rescale_slope, image.rescale_intercept) for image in images}
    scales = {image.scale_slope for image in images}
    if scales == {None} or (len(displays) == 1 and len(scales - {None}) == 1):
        return False
    lacking = sum(not image.scale_slope for image in images)
    if lacking:
        raise Implausible(
            f"{lacking} of {len(images)} images lack the private scale slope that the others have, and the others' "
            "slopes differ: their values do not compare",
            "scales-differ",
        )
    return True


def _scaled(frame: NDArray[np.integer[Any]], image: EchoImage, *, floating: bool) -> NDArray[np.float64]:
    """Apply Rescale, and the private scale where only floating-point values compare."""
    displayed = frame.astype(np.float64) * image.rescale_slope + image.rescale_intercept
    return displayed / (image.rescale_slope * image.scale_slope) if floating and image.scale_slope else displayed


class _Opened:
    """One file, read once, and the frames of it that are wanted."""

    def __init__(self, path: Path, wanted: Sequence[_Wanted]) -> None:
        self._wanted = wanted
        try:
            content = enveloped(path.read_bytes())
            self._dataset = dcmread(io.BytesIO(content))
            self.header = _header(content, self._dataset)
        except Exception as fault:  # the parser raises anything
            raise _undecodable(wanted[0], f"{type(fault).__name__}: {fault}") from fault

    def decoded(self, shape: tuple[int, int], *, floating: bool) -> Iterator[tuple[_Wanted, NDArray[np.float64]]]:
        """Decode and scale every frame; raises UndecodablePixels, also where one is not of that shape (K, L)."""
        frames = self._frames([one.image.frame for one in self._wanted if one.image.frame is not None])
        for one in self._wanted:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # pydicom's remarks on padding; the shape is checked
                    frame = next(frames)
            except Exception as fault:  # the decoders raise anything
                raise _undecodable(one, f"{type(fault).__name__}: {fault}") from fault
            if frame.shape != shape:
                raise _undecodable(one, f"decoded to {frame.shape}, the header says {shape}")
            values = _scaled(frame, one.image, floating=floating and one.image.component is not Component.PHASE)
            if (padded := self._padded(frame)) is not None:
                values[padded] = 0.0  # no signal, as where a receiver heard nothing
            yield one, values

    def _padded(self, frame: NDArray[np.integer[Any]]) -> NDArray[np.bool_] | None:
        """Where the scanner wrote no value but Pixel Padding, one or a range (PS3.3 C.7.5.1.1.2)."""
        value = _stored(self._dataset, "PixelPaddingValue")
        if value is None:
            return None
        limit = _stored(self._dataset, "PixelPaddingRangeLimit")
        low, high = sorted((value, value if limit is None else limit))
        padded: NDArray[np.bool_] = (frame >= low) & (frame <= high)
        return padded if padded.any() else None

    def _frames(self, frames: Sequence[int]) -> Iterator[NDArray[np.integer[Any]]]:
        """Decode some frames, the only one where none is named. Raises whatever its decoder does."""
        source = self._dataset
        if source.file_meta.TransferSyntaxUID in _ENDS_WITH_A_MARKER:
            streams = generate_frames(source.PixelData, number_of_frames=int(source.get("NumberOfFrames") or 1))
            for index, stream in enumerate(streams):
                if index in (frames or (0,)) and not stream.rstrip(b"\0").endswith(_END_OF_IMAGE):
                    raise ValueError("the compressed stream is cut short")
        yield from iter_pixels(source, indices=frames or None, raw=True)


def _header(content: bytes, dataset: Any) -> bytes:
    """A file as far as its pixels; all of it where it is deflated and they cannot be told apart."""
    element: Any = dataset.get_item("PixelData")
    # The tag, VR and length before the value take 12 bytes, or 8 without a VR (PS3.5 7.1).
    pixels_at = element.value_tell - (8 if element.is_implicit_VR else 12)
    deflated = dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    return content if deflated else content[:pixels_at]


def _stored(dataset: Any, keyword: str) -> int | None:
    """A stored pixel value of the header, as the pixels are signed or not: writers mix up US and SS."""
    value = dataset.get(keyword)
    if not isinstance(value, int):
        return None
    bits = int(dataset.BitsAllocated)
    if dataset.PixelRepresentation == 1:
        return value - (1 << bits) if value >= 1 << (bits - 1) else value
    return value + (1 << bits) if value < 0 else value


def _undecodable(one: _Wanted, why: str) -> UndecodablePixels:
    where = f"echo {one.echo + 1}, slice {one.slice + 1}"
    return UndecodablePixels(f"{where} (SOP Instance UID {one.image.sop_instance_uid}) cannot be decoded: {why}")
