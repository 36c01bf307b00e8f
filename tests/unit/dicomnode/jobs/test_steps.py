"""How a job ends whose step came to a bad end: what cannot be measured is refused, what broke has failed."""

import pytest

from dicomnode import events
from dicomnode.errors import Implausible, NodeError, StepError, UndecodablePixels
from dicomnode.jobs import lifecycle
from dicomnode.jobs import manifest as manifests
from dicomnode.jobs.children import ChildDied, TooLarge, TooLong
from dicomnode.jobs.lifecycle import JobStatus
from dicomnode.jobs.manifest import Manifest
from dicomnode.jobs.steps import Steps
from dicomnode.store.spool import Spool

MANIFEST = Manifest(sources=("1.1",), parameters={}, software_version="1", instances={"1.1": "incoming/1/1.1.dcm"})


class Breaks:
    """Children whose every step raises."""

    def __init__(self, fault):
        self.fault = fault
        self.alone = []

    def run(self, step, *arguments, alone=False):
        self.alone.append(alone)
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Implausible("each image was scaled on its own", "stretched"), JobStatus.REFUSED, "scaled on its own"),
        (UndecodablePixels("echo 2 cannot be decoded"), JobStatus.FAILED, "fit: echo 2 cannot be decoded"),
        (StepError("the disk is gone"), JobStatus.FAILED, "fit: the disk is gone"),
        (ZeroDivisionError("division by zero"), JobStatus.FAILED, "fit: ZeroDivisionError"),
    ],
)
def test_a_bad_end_is_said_with_its_reason(tmp_path, fault, status, words):
    spool, said = Spool(tmp_path), []
    job = spool.job(MANIFEST.key)
    job.folder.mkdir(parents=True)
    manifests.write(job, MANIFEST)
    steps = Steps(spool, Breaks(fault), deaths_allowed=1, settle=lambda _: None, say=said.append)
    with pytest.raises(type(fault)) as caught:
        dict(steps.table())["fit"](MANIFEST.key)
    steps.failed(MANIFEST.key, "fit", caught.value)
    state = lifecycle.state(job)
    assert state.status is status
    assert words in state.reason
    assert [type(one) for one in said] == [events.JobFailed]


@pytest.mark.parametrize(
    "fault", [ChildDied("its process died"), TooLong("it took more than 1800 s"), TooLarge("3000 MB")]
)
def test_what_breaks_its_limits_runs_once_more_alone_and_is_given_up_with_its_reason(tmp_path, fault):
    spool, said = Spool(tmp_path), []
    spool.job(MANIFEST.key).folder.mkdir(parents=True)
    manifests.write(spool.job(MANIFEST.key), MANIFEST)
    children = Breaks(fault)
    steps = Steps(spool, children, deaths_allowed=2, settle=lambda _: None, say=said.append)
    with pytest.raises(NodeError, match=f"given up after 2 trials, the last of them alone: {fault}"):
        dict(steps.table())["fit"](MANIFEST.key)
    assert children.alone == [False, True]
    assert [(one.death, one.reason) for one in said] == [(1, str(fault)), (2, str(fault))]
