#!/bin/sh
# setup.sh -- see to it that everything the build and the tests need is installed.
#
# On Debian and Ubuntu missing packages are installed when that is possible without a question (root, or sudo without a
# password). Anywhere else, or when it is not possible, the exact list is printed and the script ends with status 1.
# SETUP_OPTIONAL=1: also what some tests skip without (ranks over MPI, on two hosts).
# shellcheck disable=SC2015,SC2086
set -u

cc=${CC:-cc} # may be two words: ccache gcc
missing=

have_program() { command -v "$1" >/dev/null 2>&1; }
have_header() { echo "#include <$1>" | $cc $2 -E - >/dev/null 2>&1; }
need() { missing="$missing $1"; }

have_program "${cc%% *}" && have_program make && have_program ar || need build-essential
have_program zstd || need zstd
have_program prove || need perl
have_program python3 || need python3
have_header jansson.h "" || need libjansson-dev
have_header yaml.h "" || need libyaml-dev
have_header minizip/unzip.h "" || need libminizip-dev
have_header zlib.h "" || need zlib1g-dev
have_header png.h "" || need libpng-dev
have_header zstd.h "" || need libzstd-dev
have_program gdal-config && have_header gdal.h "$(gdal-config --cflags 2>/dev/null)" || need libgdal-dev
if [ "${SETUP_OPTIONAL:-0}" = 1 ]; then
    have_program mpirun || need openmpi-bin
    mpicc -showme:compile >/dev/null 2>&1 || need libopenmpi-dev
    have_program ip || need iproute2
fi

[ -z "$missing" ] && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if have_program sudo && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=no; fi
fi
if have_program apt-get && [ "$as_root" != no ]; then
    echo "setup: installing$missing" >&2
    $as_root apt-get update -qq >&2
    if DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >&2; then
        exit 0
    fi
    echo "setup: the installation failed" >&2
fi
cat >&2 <<'TEXT'
setup: something the build or the tests need is missing. Install it and run the same command again:
  Debian, Ubuntu  apt-get install build-essential zstd perl python3 libjansson-dev libyaml-dev libminizip-dev zlib1g-dev libpng-dev libzstd-dev libgdal-dev
  Fedora          dnf install gcc make zstd perl-Test-Harness python3 jansson-devel libyaml-devel minizip-ng-compat-devel zlib-devel libpng-devel libzstd-devel gdal-devel
  Arch            pacman -S --needed base-devel zstd perl python jansson libyaml minizip zlib libpng gdal
  Homebrew        brew install make zstd jansson libyaml minizip libpng gdal
TEXT
echo "setup: missing here (Debian's names):$missing" >&2
exit 1
