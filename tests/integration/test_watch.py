"""The watcher on real files: nothing lost, nothing early, nothing held up by a neighbour."""

import copy
import json
import os
import time
from datetime import UTC, datetime

import pytest

from dicomnode import header, simulate
from dicomnode.config import GroupingSettings
from dicomnode.intake import study as studies
from dicomnode.intake.watch import Watcher
from dicomnode.jobs import manifest as manifests
from dicomnode.model import Reason
from dicomnode.operate.status import overview
from dicomnode.store.spool import Spool

RULES = GroupingSettings(quiet_seconds=5.0, unreleased_quiet_seconds=60.0, give_up_after=3600.0)


def series(seed, echoes=(2.0, 4.0, 6.0, 8.0), slices=1):
    plan = simulate.SeriesPlan(
        rows=48, columns=64, slices=slices, seed=seed, patient_id=f"SIM-{seed}", echo_times_ms=echoes
    )
    return simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances


def encoded(instance, folder):
    path = folder / f"{instance.SOPInstanceUID}.encoded"
    instance.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    path.unlink()
    return content


class World:
    """A spool, a watcher whose clock the test moves, and the manifests it hands over."""

    def __init__(self, folder, rules=RULES):
        self.folder = folder
        self.spool = Spool(folder / "store")
        self.spool.create()
        self.rules = rules
        self.bringing = frozenset()
        self.started = []
        self.version = "1"
        self.now = time.time()
        self.watcher = self.restart()

    def restart(self):
        self.watcher = Watcher(
            self.rules,
            self.spool,
            parameters={},
            software_version=self.version,
            rules_of=lambda *_: GroupingSettings(),
            bringing=lambda _: self.bringing_now(),
            start=self.start,
            clock=lambda: self.now,
        )
        return self.watcher

    def bringing_now(self):
        return self.bringing

    def start(self, manifest, stack):
        self.started.append(manifest)
        return f"key{len(self.started)}"

    def store(self, instances, *, release=True, wake=True):
        for one in instances:
            received = self.spool.store(one.StudyInstanceUID, one.SOPInstanceUID, encoded(one, self.folder))
            assert received.path.exists()
        if release:
            self.spool.release(instances[0].StudyInstanceUID, [one.SOPInstanceUID for one in instances])
        if wake:
            self.watcher.wake(instances[0].StudyInstanceUID)

    def turn(self, seconds=0.0):
        self.now = max(self.now, time.time()) + seconds
        return self.watcher.turn(self.now)

    def settle(self):
        """Pass the quiet time and look again."""
        self.turn()
        self.turn(70.0)

    def let_time_pass(self):
        """Look again when the last change to any folder was long ago."""
        for folder in self.spool.incoming.iterdir():
            os.utime(folder, (self.now - 1000.0, self.now - 1000.0))
        self.turn(70.0)
        self.turn(70.0)

    def statuses(self):
        return sorted(entry["status"] for entry in overview(self.spool) if entry["series_instance_uids"])


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="module")
def images():
    return series(1)


def test_a_whole_released_series_goes_at_the_first_look(world, images):
    world.store(images)
    world.turn()
    assert [len(manifest.sources) for manifest in world.started] == [4]


def test_the_rescan_alone_is_enough(world, images):
    """No event, no wake: as when watchdog and receiver both stayed silent."""
    world.turn()
    world.store(images, wake=False)
    world.turn(world.rules.rescan_seconds + 1)
    assert len(world.started) == 1


