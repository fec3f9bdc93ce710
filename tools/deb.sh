#!/bin/sh
# Makes a Debian package of the binary that was just built: the program, its
# unit, manual pages and completions, and the user that runs it.
set -eu
version=$(printf %s "$1" | sed 's/^v//')
case $version in [0-9]*) ;; *) version=0~git$version ;; esac
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
chmod 755 "$root"

install -D -m 755 gatepost "$root/usr/bin/gatepost"
./gatepost man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
mkdir -p "$root/lib/systemd/system" "$root/usr/share/bash-completion/completions" \
	"$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
./gatepost unit --binary /usr/bin/gatepost --config /var/lib/gatepost/gatepost.toml --out "$root/lib/systemd/system" >/dev/null
./gatepost completion bash >"$root/usr/share/bash-completion/completions/gatepost"
./gatepost completion zsh >"$root/usr/share/zsh/vendor-completions/_gatepost"
./gatepost completion fish >"$root/usr/share/fish/vendor_completions.d/gatepost.fish"
install -D -m 644 README.md "$root/usr/share/doc/gatepost/README.md"
install -D -m 644 CHANGELOG.md "$root/usr/share/doc/gatepost/CHANGELOG.md"
install -D -m 644 LICENSE "$root/usr/share/doc/gatepost/copyright"

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<EOF
Package: gatepost
Version: $version
Architecture: $arch
Maintainer: Gatepost <postmaster@localhost>
Installed-Size: $(du -ks --exclude DEBIAN "$root" | cut -f 1)
Section: mail
Priority: optional
Pre-Depends: adduser
Recommends: ca-certificates
Description: mail server that keeps mail safe
 One program that takes mail from mail clients and from other servers, and
 carries it to theirs and to mailboxes. What it has acknowledged is never lost;
 passwords and mail travel in TLS; who mail is from is verified.
EOF
cat >"$root/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
adduser --system --group --quiet --home /var/lib/gatepost --gecos "Gatepost mail server" gatepost
chmod 700 /var/lib/gatepost
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ -e /var/lib/gatepost/gatepost.toml ]; then
	[ ! -d /run/systemd/system ] || systemctl try-restart gatepost.service
else
	echo "Gatepost is not set up yet. Do so with:"
	echo "    runuser -u gatepost -- gatepost init /var/lib/gatepost --hostname mx.example.org \\"
	echo "        --domain example.org --account you@example.org"
	echo "    systemctl enable --now gatepost"
fi
EOF
cat >"$root/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
[ "$1" != remove ] || [ ! -d /run/systemd/system ] || systemctl disable --now gatepost.service
EOF
cat >"$root/DEBIAN/postrm" <<'EOF'
#!/bin/sh
# Mail and accounts in /var/lib/gatepost stay, also after a purge.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
EOF
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"

mkdir -p bin
dpkg-deb --build --root-owner-group "$root" "bin/gatepost_${version}_$arch.deb"
