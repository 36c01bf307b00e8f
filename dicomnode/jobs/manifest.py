"""What a job is made from; only what it replaces is ever written again, where that is another result by now."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  pydantic reads the annotations of this module
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from dicomnode.errors import Newer, NodeError, StepError
from dicomnode.store.durable import make_folder

if TYPE_CHECKING:
    from dicomnode.store.job import Job
    from dicomnode.store.spool import Spool

VERSION = 2  # 1 had no version, and no checkpoint of the stack beside it
BESIDE_VERSION = 3  # of what was made again: an older version would send it unasked
KNOWN_VERSIONS = (1, VERSION, BESIDE_VERSION)
_FILE = "manifest.json"
_SMALL_SAMPLES = 4_000_000  # five slices of 256 × 256 with twelve echoes


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything the numbers of a result follow from; whether it is made at all, a person may say (``orders``)."""

    sources: tuple[str, ...]  # SOP Instance UIDs of the images that give a value
    parameters: Mapping[str, Any]  # JSON values: every setting that can change a number
    software_version: str
    group_id: str = ""
    study_instance_uid: str = ""
    series_instance_uids: tuple[str, ...] = ()
    instances: Mapping[str, str] = field(default_factory=dict)  # SOP Instance UID -> path in the data folder
    partial: bool = False  # the complete slices of a stack with holes
    grouping: Mapping[str, Any] = field(default_factory=dict)  # JSON values: the rules that made the stack
    supersedes: str | None = None  # key of the result that this one replaces
    drawing: str | None = None  # path in the data folder of what a person drew
    measured_on: str | None = None  # key of the result whose maps it was drawn on
    identified_by: tuple[str, ...] = ()  # in place of the sources, where the same images give several results
    created: str = ""  # ISO 8601, when the job was made durable
    report: Mapping[str, Any] = field(default_factory=dict)  # JSON values: [report] at that time
    version: int = VERSION
    sender: str = ""  # AE title of what sent the first image
    beside: str | None = None  # key of the result that a person had made again, which this one stands beside
    samples: int = 0  # voxels times echoes: what the work grows with

    @property
    def is_small(self) -> bool:
        """Whether its work takes a few seconds, so that it should not wait for one that takes minutes."""
        return self.samples <= _SMALL_SAMPLES

    @property
    def key(self) -> str:
        """The identity of the result."""
        # Loaded late: the room brings highdicom, and whoever asks for a status should not wait for that.
        from dicomnode.report import identity  # noqa: PLC0415

        return identity.result_key(self.identified_by or self.sources, self.parameters, self.software_version)

    @property
    def judges(self) -> bool:
        """Whether the rules refuse what is no organ of ours; before they could be told otherwise, they did."""
        return bool(self.grouping.get("anatomy") != "any")

    @property
    def fit(self) -> Mapping[str, Any]:
        """[fit] at that time; before models could be chosen there was one."""
        return {"model": "mono-exponential"} | dict(self.parameters["fit"])

    def of_drawing(self, drawing: str, sop_instance_uid: str, origin: str, *, replaces: bool) -> Manifest:
        """The manifest of what a person drew on the result ``origin``, which this one made."""
        return replace(
            self,
            identified_by=(sop_instance_uid, origin),
            measured_on=origin,
            beside=None,
            drawing=drawing,
            supersedes=origin if replaces else None,
            created="",
            report={},
            version=VERSION,
        )


_ADAPTER = TypeAdapter(Manifest)


def study_of(job: Job) -> str:
    """The study a job is of; nothing where its manifest cannot be read."""
    try:
        return read(job).study_instance_uid
    except NodeError:
        return ""


def exists(job: Job) -> bool:
    """Whether the job was made durable."""
    return (job.folder / _FILE).exists()


def read(job: Job) -> Manifest:
    """Read a job's manifest; raises StepError where there is none, Newer where it is of a newer version."""
    said = job.read(_FILE)
    if not isinstance(said, dict):
        raise StepError(f"{job.folder} holds no manifest")
    version = said.get("version", 1)
    if not isinstance(version, int) or version < 1:
        raise StepError(f"{job.folder / _FILE} is damaged: its version is {version!r}")
    if version not in KNOWN_VERSIONS:
        known = " and ".join(map(str, KNOWN_VERSIONS))
        raise Newer(
            f"{job.folder / _FILE} is of version {version}, this software knows {known}: it was written by a newer one",
            version,
        )
    try:
        return _ADAPTER.validate_python({**said, "version": version})
    except ValidationError as fault:
        unlike = ", ".join(dict.fromkeys(str(one["loc"][0]) for one in fault.errors()))
        raise StepError(f"{job.folder / _FILE} is damaged: {unlike}") from None


def write(job: Job, manifest: Manifest) -> None:
    """Make a manifest durable: from now on there is a job."""
    make_folder(job.folder)
    job.write(_FILE, asdict(manifest))


def first_key(spool: Spool, manifest: Manifest) -> str:
    """The key of the result that this one and others before it replace: its own where it replaces none."""
    key = manifest.key
    while manifest.supersedes:
        key = manifest.supersedes
        if not exists(spool.job(key)):
            break
        manifest = read(spool.job(key))
    return key
