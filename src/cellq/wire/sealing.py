"""The envelope around everything a user pickled: signed, and opened only when the signature is right.

    ┌──────────────────────── header, 44 bytes ────────────────────────┐
    │ magic "cllq" │ format │ purpose │ python 3 │ 11 │ parts │ HMAC 32 │
    ├──────────────────────────────────────────────────────────────────┤
    │ one number for each part: size · 4 + writable · 2 + compressed · 1 │
    ├──────────────────────────────────────────────────────────────────┤
    │ part 0: the pickle                                                │
    ├──────────────────────────────────────────────────────────────────┤
    │ padding to 64 │ part 1: the first buffer │ padding │ part 2 │ …   │
    └──────────────────────────────────────────────────────────────────┘

The HMAC-SHA256 covers job id, code digest and every byte but itself: a payload cannot be changed, moved to another
job, given to other code or passed off as a result. It is checked before anything of the rest is looked at.

Buffers start at multiples of 64 bytes, so that arrays in a spilled file are used in place: the file is mapped copy on
write, arrives writable, and is read once.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import os
import pickle
import secrets
import struct
import sys
import zlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from cellq.errors import Expired, Untrusted, WrongPython
from cellq.message import Blob, Spill
from cellq.wire import pickling
from cellq.wire.inputs import Arrival, Handle
from cellq.wire.pickling import Label

FORMAT = 1
SPILL_OVER = 2**20  # bytes; larger values go into a file of their own

_MAGIC = b"cllq"
_HEAD = struct.Struct("<4sBBBBI")
_MAC = 32
_START = _HEAD.size + _MAC
_ALIGN = 64
_WRITABLE, _COMPRESSED = 2, 1

_SQUEEZE_FROM, _SQUEEZE_TO = 16 << 10, 8 << 20  # bytes
_SAMPLE = 64 << 10
_WORTH = 0.7  # of its size, or less, must be left of the sample

Data = bytes | bytearray | memoryview


class Purpose(StrEnum):
    """What a sealed value is for; it is refused as anything else."""

    CODE = "code"
    CALL = "call"
    RESULT = "result"
    ERROR = "error"
    SCHEDULE = "schedule"


_NUMBER = {purpose: number for number, purpose in enumerate(Purpose, 1)}
_HOMEWARD = (Purpose.RESULT, Purpose.ERROR)


class Seal:
    """Seals and opens values with one secret.

    Args:
        secret: `settings.secret()`; the same for whoever is to open.
    """

    def __init__(self, secret: bytes) -> None:
        self._hmac = hmac.new(hashlib.sha256(b"cellq sealing 1" + secret).digest(), digestmod="sha256")

    def seal(
        self,
        value: object,
        *,
        purpose: Purpose,
        job_id: bytes = b"",
        code: bytes = b"",
        label: Label = "",
        spill_dir: Path | None = None,
        met: list[Handle] | None = None,
    ) -> Blob:
        """Pickles and signs a value.

        Args:
            job_id, code: the job, and the digest of the code, that the value belongs to.
            label: what to call the value when it cannot be pickled; see `pickling.dumps`.
            spill_dir: where a value over `SPILL_OVER` bytes gets a file of its own; None keeps it in one piece.
            met: takes the jobs in the value, which then travel as their results; see `pickling.dumps`.

        Raises:
            NotPicklable: something in it cannot travel; the message names the variable and the path to it.
            OSError: the file cannot be written; nothing of it is left behind.
        """
        body, buffers = pickling.dumps(value, label=label, met=met)
        if not buffers and len(body) < _SQUEEZE_FROM:
            head = _HEAD.pack(_MAGIC, FORMAT, _NUMBER[purpose], *sys.version_info[:2], 1)
            tail = (len(body) * 4).to_bytes(8, "little") + body
            return head + self._sign(job_id, code, head, tail) + tail
        views = [_flat(part) for part in (body, *buffers)]
        spilled = spill_dir is not None and sum(view.nbytes for view in views) > SPILL_OVER
        parts: list[Data] = []
        sizes: list[int] = []
        place = _START + 8 * len(views)
        for index, view in enumerate(views):
            data, compressed = (view, 0) if spilled else _squeeze(view)
            if index:
                parts.append(bytes(-place % _ALIGN))
                place += -place % _ALIGN
            parts.append(data)
            size = data.nbytes if isinstance(data, memoryview) else len(data)
            sizes.append(size * 4 + (0 if view.readonly else _WRITABLE) + compressed)
            place += size
        head = _HEAD.pack(_MAGIC, FORMAT, _NUMBER[purpose], *sys.version_info[:2], len(views))
        parts.insert(0, struct.pack(f"<{len(sizes)}Q", *sizes))
        parts = [head, self._sign(job_id, code, head, *parts), *parts]
        if spilled and spill_dir is not None:
            return _spill(parts, place, spill_dir)
        return b"".join(parts)

    def open(
        self,
        blob: Blob,
        *,
        purpose: Purpose,
        job_id: bytes = b"",
        code: bytes = b"",
        namespace: dict[str, Any] | None = None,
        homeward: bool | None = None,
        arrival: Arrival | None = None,
    ) -> Any:
        """The value, if the signature is right.

        Args:
            purpose, job_id, code: as when it was sealed.
            namespace: where functions from a notebook live from now on; see `pickling.loads`.
            homeward: the receiver's own modules and classes are preferred; so it is with results and errors when None.
            arrival: gives what arrives in place of jobs among arguments.

        Raises:
            Untrusted: the signature is missing or wrong; nothing was unpickled.
            WrongPython: it was pickled by another minor version of Python.
            Expired: the file of a spilled value is gone.
            Exception: whatever unpickling raises, such as ModuleNotFoundError.
        """
        data: Data | mmap.mmap = _map(blob) if isinstance(blob, Spill) else blob
        body, buffers = self._verify(memoryview(data), purpose, job_id, code, in_place=isinstance(blob, Spill))
        if homeward is None:
            homeward = purpose in _HOMEWARD
        return pickling.loads(body, buffers, namespace=namespace, homeward=homeward, arrival=arrival)

    def resealed(
        self, blob: Blob, *, purpose: Purpose, becomes: Purpose, of: bytes, to: bytes, code: bytes = b""
    ) -> Blob:
        """The same value for another job: verified, and signed anew. Nothing is unpickled, whatever Python it is from.

        Only what was sealed to be scheduled becomes a call this way: to sign calls for whoever puts a call into a
        schedule would be to sign anything.

        Args:
            purpose, becomes: what the value was sealed for, and what it is for from now on.
            of, to: the job that it belongs to, and the one that the new envelope is for.
            code: as when it was sealed.

        Returns:
            What has a file of its own gets another one beside it.

        Raises:
            Untrusted: the signature is missing or wrong.
            Expired: the file of a spilled value is gone.
            OSError: the new file cannot be written.
        """
        data = memoryview(_map(blob) if isinstance(blob, Spill) else blob)
        self._authentic(data, purpose, of, code)
        magic, version, _, *python, count = _HEAD.unpack_from(data)
        head, rest = _HEAD.pack(magic, version, _NUMBER[becomes], *python, count), data[_START:]
        parts: list[Data] = [head, self._sign(to, code, head, rest), rest]
        return _spill(parts, len(data), Path(blob.path).parent) if isinstance(blob, Spill) else b"".join(parts)

    def seal_code(self, function: Callable[..., Any]) -> tuple[bytes, bytes]:
        """A function as (SHA-256 of the sealed bytes, sealed bytes).

        The digest is for caching: equal digests are equal code, but equal code may have different digests.

        Raises:
            NotPicklable: the function, or something it uses, cannot travel.
        """
        blob = self.seal(function, purpose=Purpose.CODE, label=_function_label(function))
        assert isinstance(blob, bytes)
        return hashlib.sha256(blob).digest(), blob

    def open_code(self, blob: Blob, digest: bytes, namespace: dict[str, Any] | None = None) -> Callable[..., Any]:
        """The function of `seal_code`. A cached one keeps its globals: give each its own namespace, or None.

        Raises:
            Untrusted: the signature is wrong, or it is other code than the digest says.
        """
        data = Path(blob.path).read_bytes() if isinstance(blob, Spill) else blob
        if not hmac.compare_digest(hashlib.sha256(data).digest(), digest):
            raise Untrusted("The code in the store is not the code this job was enqueued with; it was not run.")
        function = self.open(data, purpose=Purpose.CODE, namespace=namespace)
        if not callable(function):
            raise Untrusted(f"What was sealed as code is a {type(function).__name__}, not a function.")
        return function  # type: ignore[no-any-return]

    def _sign(self, job_id: bytes, code: bytes, *parts: Data) -> bytes:
        context = b"%c%b%c%b" % (len(job_id), job_id, len(code), code)
        mac = self._hmac.copy()
        if sum(map(len, parts)) < 4096:
            mac.update(b"".join((context, *parts)))
            return mac.digest()
        mac.update(context)
        for part in parts:
            mac.update(part)
        return mac.digest()

    def _authentic(self, data: memoryview, purpose: Purpose, job_id: bytes, code: bytes) -> None:
        """Refuse an envelope whose signature is wrong, or that is for something else."""
        if len(data) < _START or data[:4] != _MAGIC:
            raise Untrusted("This is not a value that cellq sealed, or it was cut short; nothing of it was unpickled.")
        _, version, number, *_ = _HEAD.unpack_from(data)
        if version != FORMAT:
            raise Untrusted(
                f"This value is sealed in format {version}, this cellq reads format {FORMAT}. "
                f"Use the same version of cellq on both sides."
            )
        given = data[_HEAD.size : _START]
        if not hmac.compare_digest(given, self._sign(job_id, code, data[: _HEAD.size], data[_START:])):
            raise Untrusted(
                "The signature does not fit: the value was changed, belongs to another job, or was sealed with another "
                "secret. If it comes from another machine or user, give both sides the same CELLQ_SECRET "
                "(or the same secret file). Nothing of it was unpickled."
            )
        if number != _NUMBER[purpose]:
            raise Untrusted(f"The value was sealed for something else than to be a {purpose}; it was not unpickled.")

    def _verify(
        self, data: memoryview, purpose: Purpose, job_id: bytes, code: bytes, *, in_place: bool
    ) -> tuple[memoryview | bytes, list[Data]]:
        """The pickle and its buffers, out of an envelope whose signature is right."""
        self._authentic(data, purpose, job_id, code)
        *_, major, minor, count = _HEAD.unpack_from(data)
        if (major, minor) != sys.version_info[:2]:
            raise WrongPython(
                f"The value was pickled by Python {major}.{minor} and cannot be read by "
                f"{sys.version_info[0]}.{sys.version_info[1]}. Run the worker with Python {major}.{minor}."
            )
        sizes = struct.unpack_from(f"<{count}Q", data, _START)
        place = _START + 8 * count
        parts: list[Data] = []
        for index, entry in enumerate(sizes):
            if index:
                place += -place % _ALIGN
            size = entry >> 2
            part: Data = data[place : place + size]
            place += size
            if entry & _COMPRESSED:
                part = zlib.decompress(part)
            if index and entry & _WRITABLE:
                part = part if in_place else bytearray(part)
            elif index and isinstance(part, memoryview):
                part = part.toreadonly()
            parts.append(part)
        body = parts[0]
        assert not isinstance(body, bytearray)
        return body, parts[1:]


def _function_label(function: Callable[..., Any]) -> str:
    return f"function `{getattr(function, '__name__', type(function).__name__)}`"


def _flat(part: pickling.Buffer) -> memoryview:
    return part.raw() if isinstance(part, pickle.PickleBuffer) else memoryview(part).cast("B")


def _squeeze(data: memoryview) -> tuple[Data, int]:
    """The data compressed, when a sample says that it pays; and whether it is."""
    if not _SQUEEZE_FROM <= data.nbytes <= _SQUEEZE_TO:
        return data, 0
    sample = data[:_SAMPLE]
    if len(zlib.compress(sample, 1)) > _WORTH * sample.nbytes:
        return data, 0
    return zlib.compress(data, 1), _COMPRESSED


def _spill(parts: list[Data], size: int, folder: Path) -> Spill:
    """Writes an envelope into a new file, part by part, without joining them in memory."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder.absolute() / f"{secrets.token_hex(16)}.sealed"
    draft = path.with_suffix(".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            for part in parts:
                file.write(part)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return Spill(path=str(path), size=size)


def _map(spill: Spill) -> mmap.mmap | bytes:
    try:
        with Path(spill.path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # ACCESS_COPY: what is changed in memory never reaches the file.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
    except FileNotFoundError:
        raise Expired(f"The file of this value is gone: {spill.path}. Its job was pruned or deleted.") from None
