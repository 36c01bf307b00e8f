"""DIMSE command sets: what a peer asks for, and how it is answered (PS3.7 6.3.1, 9.3, 10.3).

A command set is always little endian with implicit VR and holds a dozen short elements; building one through a general
data set takes most of a millisecond, an image's whole share of time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

C_STORE, C_ECHO, N_ACTION, N_EVENT_REPORT = 0x0001, 0x0030, 0x0130, 0x0100
ANSWER = 0x8000  # added to the command that is answered
NO_DATA_SET = 0x0101
MOST_BYTES = 4096  # of a command set

_GROUP_LENGTH = 0x0000
_SOP_CLASS, _REQUESTED_CLASS = 0x0002, 0x0003
_COMMAND, _MESSAGE, _ANSWERED = 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _COMMENT = 0x0800, 0x0900, 0x0902
_INSTANCE, _REQUESTED_INSTANCE = 0x1000, 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_COMMENT_LENGTH = 64  # VR LO


class Status(IntEnum):
    """PS3.7 annex C and PS3.4 table B.2-1."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    NO_SUCH_EVENT = 0x0113
    INVALID_ARGUMENT = 0x0115
    NO_SUCH_CLASS = 0x0118
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Malformed(ValueError):
    """The bytes are no command set."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command set with the presentation context it came on."""

    context_id: int
    elements: dict[int, bytes]  # by element number of group 0000

    @classmethod
    def decode(cls, context_id: int, encoded: bytes | bytearray) -> Command:
        """Read the elements; raises Malformed."""
        elements, at = {}, 0
        while at < len(encoded):
            if at + 8 > len(encoded):
                raise Malformed("an element of the command set is cut short")
            group, element, length = struct.unpack_from("<HHI", encoded, at)
            at += 8
            if group != 0 or at + length > len(encoded):
                raise Malformed("the command set holds what is no element of it")
            elements[element] = bytes(encoded[at : at + length])
            at += length
        command = cls(context_id, elements)
        if _COMMAND not in elements:
            raise Malformed("the command set names no command")
        return command

    @property
    def kind(self) -> int:
        """What is asked for, or answered."""
        return self._number(_COMMAND)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self._number(_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET

    @property
    def sop_class_uid(self) -> str:
        """Of what it is about."""
        return self._uid(_SOP_CLASS) or self._uid(_REQUESTED_CLASS)

    @property
    def sop_instance_uid(self) -> str:
        """Of what it is about."""
        return self._uid(_INSTANCE) or self._uid(_REQUESTED_INSTANCE)

    @property
    def action_type(self) -> int:
        """Of an N-ACTION."""
        return self._number(_ACTION_TYPE)

    @property
    def event_type(self) -> int:
        """Of an N-EVENT-REPORT."""
        return self._number(_EVENT_TYPE)

    @property
    def status(self) -> int:
        """Of an answer."""
        return self._number(_STATUS, Status.CANNOT_UNDERSTAND)

    def answer(self, status: int, comment: str = "") -> bytes:
        """The response to this request, without a data set."""
        elements = {
            _SOP_CLASS: self._padded(self.sop_class_uid),
            _COMMAND: struct.pack("<H", self.kind | ANSWER),
            _ANSWERED: struct.pack("<H", self._number(_MESSAGE)),
            _DATA_SET_TYPE: struct.pack("<H", NO_DATA_SET),
            _STATUS: struct.pack("<H", status),
        }
        if comment and status != Status.SUCCESS:
            elements[_COMMENT] = _even(comment.encode("ascii", "replace")[:_COMMENT_LENGTH], b" ")
        if self.sop_instance_uid:
            elements[_INSTANCE] = self._padded(self.sop_instance_uid)
        elements |= {number: self.elements[number] for number in (_ACTION_TYPE, _EVENT_TYPE) if number in self.elements}
        return encode(elements)

    def _number(self, element: int, otherwise: int = 0) -> int:
        value = self.elements.get(element, b"")
        return int.from_bytes(value[:2], "little") if len(value) >= 2 else otherwise

    def _uid(self, element: int) -> str:
        return self.elements.get(element, b"").decode("ascii", "replace").strip("\0 ")

    @staticmethod
    def _padded(uid: str) -> bytes:
        return _even(uid.encode("ascii", "replace"), b"\0")


def event_report(message: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> bytes:
    """An N-EVENT-REPORT request, which a data set follows."""
    return encode(
        {
            _SOP_CLASS: _even(sop_class_uid.encode(), b"\0"),
            _COMMAND: struct.pack("<H", N_EVENT_REPORT),
            _MESSAGE: struct.pack("<H", message),
            _DATA_SET_TYPE: struct.pack("<H", 0x0001),
            _INSTANCE: _even(sop_instance_uid.encode(), b"\0"),
            _EVENT_TYPE: struct.pack("<H", event_type),
        }
    )


def encode(elements: dict[int, bytes]) -> bytes:
    """A command set of these elements, each of even length."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in sorted(elements.items()))
    return struct.pack("<HHII", 0, _GROUP_LENGTH, 4, len(body)) + body


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