@pytest.mark.parametrize("seen", range(1, 9))
@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("told", [True, False], ids=["still open to who asks", "no longer open to who asks"])
def test_an_association_that_ends_while_its_study_is_looked_at_is_no_series_with_holes(world, seen, moment, told):
    """At whichever question of the look it ends, and whatever of it was read by then, also slices that are whole."""
    whole = sorted(series(3, slices=2), key=lambda one: int(one.InstanceNumber))
    brought = {"to": seen, "open": True}

    def ask():
        ask.count += 1
        then_open = frozenset(one.SOPInstanceUID for one in whole[: brought["to"]]) if brought["open"] else frozenset()
        if ask.count != moment:
            return then_open
        world.store(whole[seen:], release=False, wake=False)
        world.spool.release(whole[0].StudyInstanceUID, [one.SOPInstanceUID for one in whole])
        brought.update(to=8, open=False)
        return then_open if told else frozenset()

    ask.count = 0
    world.store(whole[:seen], release=False, wake=False)
    world.bringing_now = ask
    world.watcher.wake(whole[0].StudyInstanceUID)
    world.turn()
    assert ask.count >= moment, "the end was to fall into the look"
    assert {entry["code"] for entry in overview(world.spool) if entry["status"] == "waiting"} <= {"arriving"}
    world.watcher.wake(whole[0].StudyInstanceUID)
    world.turn(3.0)
    assert [len(manifest.sources) for manifest in world.started] == [8]


def test_one_association_an_image_waits_for_quiet(world, images):
    for one in images:
        world.store([one])
        world.turn(0.1)
        assert world.statuses() == ["waiting"]
    world.turn(10.0)
    assert len(world.started) == 1


def test_a_late_image_makes_a_result_that_names_the_one_it_supersedes(world):
    whole = series(2)
    by_echo = sorted(whole, key=lambda one: float(one.EchoTime))
    world.store(by_echo[:3])
    world.settle()
    world.turn(4000.0)  # where the header promises four, three go only once the fourth is given up
    assert len(world.started) == 1
    world.store(by_echo[3:])
    world.settle()
    assert [manifest.supersedes for manifest in world.started] == [None, "key1"]
    assert len(world.started[1].sources) == 4
    assert overview(world.spool)[0]["key"] == "key2"


def test_sending_everything_again_starts_nothing(world, images):
    world.store(images)
    world.settle()
    world.store(images)
    world.settle()
    assert len(world.started) == 1


def test_interleaved_studies_each_give_their_own(world):
    one, two = series(3), series(4)
    for pair in zip(one, two, strict=True):
        world.store([pair[0]], release=False)
        world.store([pair[1]], release=False)
    world.settle()
    assert sorted(len(manifest.sources) for manifest in world.started) == [4, 4]
    assert len({manifest.study_instance_uid for manifest in world.started}) == 2


def test_a_restart_does_not_read_settled_studies_again(world, images, monkeypatch):
    world.store(images)
    world.settle()
    world.let_time_pass()
    world.restart()
    monkeypatch.setattr(Watcher, "_look", lambda *_: pytest.fail("a settled study was looked at again"))
    world.turn(70.0)


def test_a_study_settles_soon_and_for_good(world, images, monkeypatch):
    """A person may delete it then; and it is not read once more because its markers were put together."""
    world.store(images)
    world.turn()
    for _ in range(3):
        world.turn(2.2)
    uid = images[0].StudyInstanceUID
    record = json.loads((world.spool.studies / f"{uid}.json").read_text())
    assert record["settled_ns"] == world.spool.changed_ns(uid)
    assert not world.watcher._studies[uid].headers
    monkeypatch.setattr(Watcher, "_look", lambda *_: pytest.fail("a settled study was looked at again"))
    world.turn(70.0)


def test_a_restart_goes_on_waiting_for_what_was_missing(world):
    whole = series(5)
    world.store(whole[:3], release=False)
    world.turn()
    world.restart()
    world.store(whole[3:], release=False)
    world.settle()
    assert [len(manifest.sources) for manifest in world.started] == [4]


def test_nothing_is_kept_in_memory_of_a_settled_study(world, images):
    world.store(images)
    world.settle()
    world.let_time_pass()
    (study,) = world.watcher._studies.values()
    assert not study.headers
    assert not study.times


def test_a_study_that_cannot_be_looked_at_holds_up_nobody(world, images, monkeypatch):
    other = series(6)
    world.store(images)
    world.store(other)
    (world.spool.studies / f"{min(images[0].StudyInstanceUID, other[0].StudyInstanceUID)}.json").write_text("{damaged")
    (world.spool.incoming / "stray.txt").write_text("no study")
    world.settle()
    assert len(world.started) == 2


