"""Many datagrams in one call of the system, so that a flood costs little."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.link.packets import HEADER_BYTES, MAX_PACKET

ROOM = 256
"""Datagrams of one call."""


class _Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """``struct msghdr``."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("n_vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (("header", _Header), ("received", ctypes.c_uint))


class Datagrams:
    """The datagrams of the last call; one that is too long is cut, and later rejected.

    Attributes
    ----------
    count : int
        How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._data = np.zeros((ROOM, MAX_PACKET + 1), np.uint8)
        self._sizes = np.zeros(ROOM, np.uint32)
        self._call = _many_at_once()
        if self._call is None:
            return
        self._messages = message_array(list(self._data))
        numbers = np.frombuffer(memoryview(self._messages).cast("B"), np.uint32)
        place = _Message.received.offset // numbers.itemsize
        self._sizes = numbers.reshape(ROOM, -1)[:, place]

    @property
    def sizes(self) -> NDArray[np.uint32]:
        """Bytes of each datagram, (count,)."""
        return self._sizes[: self.count]

    @property
    def headers(self) -> NDArray[np.uint8]:
        """Their first bytes, (count, 16); bytes beyond a datagram's size mean nothing."""
        return self._data[: self.count, :HEADER_BYTES]

    def __getitem__(self, index: int) -> bytes:
        """Return the bytes of a datagram."""
        return self._data[index, : self._sizes[index]].tobytes()

    def receive(self, source: socket.socket) -> None:
        """Take what waits at a socket; do not wait. An error of the network counts as nothing."""
        if self._call is None:
            self._receive_singly(source)
            return
        self.count = max(
            0, self._call(source.fileno(), self._messages, ROOM, socket.MSG_DONTWAIT, None)
        )

    def _receive_singly(self, source: socket.socket) -> None:
        self.count = 0
        with contextlib.suppress(OSError):
            while self.count < ROOM:
                size = source.recv_into(self._data[self.count], 0, socket.MSG_DONTWAIT)
                self._sizes[self.count] = size
                self.count += 1


def message_array(buffers: Sequence[Any]) -> ctypes.Array[_Message]:
    """Return an array of ``struct mmsghdr``, one for each of some writable buffers.

    The buffers must live as long as the array is in use.
    """
    parts = [(ctypes.c_char * len(buffer)).from_buffer(buffer) for buffer in buffers]
    messages = (_Message * len(parts))()
    for message, part in zip(messages, parts, strict=True):
        vector = _Vector(ctypes.addressof(part), ctypes.sizeof(part))
        message.header.vectors, message.header.n_vectors = ctypes.pointer(vector), 1
    return messages


def _many_at_once() -> Callable[..., Any] | None:
    """Return ``recvmmsg`` of the C library; None where there is none."""
    try:
        return ctypes.CDLL(None).recvmmsg
    except (AttributeError, OSError):
        return None
