import os
import subprocess
import sys

import pytest

from dicomnode.errors import DiskLow, InputError, StorageError
from dicomnode.store.durable import write_durably
from dicomnode.store.spool import Spool


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "store")
    spool.create()
    return spool


def test_an_instance_lies_under_its_final_name(spool):
    received = spool.store("1.2", "1.2.3", b"bytes")
    assert received.new
    assert received.path == spool.incoming / "1.2" / "1.2.3.dcm"
    assert received.path.read_bytes() == b"bytes"


def test_the_same_bytes_again_change_no_file_and_are_seen_to_have_come(spool):
    first = spool.store("1.2", "1.2.3", b"bytes")
    before = first.path.stat()
    os.utime(first.path.parent, ns=(1, 1))
    again = spool.store("1.2", "1.2.3", b"bytes")
    assert not again.new
    assert not again.conflict
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in first.path.parent.iterdir()] == ["1.2.3.dcm"]
    assert spool.changed_ns("1.2") != 1


def test_other_bytes_under_a_known_uid_are_put_aside_and_the_first_stay(spool):
    first = spool.store("1.2", "1.2.3", b"bytes")
    other = spool.store("1.2", "1.2.3", b"other")
    assert other.conflict
    assert other.path.read_bytes() == b"other"
    assert first.path.read_bytes() == b"bytes"


@pytest.mark.parametrize("uid", ["", "../../etc", "1.2/3", ".hidden", "1" * 65, "1.2\n", "abc"])
def test_what_is_no_uid_never_becomes_a_path(spool, uid):
    with pytest.raises(InputError):
        spool.store(uid, "1.2.3", b"")
    with pytest.raises(InputError):
        spool.store("1.2", uid, b"")


def test_a_low_disk_is_refused_before_it_is_full(tmp_path):
    spool = Spool(tmp_path, minimum_free_mb=10**9)
    spool.create()
    with pytest.raises(DiskLow, match="minimum_free_mb"):
        spool.store("1.2", "1.2.3", b"bytes")
    assert not list(spool.incoming.rglob("*.dcm"))


def test_a_full_disk_leaves_no_half_written_file(tmp_path):
    """A file size limit of the operating system stands in for the full disk: the write itself fails."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from dicomnode.store.durable import write_durably;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_durably(Path(sys.argv[1]) / 'x.dcm', b'x' * 5000)\n"
        "except Exception as fault: print(type(fault).__name__)"
    )
    said = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True).stdout
    assert said.strip() == StorageError.__name__
    assert list(tmp_path.iterdir()) == []


def test_a_second_node_cannot_own_the_folder(spool):
    with spool.lock(), pytest.raises(StorageError, match="another node"), spool.lock():
        pass


def test_a_durable_write_replaces_the_whole_file(tmp_path):
    write_durably(tmp_path / "a", b"one")
    write_durably(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