def test_a_start_that_fails_is_tried_again_and_not_at_every_turn(world, images):
    calls = []

    def failing(manifest, stack):
        calls.append(manifest)
        raise OSError("the queue is full")

    world.start, kept = failing, world.start
    world.restart()
    world.store(images)
    next_look = world.turn()
    assert next_look >= world.now + 1.0
    world.start = kept
    world.watcher._start = kept
    world.turn(world.rules.rescan_seconds + 1)
    assert (len(calls), len(world.started)) == (1, 1)


def test_a_group_that_new_rules_call_otherwise_is_not_begun_again(world, images):
    world.store(images)
    world.settle()
    path = world.spool.studies / f"{images[0].StudyInstanceUID}.json"
    record = json.loads(path.read_text())
    record["groups"] = {f"{name}, as it was called": one for name, one in record["groups"].items()}
    path.write_text(json.dumps(record))
    world.version = "2"
    world.restart()
    world.watcher.wake(images[0].StudyInstanceUID)
    world.settle()
    (entry,) = overview(world.spool)
    assert (len(world.started), entry["key"]) == (1, "key1")


class PowerCut(BaseException):
    """The process is gone, and nothing of it goes on."""


@pytest.mark.parametrize("durable", [True, False])
def test_what_a_version_had_begun_when_it_died_is_not_begun_again_by_the_next(world, images, durable):
    begun = []

    def dying(manifest, stack):
        if durable:
            manifests.write(world.spool.job(manifest.key), manifest)
        begun.append(manifest.key)
        raise PowerCut

    world.watcher._start = dying
    world.store(images)
    with pytest.raises(PowerCut):
        world.turn()
    world.version = "2"
    world.restart()
    world.settle()
    (entry,) = overview(world.spool)
    assert entry["key"] == (begun[0] if durable else "key1")
    assert [one.software_version for one in world.started] == ([] if durable else ["2"])
    assert not list(world.spool.studies.glob("*.begun"))


def test_other_bytes_under_a_known_uid_are_visible(world, images):
    world.store(images)
    changed = copy.deepcopy(images[0])
    changed.PixelData = bytes(len(changed.PixelData))
    world.store([changed])
    world.settle()
    (entry,) = [entry for entry in overview(world.spool) if entry["code"] == "conflict"]
    assert entry["images"] == 1
    assert len(world.started) == 1


def test_an_image_that_could_not_be_read_for_a_moment_is_read_again(world, images, monkeypatch):
    """As when every file handle was in use."""
    real = header.read

    def fail(path):
        return header.Header(path, reason=Reason("unreadable", "too many open files"))

    monkeypatch.setattr(header, "read", fail)
    world.store(images)
    world.turn()
    assert [entry["code"] for entry in overview(world.spool)] == ["unreadable"]
    monkeypatch.setattr(header, "read", real)
    world.turn(world.rules.rescan_seconds + 1)
    assert len(world.started) == 1


def test_one_open_association_with_an_image_now_and_then_is_one_series(world, images):
    """It gave six reports when an image came every 6.5 s."""
    for one in images:
        world.store([one], release=False)
        world.bringing |= {one.SOPInstanceUID}
        world.turn(6.5)
    world.turn(200.0)
    assert world.started == []
    world.bringing = frozenset()
    world.spool.release(images[0].StudyInstanceUID, [one.SOPInstanceUID for one in images])
    world.watcher.wake(images[0].StudyInstanceUID)
    world.turn()
    assert [len(manifest.sources) for manifest in world.started] == [4]


def test_what_a_broken_association_brought_waits_for_its_sender_to_come_back(world, images):
    world.store(images[:3], release=False)
    world.turn(50.0)
    world.restart()  # its waiting begins anew: nobody could be heard while the node was away
    world.turn(50.0)
    assert world.started == []
    world.store(images)
    world.turn(1.0)
    assert [len(manifest.sources) for manifest in world.started] == [4]


