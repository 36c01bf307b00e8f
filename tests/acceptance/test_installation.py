"""Installing, upgrading, going back and removing, as root on a machine without a network that is thrown away after it.

The machine is this one under an overlay: what is installed there is gone with the test. Nothing of systemd runs in it.
"""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DISTRIBUTIONS_PYTHON = "/usr/bin/python3"
pytestmark = [pytest.mark.peer, pytest.mark.timeout(1800)]

BEGIN = """
set -e
mount -t tmpfs overlay {folder}
mkdir {folder}/upper {folder}/work {folder}/root {folder}/shared
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
mount --rbind /dev {folder}/root/dev
mount --rbind /proc {folder}/root/proc
mkdir -p {folder}/root/mnt/from
mount --bind {given} {folder}/root/mnt/from
echo ready
exec sleep infinity
"""


class Machine:
    """A copy of this machine, without its network."""

    def __init__(self, folder, given):
        self.root = folder / "root"
        begin = BEGIN.format(folder=folder, given=given)
        self._process = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-c", begin], stdout=subprocess.PIPE)
        self.works = self._process.stdout.readline() == b"ready\n"

    def run(self, command, status=0):
        inside = ["nsenter", f"--target={self._process.pid}", "--mount", "--net", "chroot", str(self.root)]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path, "HOME": "/root", "DICOMNODE_COMPILE": "no"}
        done = subprocess.run(
            [*inside, "sh", "-c", command], env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def owner(self, path):
        return self.run(f"stat -c '%U:%G %a' {path}").strip()

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def absent(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What a hospital is given: the project's folder with the wheelhouse in it, and a newer one."""
    folder = tmp_path_factory.mktemp("given")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        for version in ("1", "2"):
            target = folder / version / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target)
    with (folder / "2" / "deploy" / "config.example.toml").open("a") as example:
        example.write("# newer\n")
    command = ["make", "wheelhouse", f"WHEELHOUSE={folder}/1/dist/wheelhouse", f"PYTHONS={DISTRIBUTIONS_PYTHON}"]
    made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        absent(f"the wheels cannot be downloaded: {made.stderr[-500:]}")
    for version in ("1", "2"):
        shutil.copytree(REPOSITORY / "docs" / "man", folder / version / "docs" / "man")
    shutil.copytree(folder / "1" / "dist", folder / "2" / "dist", copy_function=os.link)
    return folder


@pytest.fixture
def machine(given, tmp_path):
    if os.geteuid() != 0:
        absent("installing is root's")
    one = Machine(tmp_path, given)
    if not one.works:
        one.close()
        absent("an overlay cannot be mounted here")
    yield one
    one.close()


INSTALL = (
    f"/mnt/from/{{}}/deploy/install.sh --wheelhouse /mnt/from/{{}}/dist/wheelhouse --python {DISTRIBUTIONS_PYTHON}"
)


def install(version):
    return INSTALL.format(version, version)


def release(machine):
    return machine.run("basename $(readlink /opt/dicomnode/current)").strip()


def test_install_upgrade_go_back_and_remove(machine):
    assert "still the example" in machine.run(f"DICOMNODE_COMPILE=yes {install(1)} --enable", status=1)
    first = release(machine)
    assert machine.run("dicomnode --version").strip().endswith(first.split("-")[0])
    assert machine.owner("/etc/dicomnode/config.toml") == "root:dicomnode 640"
    assert machine.owner("/var/lib/dicomnode") == "dicomnode:dicomnode 750"
    assert machine.run("ls /var/cache/dicomnode/numba").strip(), "the kernels are compiled for the service"
    assert machine.run("ls /opt/dicomnode/current/lib/python3*/site-packages/dicomnode/report/__pycache__").strip()
    assert machine.run("systemctl is-enabled dicomnode", status=1).strip() == "disabled"
    units = "/etc/systemd/system/dicomnode.service /etc/systemd/system/dicomnode-worker@.service"
    machine.run(f"systemd-analyze verify {units}")
    machine.run("test -e /usr/local/share/man/man5/dicomnode.toml.5")
    machine.run("test -e /usr/local/share/bash-completion/completions/dicomnode")

    machine.run("echo '# ours' >> /etc/dicomnode/config.toml; touch /var/lib/dicomnode/study")
    machine.run("touch /opt/dicomnode/releases/half")
    assert "is there already" in machine.run(install(1))
    assert release(machine) == first
    assert machine.run("ls /opt/dicomnode/releases").split() == [first]

    machine.run("echo '[node' >> /etc/dicomnode/config.toml")
    said = machine.run(install(2), status=1)
    assert "not TOML" in said
    assert "--rollback goes back" in said
    second = release(machine)
    assert second != first
    machine.run("sed -i '$ d' /etc/dicomnode/config.toml")

    assert "is valid" in machine.run(f"{install(2)} --upgrade --storage /srv/iron")
    assert release(machine) == second
    assert "# ours" in machine.run("cat /etc/dicomnode/config.toml")
    dropped_in = machine.run("cat /etc/systemd/system/dicomnode.service.d/storage.conf")
    assert "ReadWritePaths=/srv/iron" in dropped_in
    assert machine.owner("/srv/iron") == "dicomnode:dicomnode 750"
    machine.run(f"systemd-analyze verify {units}")

    machine.run("/opt/dicomnode/current/share/install.sh --rollback")
    assert release(machine) == first
    assert "# newer" not in machine.run("cat /opt/dicomnode/current/share/config.example.toml")
    machine.run("dicomnode --version")

    said = machine.run("/mnt/from/1/deploy/install.sh --uninstall")
    assert "kept: /etc/dicomnode/config.toml, the data in /var/lib/dicomnode" in said
    machine.run("test -e /var/lib/dicomnode/study && getent passwd dicomnode")
    gone = (
        "/opt/dicomnode",
        "/usr/local/bin/dicomnode",
        "/etc/systemd/system/dicomnode*",
        "/etc/tmpfiles.d/dicomnode.conf",
    )
    assert machine.run(f"ls -d {' '.join(gone)} 2>/dev/null || true") == ""
    machine.run("echo no | /mnt/from/1/deploy/install.sh --purge", status=1)
    machine.run("test -e /var/lib/dicomnode/study")
    machine.run("/mnt/from/1/deploy/install.sh --purge --yes")
    machine.run("! test -e /var/lib/dicomnode && ! test -e /etc/dicomnode && ! getent passwd dicomnode")


def test_installing_into_a_folder_leaves_a_program_that_runs_where_the_folder_becomes_the_root(machine):
    machine.run(f"{install(1)} --root /srv/image")
    machine.run("! test -e /opt/dicomnode && ! test -e /etc/dicomnode && ! getent passwd dicomnode")
    assert machine.owner("/srv/image/etc/dicomnode/config.toml").endswith(" 640")
    machine.run("mount --bind /srv/image/opt /opt")
    assert "dicomnode, version" in machine.run("/opt/dicomnode/current/bin/dicomnode --version")
    assert machine.run("readlink /srv/image/usr/local/bin/dicomnode").strip() == "/opt/dicomnode/current/bin/dicomnode"


def test_the_debian_package_is_installed_upgraded_removed_and_purged(given, machine):
    for revision in ("1", "2"):
        build = [given / revision / "deploy" / "debian" / "build.sh", given / revision / "dist" / "wheelhouse", given]
        subprocess.run(build, env={**os.environ, "REVISION": revision}, check=True, capture_output=True)
    first, second = sorted(given.glob("dicomnode_*.deb"))
    assert stat.S_IMODE(first.stat().st_mode) & 0o400

    machine.run(f"dpkg -i /mnt/from/{first.name}")
    machine.run("dicomnode --version")
    assert machine.owner("/etc/dicomnode/config.toml") == "root:dicomnode 640"
    assert machine.run("systemctl is-enabled dicomnode", status=1).strip() == "disabled"
    machine.run("test -e /usr/share/man/man1/dicomnode-serve.1.gz")
    before = release(machine)

    machine.run("echo '# ours' >> /etc/dicomnode/config.toml; touch /var/lib/dicomnode/study")
    machine.run(f"dpkg -i /mnt/from/{second.name} </dev/null")
    assert release(machine) != before
    assert "# ours" in machine.run("cat /etc/dicomnode/config.toml")

    machine.run("dpkg -r dicomnode")
    machine.run("! test -e /opt/dicomnode && ! test -e /usr/bin/dicomnode && test -e /etc/dicomnode/config.toml")
    assert "/var/lib/dicomnode is not empty and is kept" in machine.run("dpkg --purge dicomnode")
    machine.run("test -e /var/lib/dicomnode/study && ! test -e /etc/dicomnode")


def test_the_package_asks_for_the_python_that_its_wheels_are_for(given, tmp_path):
    build = given / "1" / "deploy" / "debian" / "build.sh"
    subprocess.run([build, given / "1" / "dist" / "wheelhouse", tmp_path], check=True, capture_output=True)
    (package,) = tmp_path.glob("*.deb")
    field = subprocess.run(["dpkg-deb", "-f", package, "Depends"], capture_output=True, text=True, check=True).stdout
    minor = subprocess.run(
        [DISTRIBUTIONS_PYTHON, "-c", "import sys; print(sys.version_info[1])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"python3 (>= 3.{int(minor.stdout)}~), python3 (<< 3.{int(minor.stdout) + 1}~)" in field
