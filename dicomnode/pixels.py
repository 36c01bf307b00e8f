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
from dicomnode.model import Component

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicomnode.model import EchoImage, EchoStack

__all__ = ["Loaded", "load", "read"]

# JPEG and JPEG-LS: their decoders fill what a stream that was cut short lacks, and say nothing.
_ENDS_WITH_A_MARKER = frozenset({
    JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless,
})  # fmt: skip
_END_OF_IMAGE = b"\xff\xd9"  # ISO/IEC 10918-1 B.1.1.3, ISO/IEC 14495-1 C.1


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files of a stack hold: every file was opened once."""

    signal: NDArray[np.float32]  # (slices, K, L, M), the echo axis last, in the scanner's signal units
    headers: Mapping[Path, bytes]  # of the first echo of each slice: the file as far as its pixels


def load(stack: EchoStack) -> NDArray[np.float32]:
    """Return the magnitudes, (slices, K, L, M) with the echo axis last, in the scanner's signal units.

    Where the scanner sent no magnitude it is |real + i imaginary|. Raises UndecodablePixels, Implausible.
    """
    return read(stack).signal


def read(stack: EchoStack) -> Loaded:
    """Return the magnitudes as ``load`` does, and the headers that a report is made from. Raises UndecodablePixels."""
    headers: dict[Path, bytes] = {echoes[0].path: b"" for echoes in stack.images}
    if stack.magnitude_from is Component.MAGNITUDE:
        (magnitude,) = _load([stack.images], stack.shape, headers)
        return Loaded(magnitude, headers)
    parts = [stack.companions[part] for part in (Component.REAL, Component.IMAGINARY)]
    real, imaginary = _load(parts, stack.shape, headers)
    return Loaded(np.hypot(real, imaginary), headers)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A frame and where its values go."""

    image: EchoImage
    target: NDArray[np.float32]  # (K, L)
    slice: int
    echo: int


def _load(
    parts: Sequence[Sequence[Sequence[EchoImage]]], shape: tuple[int, int, int, int], headers: dict[Path, bytes]
) -> list[NDArray[np.float32]]:
    """Load components, opening every file once, however many of its frames are needed; fill in ``headers``."""
    loaded = [np.empty(shape, np.float32) for _ in parts]
    wanted: dict[Path, list[_Wanted]] = defaultdict(list)
    for values, images in zip(loaded, parts, strict=True):
        for s, echoes in enumerate(images):
            for e, image in enumerate(echoes):
                wanted[image.path].append(_Wanted(image, values[s, :, :, e], s, e))
    floating = _floating([one.image for each in wanted.values() for one in each])
    for path, frames in wanted.items():
        file = _Opened(path, sorted(frames, key=lambda one: one.image.frame or 0))
        file.fill(floating=floating)
        if path in headers:
            headers[path] = file.header()
    return loaded


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
            self._content = enveloped(path.read_bytes())
            self._dataset = dcmread(io.BytesIO(self._content))
            element: Any = self._dataset.get_item("PixelData")
            # The tag, VR and length before the value take 12 bytes, or 8 without a VR (PS3.5 7.1).
            self._pixels_at = element.value_tell - (8 if element.is_implicit_VR else 12)
        except Exception as fault:  # the parser raises anything
            raise _undecodable(wanted[0], f"{type(fault).__name__}: {fault}") from fault

    def fill(self, *, floating: bool) -> None:
        """Decode every frame into its place; raises UndecodablePixels."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's remarks on padding; the shape of what comes out is checked
            decoded = self._frames([one.image.frame for one in self._wanted if one.image.frame is not None])
            for one in self._wanted:
                try:
                    frame = next(decoded)
                except Exception as fault:  # the decoders raise anything
                    raise _undecodable(one, f"{type(fault).__name__}: {fault}") from fault
                if frame.shape != one.target.shape:
                    raise _undecodable(one, f"decoded to {frame.shape}, the header says {one.target.shape}")
                one.target[:] = _scaled(frame, one.image, floating=floating)
                if (padded := self._padded(frame)) is not None:
                    one.target[padded] = 0.0  # no signal, as where a receiver heard nothing

    def _padded(self, frame: NDArray[np.integer[Any]]) -> NDArray[np.bool_] | None:
        """Where the scanner wrote no value but Pixel Padding, one or a range (PS3.3 C.7.5.1.1.2)."""
        value = _stored(self._dataset, "PixelPaddingValue")
        if value is None:
            return None
        limit = _stored(self._dataset, "PixelPaddingRangeLimit")
        low, high = sorted((value, value if limit is None else limit))
        padded: NDArray[np.bool_] = (frame >= low) & (frame <= high)
        return padded if padded.any() else None

    def header(self) -> bytes:
        """The file as far as its pixels; all of it where it is deflated and they cannot be told apart."""
        deflated = self._dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
        return self._content if deflated else self._content[: self._pixels_at]

    def _frames(self, frames: Sequence[int]) -> Iterator[NDArray[np.integer[Any]]]:
        """Decode some frames, the only one where none is named. Raises whatever its decoder does."""
        source = self._dataset
        if source.file_meta.TransferSyntaxUID in _ENDS_WITH_A_MARKER:
            streams = generate_frames(source.PixelData, number_of_frames=int(source.get("NumberOfFrames") or 1))
            for index, stream in enumerate(streams):
                if index in (frames or (0,)) and not stream.rstrip(b"\0").endswith(_END_OF_IMAGE):
                    raise ValueError("the compressed stream is cut short")
        yield from iter_pixels(source, indices=frames or None, raw=True)


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