def test_a_result_that_is_overtaken_is_known_as_soon_as_the_image_is_there(world):
    whole = sorted(series(9), key=lambda one: float(one.EchoTime))
    world.store(whole[:3])
    world.turn()
    assert len(world.started) == 1
    uid = whole[0].StudyInstanceUID
    assert not world.watcher.expects_more(uid, "key1")
    world.store(whole[3:])
    assert world.watcher.expects_more(uid, "key1")
    world.turn()
    assert world.watcher.expects_more(uid, "key1")  # looked at, and waiting for quiet
    world.turn(6.0)
    assert not world.watcher.expects_more(uid, "key1")
    assert [len(manifest.sources) for manifest in world.started] == [3, 4]


def test_a_clock_that_is_set_changes_nothing(world, images, monkeypatch):
    for jump in (-5 * 3600.0, 9 * 3600.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1e9 + jump)
        world.store([images[0]])
    world.store(images[1:], release=False)
    world.turn(6.0)
    assert world.started == []
    world.turn(70.0)
    assert len(world.started) == 1


def test_a_result_is_known_to_be_overtaken_also_while_the_study_is_looked_at(world):
    whole = sorted(series(9), key=lambda one: float(one.EchoTime))
    world.store(whole[:3])
    world.turn()
    uid = whole[0].StudyInstanceUID
    world.store(whole[3:])
    known = []

    def ask():
        known.append(world.watcher.expects_more(uid, "key1"))
        return frozenset()

    world.bringing_now = ask
    world.turn()
    assert known
    assert all(known)


# --- the drop folder


def dropped(world, instance, name):
    path = world.spool.drop / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded(instance, world.folder))
    return path


def test_dropped_files_are_taken_in_once_they_stop_changing(world, images, capsys):
    paths = [dropped(world, one, f"folder/DOE^JOHN-{number}.dcm") for number, one in enumerate(images)]
    world.turn()
    assert world.started == []
    world.turn(3.0)
    world.turn(world.rules.quiet_seconds + 1.0)
    assert len(world.started) == 1
    assert not any(path.exists() for path in paths)
    said = capsys.readouterr()
    (line,) = [line for line in (said.out + said.err).splitlines() if "files_taken" in line]
    assert str(len(paths)) in line
    assert "DOE" not in line


@pytest.mark.parametrize("how", ["another in its place", "written over"])
def test_a_file_that_comes_under_the_name_of_one_that_is_taken_in_is_taken_in_too(world, images, monkeypatch, how):
    """As where a program drops every series under the same names, at the moment when the one before was kept."""
    path, store, later = dropped(world, images[0], "IM001.dcm"), world.spool.store, [images[1]]

    def store_and_drop(*arguments):
        received = store(*arguments)
        for one in [later.pop()] if later else ():
            if how == "written over":
                path.write_bytes(encoded(one, world.folder))
            else:
                dropped(world, one, "new.part").rename(path)
        return received

    monkeypatch.setattr(world.spool, "store", store_and_drop)
    for _ in range(4):
        world.turn(world.rules.rescan_seconds + 1.0)
    held = world.spool.held(one.SOPInstanceUID for one in images[:2])
    assert sorted(held) == sorted(one.SOPInstanceUID for one in images[:2])
    assert [one for one in world.spool.drop.rglob("*") if one.is_file()] == []


def test_a_file_that_is_half_written_stays_until_it_is_whole(world, images):
    content = encoded(images[0], world.folder)
    path = world.spool.drop / "slow.dcm"
    path.write_bytes(content[:-100])
    for _ in range(3):
        world.turn(5.0)
    assert path.exists()
    path.write_bytes(content)
    world.watcher.look_at_drop()
    world.turn(1.0)
    world.turn(3.0)
    assert not path.exists()
    (kept,) = world.spool.incoming.rglob("*.dcm")
    assert kept.read_bytes() == content


def test_a_file_that_stays_cut_short_is_refused_in_the_end(world, images):
    (world.spool.drop / "cut.dcm").write_bytes(encoded(images[0], world.folder)[:-100])
    world.turn()
    world.turn(3.0)
    world.turn(4000.0)
    (reason,) = world.spool.refused.glob("*.json")
    assert "cut short" in json.loads(reason.read_text())["reason"]


