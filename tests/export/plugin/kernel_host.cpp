// CUDA's runtime for the library of the kernels alone.
#include "cuda_runtime.h"
