"""The error tree of the node.

::

    NodeError
    ├── ConfigError            the configuration file cannot be used          exit 2
    ├── InputError             what arrived cannot be used as it is           kept, never retried
    │   ├── NotDicom             the bytes are not a DICOM object
    │   ├── DamagedHeader        an attribute that is needed is missing or unreadable
    │   ├── UndecodablePixels    the pixel data cannot be decoded
    │   └── Refused              it is read, and not to be processed; its code says why
    │       ├── Implausible        the values cannot be those of a decay
    │       └── NotWanted          it is not of the organ, or cannot measure its iron
    ├── StorageError           the disk refused                               the sender keeps the object and retries
    │   ├── DiskFull             there is none left                           waits, and goes on by itself
    │   └── DiskLow              free space is under the configured limit
    ├── StepError              a processing step failed                       retried, then dead-lettered
    │   └── Newer                a newer version of the software began it       left to that one
    └── DeliveryError          a destination did not take an object
        ├── Unreachable          no association; nothing was sent             retried for days
        ├── NotAllowed           it does not take the credentials             retried, for people may cure it
        ├── Busy                 it asks to be left alone for a while         retried after that while
        ├── NotOffered           it does not offer the service                retried, for people may cure it
        └── NoAnswer             sent, but no response arrived: unknown       retried, same UIDs

Each class knows the DIMSE status that a C-STORE is answered with.
"""

from typing import ClassVar


class NodeError(Exception):
    """Something the node has a name for went wrong."""

    dimse_status: ClassVar[int] = 0xC000

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n")[0])


class ConfigError(NodeError):
    """The configuration cannot be used."""


class InputError(NodeError):
    """What arrived cannot be used as it is."""

    dimse_status = 0xC000


class NotDicom(InputError):
    """The bytes are not a DICOM object."""


class DamagedHeader(InputError):
    """An attribute that is needed is missing or unreadable."""


class UndecodablePixels(InputError):
    """The pixel data cannot be decoded."""


class Refused(InputError):
    """It can be read, and is not to be processed."""

    def __init__(self, message: str = "", code: str = "refused") -> None:
        super().__init__(message)
        self.code = code


class Implausible(Refused):
    """The values cannot be those of a decay."""


class NotWanted(Refused):
    """It is not of the organ, or cannot measure its iron."""


class StorageError(NodeError):
    """The disk refused; the sender keeps the object."""

    dimse_status = 0xA700


class DiskFull(StorageError):
    """There is no room left; what was being written is to be written again."""


class DiskLow(StorageError):
    """Free space is under the configured limit; the sender keeps the object."""


class StepError(NodeError):
    """A processing step failed."""


class Newer(StepError):
    """A newer version of the software wrote it, and this one does not know what it means."""

    def __init__(self, message: str = "", version: int = 0) -> None:
        super().__init__(message)
        self.version = version


class DeliveryError(NodeError):
    """A destination did not take an object."""


class Unreachable(DeliveryError):
    """No association with the destination could be opened."""


class NotAllowed(DeliveryError):
    """The destination does not take the credentials that are configured for it."""


class Busy(DeliveryError):
    """The destination asks to be left alone for a while."""

    def __init__(self, message: str = "", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class NotOffered(DeliveryError):
    """The destination does not offer the service that is configured for it."""


class NoAnswer(DeliveryError):
    """The object was sent but no response arrived, so it is sent again with the same UIDs."""
