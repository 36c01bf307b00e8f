"""The stack of a job, its pixels and its headers, so that after the first step the job needs no received file."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydantic import TypeAdapter, ValidationError

from dicomnode import group, header, pixels
from dicomnode.config import GroupingSettings
from dicomnode.errors import StepError
from dicomnode.jobs import manifest as manifests
from dicomnode.model import EchoStack
from dicomnode.store.durable import Partial, write_durably, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicomnode.model import EchoImage
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

_STACK, _SIGNAL, _HEADERS = "stack.json", "signal.npy", "headers.npz"
_Stack = TypeAdapter(EchoStack)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What every step of a job works on."""

    stack: EchoStack
    signal: NDArray[np.float32]  # (slices, K, L, M), in the scanner's units; read from the disk as it is needed
    headers: Mapping[Path, bytes]  # of the first echo of each slice: the file as far as its pixels

    def header_of(self, path: Path) -> Dataset:
        """The header of the first echo of a slice."""
        return pydicom.dcmread(io.BytesIO(self.headers[path]), stop_before_pixels=True, force=True)


def keep_stack(spool: Spool, job: Job, stack: EchoStack) -> None:
    """Write down which image is which echo of which slice: grouping is done once."""
    local = _moved(stack, lambda path: path.relative_to(spool.folder))
    write_durably(job.folder / _STACK, _Stack.dump_json(local))


def is_kept(job: Job) -> bool:
    """Whether the pixels of a job and its headers are here, so that ``take`` decodes nothing."""
    return (job.folder / _HEADERS).exists()


def take(spool: Spool, job: Job) -> Checkpoint:
    """Decode the pixels of a job and keep them, or read what was kept; raises UndecodablePixels, StepError."""
    stack = _stack(spool, job)
    if not is_kept(job):
        _keep(spool, job, stack)
    try:
        signal = np.load(job.folder / _SIGNAL, mmap_mode="r")
        with np.load(job.folder / _HEADERS) as file:
            names: dict[str, str] = json.loads(file["names"].tobytes())
            headers = {spool.folder / name: file[entry].tobytes() for entry, name in names.items()}
    except (OSError, ValueError, zipfile.BadZipFile) as fault:
        raise StepError(f"the pixels of this job cannot be read: {fault}") from fault
    return Checkpoint(stack, signal, headers)


def names(spool: Spool, job: Job) -> tuple[str, ...]:
    """By what a site knows the series of a job; nothing where its stack cannot be read."""
    try:
        return _stack(spool, job).images[0][0].names
    except StepError:
        return ()


def _keep(spool: Spool, job: Job, stack: EchoStack) -> None:
    """Write the pixels, then the headers, whose presence means that both are there."""
    found = _keep_signal(job.folder / _SIGNAL, stack)
    headers = {path: found[path] for path in (echoes[0].path for echoes in stack.images)}
    entries = {f"header{i}": content for i, content in enumerate(headers.values())}
    names = {f"header{i}": str(path.relative_to(spool.folder)) for i, path in enumerate(headers)}
    arrays: dict[str, Any] = {name: np.frombuffer(content, np.uint8) for name, content in entries.items()}
    arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    with written(job.folder / _HEADERS) as file:
        np.savez(file, **arrays)


def _keep_signal(path: Path, stack: EchoStack) -> dict[Path, bytes]:
    """Write what ``numpy.save`` would, durably, each slice as it is decoded; return the headers of first echoes."""
    head, headers = io.BytesIO(), {}
    kind = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": stack.shape})
    with Partial(path.parent) as file:
        file.hand_over()
        file.write(head.getvalue())
        for slab in pixels.slabs(stack):
            file.write_at(head.tell() + slab.slice * slab.values.nbytes, slab.values.data.cast("B"))
            headers[stack.images[slab.slice][0].path] = slab.header
        file.keep_as(path)
    return headers


def _stack(spool: Spool, job: Job) -> EchoStack:
    manifest = manifests.read(job)
    path = job.folder / _STACK
    if manifest.version == 1 and not path.exists():
        keep_stack(spool, job, _assembled(spool, manifest))
    try:
        local = _Stack.validate_json(path.read_bytes())
    except (OSError, ValidationError) as fault:
        raise StepError(f"{path.name} of this job cannot be read: {type(fault).__name__}") from fault
    return _moved(local, lambda place: spool.folder / place)


def _assembled(spool: Spool, manifest: manifests.Manifest) -> EchoStack:
    """Group again, for a job that a version without checkpoints left behind."""
    images: Iterable[EchoImage] = [
        image for path in manifest.instances.values() for image in header.read(spool.folder / path).images
    ]
    rules = GroupingSettings.model_validate_json(json.dumps(dict(manifest.grouping)))
    for candidate in group.assemble(list(images), rules):
        stack = candidate.partial if manifest.partial else candidate.stack
        if stack is not None and stack.sop_instance_uids == manifest.sources:
            return stack
    raise StepError("the instances of this job no longer give the stack it was made for; were files removed?")


def _moved(stack: EchoStack, place: Callable[[Path], Path]) -> EchoStack:
    """The same stack with its files elsewhere."""

    def move(images: tuple[tuple[EchoImage, ...], ...]) -> tuple[tuple[EchoImage, ...], ...]:
        return tuple(tuple(replace(image, path=place(image.path)) for image in echoes) for echoes in images)

    companions = {component: move(images) for component, images in stack.companions.items()}
    return replace(stack, images=move(stack.images), companions=companions)
