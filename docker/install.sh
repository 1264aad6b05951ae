#!/bin/sh
# Installs what a lock file names, then our wheel, into /opt/geminifusion; for the stages of the Dockerfile.
#   install.sh LOCK          a file of docker/locks, without its ending
set -eu

environment=/opt/geminifusion
/opt/pip/bin/pip --python "$environment/bin/python" install --no-cache-dir --no-deps --require-hashes \
  --requirement "docker/locks/$1.txt"
/opt/pip/bin/pip --python "$environment/bin/python" install --no-cache-dir --no-deps /wheels/geminifusion-*.whl

packages=$(echo "$environment"/lib/python3*/site-packages)
# The tests of packages, tools that convert models, debugging symbols, and a second copy of ONNX Runtime for programs in C.
find "$packages"/numpy -type d -name tests -prune -exec rm -r {} +
rm -rf "$packages"/numpy/f2py "$packages"/numpy/distutils
if [ "$1" = service ]; then
  rm -rf "$packages"/onnxruntime/transformers "$packages"/onnxruntime/tools "$packages"/onnxruntime/quantization \
    "$packages"/onnxruntime/datasets "$packages"/onnxruntime/capi/libonnxruntime.so.*
fi
if [ -d "$packages/uvloop" ]; then
  # Not the libraries that auditwheel has moved sections of: binutils writes them so that they cannot be loaded.
  strip --strip-unneeded "$packages"/uvloop/*.so "$packages"/kornia_rs/*.so "$packages"/cryptography/hazmat/bindings/*.so
  rm -f "$packages"/uvloop/*.c "$packages"/uvloop/*.pyx
fi
if [ "$1" = service ]; then
  # What only compilers, type checkers and debuggers read; and all bytecode, of which the proof below writes what is used.
  find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.a' \) -delete
  find "$packages" -type d -name __pycache__ -prune -exec rm -r {} +
fi
# A server that segments is the proof that nothing of this was needed.
if [ "$1" = service ]; then
  "$environment/bin/geminifusion" demo --help >/dev/null
  "$environment/bin/python" -c "
import geminifusion_service.isolation.decoder_process, geminifusion_service.isolation.engine_process
import geminifusion_service.server
import numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from geminifusion import Client, load
Ed25519PrivateKey.generate().sign(b'')
load(threads=1)(numpy.zeros((96, 128, 3), numpy.uint8), numpy.ones((96, 128), numpy.float32))"
fi