def test_what_is_not_dicom_is_refused_with_its_reason(world, capsys):
    (world.spool.drop / "DOE^JOHN report.txt").write_text("DOE JOHN had a scan")
    world.turn()
    world.turn(70.0)
    assert len(list(world.spool.refused.glob("*.json"))) == 1
    assert "DOE" not in "".join(path.name for path in world.folder.rglob("*"))
    assert "DOE" not in capsys.readouterr().err


def test_a_dropped_file_that_cannot_be_read_holds_up_nobody(world, images, capsys, monkeypatch):
    dropped(world, images[0], "DOE^JOHN.dcm")
    world.turn()
    monkeypatch.setattr("dicomnode.intake.drop.DropFolder._take", _unreadable)
    other = series(7)
    world.store(other)
    world.turn(3.0)
    world.turn(20.0)
    assert len(world.started) == 1
    said = capsys.readouterr()
    assert "DOE" not in said.err + said.out


def _unreadable(self, path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def test_a_study_folder_that_vanishes_holds_up_nobody(world, images):
    world.store(images)
    world.turn()
    for path in (world.spool.incoming / images[0].StudyInstanceUID).iterdir():
        path.unlink()
    (world.spool.incoming / images[0].StudyInstanceUID).rmdir()
    other = series(8)
    world.store(other)
    world.turn(70.0)
    assert len(world.started) == 2


def test_a_watcher_that_rests_for_long_can_be_told_from_one_that_hangs(tmp_path):
    world = World(tmp_path, GroupingSettings(rescan_seconds=3600.0))
    world.watcher.start()
    try:
        before = time.monotonic()
        deadline = before + 20.0
        while world.watcher.turned <= before + 1.0:  # a later turn than that of the start
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        world.watcher.stop()


def with_phase():
    """Magnitudes and phases of one scan, each a series."""
    plan = simulate.SeriesPlan(rows=48, columns=64, slices=1, echo_times_ms=(2.0, 4.0, 6.0, 8.0), with_phase=True)
    made = simulate.make(plan, datetime(2026, 1, 1, tzinfo=UTC)).instances
    return ([one for one in made if one.ImageType[2] == part] for part in "MP")


def test_a_phase_that_is_there_in_time_goes_with_its_magnitudes(world):
    magnitudes, phases = with_phase()
    world.bringing = frozenset(one.SOPInstanceUID for one in magnitudes)
    world.store(magnitudes, release=False)
    world.turn()
    assert world.started == []
    world.store(phases, release=False)
    world.bringing = frozenset()
    world.spool.release(magnitudes[0].StudyInstanceUID, [one.SOPInstanceUID for one in (*magnitudes, *phases)])
    world.settle()
    (manifest,) = world.started
    assert len(manifest.instances) == 8
    assert len(manifest.sources) == 4


def test_a_phase_that_comes_late_makes_no_second_result_and_is_named(world):
    magnitudes, phases = with_phase()
    world.store(magnitudes)
    world.settle()
    world.store(phases)
    study_uid = magnitudes[0].StudyInstanceUID
    world.turn()
    assert not studies.is_overtaken(world.spool, study_uid, "key1")
    world.settle()
    assert len(world.started) == 1
    record = json.loads((world.spool.studies / f"{study_uid}.json").read_text())
    (entry,) = record["groups"].values()
    assert entry["key"] == "key1"
    assert entry["left_out"] == ["phase that came after the result was begun"]
    world.restart()
    world.settle()
    assert len(world.started) == 1


def test_a_late_magnitude_still_makes_a_new_result_with_the_phase_that_came_meanwhile(world):
    magnitudes, phases = with_phase()
    world.store(magnitudes[:3])
    world.settle()
    world.store(phases)
    world.settle()
    world.store(magnitudes[3:])
    world.settle()
    assert [len(one.sources) for one in world.started] == [3, 4]
    record = json.loads((world.spool.studies / f"{magnitudes[0].StudyInstanceUID}.json").read_text())
    (entry,) = record["groups"].values()
    assert (entry["beside"], entry["left_out"]) == (["phase"], [])
