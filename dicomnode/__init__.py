"""A DICOM node that turns a multi-echo gradient-echo series into liver iron results in the PACS."""

__version__ = "0.1.0"
