#!/bin/sh
# build.sh WHEELHOUSE FOLDER: makes dicomnode_VERSION_ARCHITECTURE.deb, which carries the wheels.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source_folder=$(dirname "$(dirname "$here")")
wheelhouse=$1 output=$2
version=$(basename "$wheelhouse"/liver_iron_node-*.whl | cut -d- -f2)${REVISION:+-$REVISION}
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
umask 022
chmod 755 "$tree"

share=$tree/usr/share/dicomnode
mkdir -p "$share/wheels" "$share/deploy" "$tree/usr/bin" "$tree/usr/share/doc/dicomnode"
cp "$wheelhouse"/*.whl "$share/wheels/"
cp "$source_folder/requirements.lock" "$share/"
cp -R "$source_folder/docs" "$source_folder/systemd" "$share/"
cp "$source_folder/deploy/install.sh" "$source_folder/deploy/config.example.toml" "$share/deploy/"
cp "$source_folder/LICENSE" "$tree/usr/share/doc/dicomnode/copyright"
for unit in "$source_folder"/systemd/*.service; do
    install -D -m 644 "$unit" "$tree/usr/lib/systemd/system/$(basename "$unit")"
done
install -D -m 644 "$source_folder/systemd/dicomnode.sysusers" "$tree/usr/lib/sysusers.d/dicomnode.conf"
install -D -m 644 "$source_folder/systemd/dicomnode.tmpfiles" "$tree/usr/lib/tmpfiles.d/dicomnode.conf"
for page in "$source_folder"/docs/man/*.[15]; do
    install -D -m 644 "$page" "$tree/usr/share/man/man${page##*.}/$(basename "$page")"
done
gzip -9n "$tree"/usr/share/man/man?/*
install -D -m 644 "$source_folder/docs/man/dicomnode.bash" "$tree/usr/share/bash-completion/completions/dicomnode"
ln -s /opt/dicomnode/current/bin/dicomnode "$tree/usr/bin/dicomnode"
chmod -R u=rwX,go=rX "$tree/usr"

# The Python versions that there are wheels for, by one that is made anew for each.
minors=$(basename -a "$wheelhouse"/numpy-*.whl | sed 's/.*-cp3\([0-9]*\)-cp.*/\1/' | sort -n)
first=$(echo "$minors" | head -n 1) last=$(echo "$minors" | tail -n 1)

mkdir "$tree/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@FROM@/3.$first/" -e "s/@BELOW@/3.$((last + 1))/" \
    -e "s/@SIZE@/$(du -sk "$tree/usr" | cut -f1)/" "$here/control.in" >"$tree/DEBIAN/control"
cp "$here/triggers" "$tree/DEBIAN/"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN/"
mkdir -p "$output"
dpkg-deb --root-owner-group -Znone --build "$tree" "$output/dicomnode_${version}_$architecture.deb"
