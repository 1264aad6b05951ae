#!/bin/sh
# Puts the folder include/ of a release of NVIDIA/TensorRT into DESTINATION, for building the plugin in an image that has no
# TensorRT. The archive must have the checksum you give: take it from a download you trust, once, and keep it.
#
#   fetch_tensorrt_headers.sh TAG SHA256 DESTINATION        e.g. v11.1 <64 digits> /opt/tensorrt
set -eu

if [ $# -ne 3 ]; then
  echo "usage: $0 TAG SHA256 DESTINATION" >&2
  exit 2
fi
tag=$1 expected=$2 destination=$3
case $expected in
  *[!0-9a-f]*) digits=0 ;;
  *) digits=${#expected} ;;
esac
if [ "$digits" -ne 64 ]; then
  echo "SHA256 is '$expected'; expected 64 lower-case hexadecimal digits, those of sha256sum ARCHIVE" >&2
  exit 2
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
curl --fail --silent --show-error --location --proto '=https' --max-time 600 \
  "https://github.com/NVIDIA/TensorRT/archive/refs/tags/$tag.tar.gz" --output "$scratch/release.tar.gz"
found=$(sha256sum "$scratch/release.tar.gz" | cut -d ' ' -f 1)
if [ "$found" != "$expected" ]; then
  echo "the archive of $tag has SHA-256 $found; expected $expected. Nothing was unpacked." >&2
  exit 1
fi
mkdir -p "$destination"
tar -xzf "$scratch/release.tar.gz" -C "$destination" --strip-components=1 --wildcards '*/include/*'
test -f "$destination/include/NvInferRuntime.h"
