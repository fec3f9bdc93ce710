#!/bin/sh
# Installs the Debian packages that make check uses, where that is possible,
# and says what will be left out where it is not.
set -u
packages="gcc libc6-dev swaks libnet-ssleay-perl curl msmtp gsasl oathtool postfix nsd unbound ldnsutils pebble python3 python3-dkim python3-jsonschema chromium libxml2-utils libmail-dkim-perl opendkim strace iproute2 util-linux e2fsprogs xfsprogs xxd openssl systemd systemd-container procps fakeroot dpkg bash haproxy"

missing=""
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "deps: not installed, so some cases will be skipped:$missing"
	exit 0
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# A package's service must not start on this machine, only in the tests.
policy=/usr/sbin/policy-rc.d
made=""
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=yes; }
apt-get update >"$log" 2>&1
# shellcheck disable=SC2086
apt-get install -y --no-install-recommends $missing >>"$log" 2>&1
status=$?
[ -z "$made" ] || rm -f $policy
[ $status = 0 ] || { tail -20 "$log"; echo "deps: apt-get failed"; }
rm -f "$log"
exit $status
