// Stands in for libcudart, as far as the kernels' host code sees it: it remembers which kernel belongs to which function
// and hands launches to a callback.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#define STAND_IN extern "C" __attribute__((visibility("default")))

namespace {

using LaunchCallback = int (*)(char const* kernel, unsigned grid_x, unsigned block_x, void** arguments);

struct Configuration {
  dim3 grid;
  dim3 block;
  size_t shared;
  void* stream;
};

LaunchCallback launch_callback = nullptr;
std::map<void const*, std::string> kernels;
std::vector<Configuration> configurations;
void const* fat_binary = nullptr;
cudaError_t last_error = cudaSuccess;
int launches = 0;
void* const kStream = &launches;  // any address that is not null

}  // namespace

STAND_IN void** __cudaRegisterFatBinary(void* wrapper) {
  fat_binary = wrapper;
  return reinterpret_cast<void**>(wrapper);
}
STAND_IN void __cudaRegisterFatBinaryEnd(void**) {}
STAND_IN void __cudaUnregisterFatBinary(void**) {}
STAND_IN void __cudaRegisterFunction(void**, char const* host_function, char*, char const* device_name, int, void*,
    void*, void*, void*, int*) {
  kernels[host_function] = device_name;
}
STAND_IN unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
STAND_IN cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  Configuration const top = configurations.back();
  configurations.pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared = top.shared;
  *static_cast<void**>(stream) = top.stream;
  return cudaSuccess;
}
// CUDA 13 asks for a kernel's handle first, CUDA 12 launches by the host function's address; here they are the same.
STAND_IN cudaError_t __cudaGetKernel(void const** kernel, void const* host_function) {
  *kernel = host_function;
  return cudaSuccess;
}
STAND_IN cudaError_t __cudaLaunchKernel(
    void const* kernel, dim3 grid, dim3 block, void** arguments, size_t shared, void* stream) {
  ++launches;
  bool const flat = grid.y == 1 && grid.z == 1 && block.y == 1 && block.z == 1;
  if (kernels.count(kernel) == 0 || shared != 0 || stream != kStream || !flat) {
    return last_error = cudaErrorInvalidValue;
  }
  last_error = launch_callback(kernels[kernel].c_str(), grid.x, block.x, arguments) == 0 ? cudaSuccess
                                                                                          : cudaErrorLaunchFailure;
  return last_error;
}
STAND_IN cudaError_t cudaLaunchKernel(
    void const* kernel, dim3 grid, dim3 block, void** arguments, size_t shared, cudaStream_t stream) {
  return __cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}
STAND_IN cudaError_t cudaGetLastError() {
  cudaError_t const error = last_error;
  last_error = cudaSuccess;
  return error;
}
STAND_IN char const* cudaGetErrorString(cudaError_t) { return "the stand-in's error"; }

STAND_IN void host_on_launch(LaunchCallback callback) { launch_callback = callback; }
STAND_IN void const* host_fat_binary() { return fat_binary; }
STAND_IN int host_launches() { return launches; }
STAND_IN void* host_stream() { return kStream; }
