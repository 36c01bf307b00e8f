"""The pixels of a stack, decoded and scaled to what the scanner means by them."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels

from dicomnode.errors import UndecodablePixels
from dicomnode.model import Component

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dicomnode.model import EchoImage, EchoStack

__all__ = ["load", "load_companion"]

_Cell = tuple[int, int]  # slice, echo

# JPEG and JPEG-LS: their decoders fill what a stream that was cut short lacks, and say nothing.
_ENDS_WITH_A_MARKER = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81))
_END_OF_IMAGE = b"\xff\xd9"  # ISO/IEC 10918-1 B.1.1.3, ISO/IEC 14495-1 C.1


def load(stack: EchoStack) -> NDArray[np.float32]:
    """Return the magnitudes, (slices, K, L, M) with the echo axis last, in the scanner's signal units.

    Where the scanner sent no magnitude it is |real + i imaginary|. Raises UndecodablePixels.
    """
    if stack.magnitude_from is Component.MAGNITUDE:
        return _load(stack.images, stack.shape, floating=_scales_differ(stack.images))
    real, imaginary = (stack.companions[part] for part in (Component.REAL, Component.IMAGINARY))
    floating = _scales_differ((*real, *imaginary))
    return np.hypot(*(_load(part, stack.shape, floating=floating) for part in (real, imaginary)))


def load_companion(stack: EchoStack, component: Component) -> NDArray[np.float32]:
    """Return the phase, real or imaginary images that came with a stack, shaped like it, rescaled.

    Raises KeyError when the stack has none, UndecodablePixels.
    """
    return _load(stack.companions[component], stack.shape, floating=False)


def _scales_differ(images: Sequence[Sequence[EchoImage]]) -> bool:
    return len({image.scale_slope for echoes in images for image in echoes}) > 1


def _load(
    images: Sequence[Sequence[EchoImage]], shape: tuple[int, int, int, int], *, floating: bool
) -> NDArray[np.float32]:
    """Open every file once, however many of its frames are needed."""
    cells: dict[Path, list[tuple[EchoImage, _Cell]]] = defaultdict(list)
    for s, echoes in enumerate(images):
        for e, image in enumerate(echoes):
            cells[image.path].append((image, (s, e)))
    values = np.empty(shape, np.float32)
    for path, wanted in cells.items():
        _fill(values, path, sorted(wanted, key=lambda cell: cell[0].frame or 0), floating=floating)
    return values


def _scaled(frame: NDArray[np.integer[Any]], image: EchoImage, *, floating: bool) -> NDArray[np.float64]:
    """Apply Rescale; where the private scale differs inside a stack, only its floating-point values compare.

    Chenevert et al., Transl Oncol 2014;7:65: FP = (PV · RS + RI) / (RS · SS).
    """
    displayed = frame.astype(np.float64) * image.rescale_slope + image.rescale_intercept
    return displayed / (image.rescale_slope * image.scale_slope) if floating and image.scale_slope else displayed


def _fill(
    values: NDArray[np.float32], path: Path, wanted: Sequence[tuple[EchoImage, _Cell]], *, floating: bool
) -> None:
    frames = [image.frame for image, _ in wanted if image.frame is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on padding; the shape of what comes out is checked
        decoded = _frames(path, frames)
        for image, (s, e) in wanted:
            try:
                frame = next(decoded)
            except Exception as fault:  # the decoders raise anything
                raise _undecodable(image, s, e, f"{type(fault).__name__}: {fault}") from fault
            if frame.shape != values.shape[1:3]:
                raise _undecodable(image, s, e, f"decoded to {frame.shape}, the header says {values.shape[1:3]}")
            values[s, :, :, e] = _scaled(frame, image, floating=floating)


def _frames(path: Path, frames: Sequence[int]) -> Iterator[NDArray[np.integer[Any]]]:
    """Decode some frames of a file, the only one where none is named. Raises whatever its decoder does."""
    source = dcmread(path, specific_tags=["NumberOfFrames"], stop_before_pixels=True)
    if source.file_meta.TransferSyntaxUID in _ENDS_WITH_A_MARKER:
        count = int(source.get("NumberOfFrames") or 1)
        streams = generate_frames(dcmread(path, specific_tags=["PixelData"]).PixelData, number_of_frames=count)
        for index, stream in enumerate(streams):
            if index in (frames or (0,)) and not stream.rstrip(b"\0").endswith(_END_OF_IMAGE):
                raise ValueError("the compressed stream is cut short")
    yield from iter_pixels(path, indices=frames or None, raw=True)


def _undecodable(image: EchoImage, s: int, e: int, why: str) -> UndecodablePixels:
    where = f"echo {e + 1}, slice {s + 1}"
    return UndecodablePixels(f"{where} (SOP Instance UID {image.sop_instance_uid}) cannot be decoded: {why}")
