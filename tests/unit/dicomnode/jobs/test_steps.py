"""How a job ends whose step came to a bad end: what cannot be measured is refused, what broke has failed."""

import threading

import pytest

from dicomnode import events
from dicomnode.errors import Implausible, NodeError, StepError, UndecodablePixels
from dicomnode.jobs import lifecycle, pipeline
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

    def ready(self):
        return 1

    def run(self, step, *arguments, alone=False):
        self.alone.append(alone)
        raise self.fault


class Meet:
    """Children that wait for each other where there are several; the steps of ``faults`` raise."""

    def __init__(self, count, faults=()):
        self.count, self.faults = count, faults
        self.meeting = threading.Barrier(len(pipeline.PARTS), timeout=20)
        self.ran = []

    def ready(self):
        return self.count

    def run(self, step, _folder, _key, name, *, alone=False):
        if name in pipeline.PARTS:
            self.meeting.wait()
        if name in self.faults:
            raise StepError(f"no {name}")
        self.ran.append(name)


@pytest.fixture
def report(tmp_path):
    spool = Spool(tmp_path)
    job = spool.job(MANIFEST.key)
    job.folder.mkdir(parents=True)
    manifests.write(job, MANIFEST)
    for status in (JobStatus.FITTING, JobStatus.MEASURING):
        lifecycle.say(job, status)

    def run(children):
        steps = Steps(spool, children, deaths_allowed=1, settle=lambda _: None, say=lambda _: None)
        dict(steps.table())["report"](MANIFEST.key)

    return run


def test_parts_of_a_report_are_made_at_once_where_there_are_children_for_them(report):
    children = Meet(len(pipeline.PARTS))
    report(children)
    assert sorted(children.ran[:-1]) == sorted(pipeline.PARTS)
    assert children.ran[-1] == "report"


def test_a_report_with_one_child_waits_for_no_other(report):
    children = Meet(1)
    report(children)
    assert children.ran == ["report"]


def test_a_part_that_fails_is_the_reports_fault_and_the_others_are_waited_for(report):
    children = Meet(len(pipeline.PARTS), faults=pipeline.PARTS[:1])
    with pytest.raises(StepError, match=f"no {pipeline.PARTS[0]}"):
        report(children)
    assert children.ran == list(pipeline.PARTS[1:])


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
    ends = [events.JobEnded] if status is JobStatus.REFUSED else [events.JobFailed, events.JobEnded]
    assert [type(one) for one in said] == ends
    assert said[-1].status == status


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
