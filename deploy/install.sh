#!/bin/sh
# Installs the liver iron node as a service, upgrades it, rolls it back, removes it. docs/operations.md explains.
set -eu

usage() {
    cat <<'TEXT'
usage: deploy/install.sh [options]           install, or upgrade to the version of this folder (run it again any time)

  --upgrade           the same: what is there already is not done again
  --rollback          go back to the release before
  --uninstall         remove the program and its units; keep configuration, data and user
  --purge             remove these, too, after asking
  --yes               do not ask

  --wheelhouse DIR    take every package from this folder (make wheelhouse), nothing from the network
  --python PROGRAM    the Python to use, 3.11 to 3.13; default: the newest of these in /usr/bin
  --storage DIR       allow the service a data folder elsewhere than /var/lib/dicomnode
  --enable            start the service now and at every boot
  --root DIR          install into a folder, for an image; no service manager is spoken to
  --packaged          the files around the program are a package's: leave units, sysusers and tmpfiles to it

DICOMNODE_COMPILE=no in the environment, also of dpkg, compiles nothing now, at the price of slow starts: for a trial
TEXT
}

say() { printf '%s\n' "install.sh: $*"; }
fail() {
    printf '%s\n' "install.sh: $*" >&2
    exit 1
}

# ---- where things are

source_folder=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
root='' wheelhouse='' python='' storage=''
compile=${DICOMNODE_COMPILE:-yes}
action=install enable=no assume_yes=no packaged=no
units='dicomnode.service dicomnode-worker@.service'

settle_places() {
    prefix=$root/opt/dicomnode
    releases=$prefix/releases
    config=$root/etc/dicomnode/config.toml
    unit_folder=$root/etc/systemd/system
    data=$root/var/lib/dicomnode
    cache=$root/var/cache/dicomnode
    link=$root/usr/local/bin/dicomnode
    manual=$root/usr/local/share/man
    completion=$root/usr/local/share/bash-completion/completions/dicomnode
    sysusers=$root/etc/sysusers.d/dicomnode.conf
    tmpfiles=$root/etc/tmpfiles.d/dicomnode.conf
}

is_root() { [ "$(id -u)" = 0 ]; }
has_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }
number_of() { awk -F: '$1 == "dicomnode" { print $3; exit }' "$root/etc/$1" 2>/dev/null; }

# ---- the program

choose_python() {
    if [ -z "$python" ]; then
        for python in /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 ''; do
            [ -z "$python" ] || [ ! -x "$python" ] || break
        done
        [ -n "$python" ] || fail "no Python 3.11 to 3.13 in /usr/bin; install one, or name it with --python"
    fi
    python=$(command -v "$python") || fail "--python: there is no such program"
    minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not run"
    case $minor in
        3.11 | 3.12 | 3.13) ;;
        *) fail "$python is Python $minor; 3.11 to 3.13 is needed: name one with --python" ;;
    esac
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python$minor-venv"
}

own_wheel() { find "$wheelhouse" -name 'liver_iron_node-*.whl' 2>/dev/null | sort | tail -n 1; }

