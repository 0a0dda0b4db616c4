#!/usr/bin/env bash
# The test suite on PyPy: tests/pypy.sh DIR [arguments of pytest]
#
# DIR becomes (or is) a Debian sid root with PyPy 3.11 in it, so the system itself is not touched. Needs root and
# debootstrap. The checkout is copied to DIR/amqpd; a virtual environment is kept in DIR/venv from run to run.
set -euo pipefail
root=${1:?usage: tests/pypy.sh DIR [arguments of pytest]}
shift
checkout=$(cd "$(dirname "$0")/.." && pwd)

if [ ! -x "$root/usr/bin/apt-get" ]; then
    debootstrap --variant=minbase sid "$root"
fi
mountpoint --quiet "$root/proc" || mount -t proc proc "$root/proc"
cp /etc/hosts "$root/etc/hosts"
inside() {
    env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        PIP_DISABLE_PIP_VERSION_CHECK=1 chroot "$root" "$@"
}
if [ ! -x "$root/usr/bin/pypy3" ]; then
    # Sid is a moving target: a mirror that lags behind is good enough for this.
    echo 'Acquire::Check-Valid-Until "false";' > "$root/etc/apt/apt.conf.d/99valid"
    inside apt-get update
    inside env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        pypy3 pypy3-venv pypy3-dev gcc libc6-dev ca-certificates
fi
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi

rm -rf "$root/amqpd"
mkdir "$root/amqpd"
git -C "$checkout" ls-files -z --cached --others --exclude-standard |
    (cd "$checkout" && tar --null --files-from=- --create) | tar --extract --directory "$root/amqpd"
[ -x "$root/venv/bin/pypy3" ] || inside pypy3 -m venv /venv
inside sh -c 'cd /amqpd && /venv/bin/pip install --quiet --editable ".[test]"'
inside sh -c 'cd /amqpd && exec /venv/bin/python -m pytest -p no:cacheprovider "$@"' pytest "$@"
