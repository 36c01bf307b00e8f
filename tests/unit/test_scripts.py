"""The shell scripts, as ShellCheck judges them, and their command line."""

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEBIAN = REPOSITORY / "deploy" / "debian"
INSTALL = REPOSITORY / "deploy" / "install.sh"
SCRIPTS = [INSTALL, *(DEBIAN / name for name in ("build.sh", "postinst", "prerm", "postrm"))]


def run(*arguments):
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False)


@pytest.mark.peer
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(peer, script):
    done = run(peer("shellcheck"), script)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_not_understood_installs_nothing(tmp_path):
    done = run(INSTALL, "--root", tmp_path / "image", "--instal")
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert not (tmp_path / "image" / "opt").exists()


def test_a_folder_without_our_wheel_is_said_before_anything_is_made(tmp_path):
    (tmp_path / "wheels").mkdir()
    done = run(INSTALL, "--root", tmp_path / "image", "--wheelhouse", tmp_path / "wheels")
    assert done.returncode == 1
    assert "make wheelhouse" in done.stderr
    assert not (tmp_path / "image" / "opt").exists()


def test_going_back_without_a_release_before_is_said(tmp_path):
    done = run(INSTALL, "--root", tmp_path / "image", "--rollback")
    assert done.returncode == 1
    assert "no release before" in done.stderr