# A release is named by its version and by what it is made of: the same again is the same release, anything else another.
name_release() {
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source_folder/dicomnode/__init__.py" 2>/dev/null || :)
    if [ -n "$wheelhouse" ]; then
        [ -d "$wheelhouse" ] || fail "--wheelhouse: $wheelhouse is no folder; make it with: make wheelhouse"
        wheelhouse=$(CDPATH='' cd -- "$wheelhouse" && pwd)
        wheel=$(own_wheel)
        [ -n "$wheel" ] || fail "--wheelhouse: $wheelhouse holds no liver_iron_node-*.whl; make it anew with: make wheelhouse"
        version=$(basename "$wheel" | cut -d- -f2)
    fi
    content=$(
        {
            echo "$minor"
            cd "$source_folder"
            if [ -n "$wheelhouse" ]; then cat "$wheel"; else find dicomnode solver -type f ! -name '*.py[co]' ! -name '*.nb[ci]' | LC_ALL=C sort | xargs cat; fi
            cat requirements.lock deploy/install.sh deploy/config.example.toml systemd/*
        } | sha256sum | cut -c1-8
    )
    release=$version-$content
}

build_release() {
    folder=$releases/$release
    if [ -e "$folder/complete" ] && "$folder/bin/python" -c '' 2>/dev/null; then
        say "$release is there already"
        return
    fi
    rm -rf "$folder"
    mkdir -p "$releases"
    say "building $release with $python"
    "$python" -m venv "$folder"
    if [ -n "$wheelhouse" ]; then
        pip_install --isolated --no-index --find-links "$wheelhouse" --require-hashes -r "$source_folder/requirements.lock"
        pip_install --isolated --no-index "$wheel"
    else
        pip_install --require-hashes -r "$source_folder/requirements.lock"
        pip_install --no-build-isolation "$source_folder"
    fi
    if [ "$compile" = yes ]; then "$folder/bin/python" -m compileall -q -j 0 "$folder/lib" || :; fi
    keep_share "$folder/share"
    if [ -n "$root" ]; then # the programs in it are to run where the folder will be the root
        grep -rlI "^#!$folder" "$folder/bin" | while read -r program; do
            sed -i "1s|^#!$root|#!|" "$program"
        done
    fi
    "$folder/bin/python" -m dicomnode --version >/dev/null
    : >"$folder/complete"
}

pip_install() {
    "$folder/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir install --no-deps --no-compile "$@"
}

# What goes with a release, so that going back to it goes back in everything.
keep_share() {
    mkdir -p "$1/systemd"
    cp "$source_folder"/systemd/* "$1/systemd/"
    cp "$source_folder/deploy/config.example.toml" "$source_folder/deploy/install.sh" "$1/"
    cp -R "$source_folder/docs" "$1/"
    chmod -R u=rwX,go=rX "$1"
}

# The name of the release that a link leads to, empty where there is none.
linked() { if [ -L "$prefix/$1" ]; then basename "$(readlink "$prefix/$1")"; fi; }

point() { # LINK RELEASE, in one step: no moment is without a program
    ln -sfn "releases/$2" "$prefix/.$1.new"
    mv -T "$prefix/.$1.new" "$prefix/$1"
}

activate() { # RELEASE
    before=$(linked current)
    if [ -n "$before" ] && [ "$before" != "$1" ]; then point previous "$before"; fi
    point current "$1"
    install_around "$prefix/current/share"
    remove_old_releases
    if command -v restorecon >/dev/null && [ -z "$root" ]; then restorecon -RF "$prefix" >/dev/null 2>&1 || :; fi
    say "$1 is current"
}

remove_old_releases() {
    current=$(linked current) previous=$(linked previous)
    for old in "$releases"/*; do
        case $(basename "$old") in
            "$current" | "$previous") ;;
            *)
                rm -rf "$old"
                say "removed the release $(basename "$old"); the current one and the one before are kept"
                ;;
        esac
    done
}

# ---- what is around it

install_around() { # SHARE
    [ "$packaged" = yes ] || install_files "$1"
    make_user
    make_folders
    install_config "$1/config.example.toml"
    [ -z "$storage" ] || allow_storage
    if has_systemd; then systemctl daemon-reload; fi
}

install_files() { # SHARE
    install -D -m 644 "$1/systemd/dicomnode.sysusers" "$sysusers"
    install -D -m 644 "$1/systemd/dicomnode.tmpfiles" "$tmpfiles"
    for unit in $units; do
        install -D -m 644 "$1/systemd/$unit" "$unit_folder/$unit"
    done
    mkdir -p "$(dirname "$link")"
    ln -sfn /opt/dicomnode/current/bin/dicomnode "$link"
    install_manual "$1/docs/man"
}

install_manual() { # FOLDER, there where `make manual` was run
    if [ ! -d "$1" ]; then return; fi
    for page in "$1"/*.[15]; do
        install -D -m 644 "$page" "$manual/man${page##*.}/$(basename "$page")"
    done
    install -D -m 644 "$1/dicomnode.bash" "$completion"
}

make_user() {
    if [ -z "$(number_of passwd)" ] && is_root; then
        if command -v systemd-sysusers >/dev/null; then
            systemd-sysusers ${root:+"--root=$root"} - <"$prefix/current/share/systemd/dicomnode.sysusers"
        elif [ -z "$root" ]; then
            useradd --system --user-group --home-dir /var/lib/dicomnode --shell /usr/sbin/nologin dicomnode
        fi
    fi
    user=$(number_of passwd) group=$(number_of group)
}

own() { # OWNER:GROUP PATH, where there is such a user and we may
    if is_root && [ -n "$user" ] && [ -n "$group" ]; then chown "$1" "$2"; fi
}

make_folders() { # as dicomnode.tmpfiles says; it is not there before the next boot
    for made in "$data" "$cache"; do
        [ -d "$made" ] || install -d -m 750 "$made"
        own "$user:$group" "$made"
    done
}

install_config() { # EXAMPLE
    if [ ! -d "$(dirname "$config")" ]; then
        install -d -m 750 "$(dirname "$config")"
        own "0:$group" "$(dirname "$config")"
    fi
    if [ -e "$config" ]; then return; fi
    install -m 640 "$1" "$config"
    own "0:$group" "$config"
    [ -z "$storage" ] || sed -i "s|^folder = .*|folder = \"$storage\"|" "$config"
    fresh_config=yes
}

allow_storage() {
    case $storage in
        /*) ;;
        *) fail "--storage: $storage is no absolute path" ;;
    esac
    [ -d "$root$storage" ] || install -d -m 750 "$root$storage"
    own "$user:$group" "$root$storage"
    for unit in $units; do
        mkdir -p "$unit_folder/$unit.d"
        printf '%s\n' '[Unit]' "RequiresMountsFor=$storage" '[Service]' "ReadWritePaths=$storage" >"$unit_folder/$unit.d/storage.conf"
    done
    grep -qxF "folder = \"$storage\"" "$config" || say "set folder = \"$storage\" in [storage] of $config"
}

warm() { # the service's own cache, so that its first start need not compile
    if [ "$compile" = no ] || [ -n "$root" ] || ! is_root || ! command -v setpriv >/dev/null; then return; fi
    say "compiling the kernels"
    setpriv --reuid=dicomnode --regid=dicomnode --clear-groups env CACHE_DIRECTORY="$cache" HOME="$data" \
        "$prefix/current/bin/dicomnode" warm >/dev/null || say "the kernels will be compiled at the first start"
}

check() {
    if [ "$fresh_config" = yes ]; then
        say "fill in $config, then: dicomnode check && systemctl enable --now dicomnode"
    elif "$prefix/current/bin/python" -m dicomnode check --syntax --config "$config" >/dev/null; then
        say "$config is valid"
    else
        say "$config has faults: the service is not restarted, and would not start with it; --rollback goes back"
        return 1
    fi
}

restart_running() {
    if has_systemd; then systemctl try-restart dicomnode.service 'dicomnode-worker@*.service'; fi
}

# ---- what is asked for

install_all() {
    choose_python
    name_release
    build_release
    activate "$release"
    warm
    if ! check; then # what runs goes on with the version it has; a package is installed all the same
        [ "$packaged" = yes ]
        return
    fi
    restart_running
    if [ "$enable" = no ]; then return; fi
    if [ "$fresh_config" = yes ]; then fail "not enabled: the configuration is still the example; fill it in and run this again"; fi
    if has_systemd; then systemctl enable --now dicomnode.service; fi
}

roll_back() {
    before=$(linked previous)
    if [ -z "$before" ] || [ ! -e "$releases/$before/complete" ]; then fail "there is no release before this one"; fi
    activate "$before"
    restart_running
}

uninstall() {
    if has_systemd; then
        systemctl disable --now dicomnode.service 2>/dev/null || :
        systemctl stop 'dicomnode-worker@*.service' || :
    fi
    for unit in $units; do
        rm -rf "${unit_folder:?}/$unit" "$unit_folder/$unit.d/storage.conf"
        rmdir "$unit_folder/$unit.d" 2>/dev/null || :
    done
    rm -f "$manual"/man1/dicomnode.1 "$manual"/man1/dicomnode-*.1 "$manual/man5/dicomnode.toml.5" "$completion"
    rm -f "$unit_folder"/multi-user.target.wants/dicomnode-worker@*.service "$link" "$tmpfiles"
    rm -rf "$prefix" "$cache"
    if has_systemd; then systemctl daemon-reload; fi
    say "the program and its units are removed"
    [ "$action" = purge ] || say "kept: $config, the data in $(data_folders), user and group dicomnode; --purge removes them"
}

# The standard one, and the one that the configuration names.
data_folders() {
    named=$(sed -n '/^\[storage\]/,/^\[/s/^folder = "\(.*\)".*/\1/p' "$config" 2>/dev/null | head -n 1)
    if [ -n "$named" ] && [ "$root$named" != "$data" ]; then echo "$data and $root$named"; else echo "$data"; fi
}

purge() {
    if [ "$assume_yes" = no ]; then
        printf 'Remove all of %s and all studies in %s, with results that no PACS may have? Type yes: ' "$(dirname "$config")" "$data"
        read -r answer || answer=
        [ "$answer" = yes ] || fail "nothing was removed"
    fi
    others=$(data_folders)
    uninstall
    rm -rf "$(dirname "$config")" "$data" "$sysusers"
    if [ -z "$root" ] && is_root; then userdel dicomnode 2>/dev/null || :; fi
    say "configuration, data and user are removed"
    [ "$others" = "$data" ] || say "a data folder elsewhere is left as it is: ${others#"$data and "}"
}

fresh_config=no user='' group=''
while [ $# -gt 0 ]; do
    case $1 in
        --upgrade) ;;
        --rollback) action=rollback ;;
        --uninstall) action=uninstall ;;
        --purge) action=purge ;;
        --yes) assume_yes=yes ;;
        --enable) enable=yes ;;
        --packaged) packaged=yes ;;
        --wheelhouse | --python | --storage | --root)
            [ $# -gt 1 ] || fail "$1 needs a value"
            case $1 in
                --wheelhouse) wheelhouse=$2 ;;
                --python) python=$2 ;;
                --storage) storage=$2 ;;
                --root) root=$(mkdir -p "$2" && CDPATH='' cd -- "$2" && pwd) ;;
            esac
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    shift
done
[ "$root" != / ] || root=''
[ -n "$root" ] || is_root || fail "run it as root, or with --root DIR"
umask 022
settle_places
case $action in
    install) install_all ;;
    rollback) roll_back ;;
    uninstall) uninstall ;;
    purge) purge ;;
esac
