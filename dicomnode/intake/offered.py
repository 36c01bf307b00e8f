"""What the receiver takes: SOP classes and the transfer syntaxes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    JPEG2000,
    BasicTextSRStorage,
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    EnhancedMRImageStorage,
    EnhancedSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    ParametricMapStorage,
    RawDataStorage,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNCOMPRESSED = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_COMPRESSED = (
    RLELossless,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
# What scanners send with a multi-echo series, and what a radiologist's region comes back in. Everything but MR images
# is kept and said to be no echo; refusing it would make some scanners give up the whole series.
STORED: Mapping[str, tuple[str, ...]] = {
    MRImageStorage: _UNCOMPRESSED + _COMPRESSED,
    EnhancedMRImageStorage: _UNCOMPRESSED + _COMPRESSED,
    EnhancedMRColorImageStorage: _UNCOMPRESSED + _COMPRESSED,
    LegacyConvertedEnhancedMRImageStorage: _UNCOMPRESSED + _COMPRESSED,
    SecondaryCaptureImageStorage: _UNCOMPRESSED + _COMPRESSED,
    ParametricMapStorage: _UNCOMPRESSED,
    RawDataStorage: _UNCOMPRESSED,
    SegmentationStorage: (*_UNCOMPRESSED, RLELossless),
    "1.2.840.10008.5.1.4.1.1.66.7": (*_UNCOMPRESSED, RLELossless),  # Label Map Segmentation
    RTStructureSetStorage: _UNCOMPRESSED,
    GrayscaleSoftcopyPresentationStateStorage: _UNCOMPRESSED,
    ColorSoftcopyPresentationStateStorage: _UNCOMPRESSED,
    BasicTextSRStorage: _UNCOMPRESSED,
    EnhancedSRStorage: _UNCOMPRESSED,
    ComprehensiveSRStorage: _UNCOMPRESSED,
    Comprehensive3DSRStorage: _UNCOMPRESSED,
    "1.3.12.2.1107.5.9.1": _UNCOMPRESSED,  # Siemens CSA non-image
}
