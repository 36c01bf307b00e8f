"""Files are whole or not there, however they are written."""

import resource

import pytest

from dicomnode.errors import StorageError
from dicomnode.store.durable import Partial, written


@pytest.fixture
def full():
    """A disk that takes no file of more than a megabyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_written_piece_by_piece_is_there_when_all_of_it_is(tmp_path):
    path = tmp_path / "file"
    with written(path) as stream:
        stream.write(b"one ")
        stream.write(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one two"


def test_what_breaks_off_leaves_nothing(tmp_path):
    with pytest.raises(TypeError), written(tmp_path / "file") as stream:
        stream.writelines([b"one", 2])
    assert not list(tmp_path.iterdir())


def test_pieces_go_where_they_belong_in_any_order(tmp_path):
    with Partial(tmp_path) as file:
        file.write(b"head")
        file.write_at(8, memoryview(b"last"))
        file.write_at(4, memoryview(b"next"))
        file.keep_as(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"headnextlast"


def test_a_disk_that_refuses_is_said_and_nothing_is_left(tmp_path, full):
    with pytest.raises(StorageError, match="could not be written"), written(tmp_path / "file") as stream:
        stream.write(bytes(2 << 20))
    with pytest.raises(StorageError, match="could not be written"), Partial(tmp_path) as file:
        file.write_at(1 << 20, memoryview(b"beyond"))
    assert not list(tmp_path.iterdir())
