// The operators of domain `geminifusion` for ONNX Runtime's CPU provider: their signatures, checks and registration.
#include <algorithm>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "element.h"
#include "fusion_kernel.h"
#include "ort_abi.h"

namespace geminifusion {
namespace {

using ort::Api;
using ort::CustomOp;
using ort::KernelContext;
using ort::KernelInfo;
using ort::Status;

constexpr size_t kInputs = 4;  // q, k_diff, v_self, v_cross
constexpr const char* kInputNames[kInputs] = {"q", "k_diff", "v_self", "v_cross"};
// elements of one task: enough that handing it to another thread costs little, few enough to balance small stages
constexpr size_t kElementsPerTask = 32768;

template <typename Element>
constexpr ort::ElementType element_type();
template <>
constexpr ort::ElementType element_type<float>() {
  return ort::kFloat;
}
template <>
constexpr ort::ElementType element_type<Float16>() {
  return ort::kFloat16;
}
template <>
constexpr ort::ElementType element_type<BFloat16>() {
  return ort::kBFloat16;
}

Status* invalid(const Api& api, const std::string& message) {
  return api.create_status(ort::kInvalidArgument, ("geminifusion::PixelwiseFusion: " + message).c_str());
}

Status* shape_of(const Api& api, const ort::Value* value, std::vector<int64_t>& shape) {
  ort::ShapeAndType* info = nullptr;
  if (Status* failed = api.shape_and_type(value, &info)) return failed;
  size_t rank = 0;
  Status* failed = api.num_dimensions(info, &rank);
  if (failed == nullptr) {
    shape.resize(rank);
    failed = api.dimensions(info, shape.data(), rank);
  }
  api.release(info);
  return failed;
}

std::string written(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? " " : "") + std::to_string(shape[i]);
  return text + "]";
}

template <typename Element>
struct FusionNode {
  Api api;
  size_t num_heads;

  static Status* create(const CustomOp*, const void* const* slots, const KernelInfo* info, void** kernel) {
    const Api api(slots);
    int64_t heads = 0;
    if (Status* failed = api.int_attribute(info, "num_heads", &heads)) return failed;
    if (heads < 1) return invalid(api, "num_heads is " + std::to_string(heads) + "; expected at least 1");
    *kernel = new (std::nothrow) FusionNode{api, static_cast<size_t>(heads)};
    return *kernel ? nullptr : api.create_status(ort::kFail, "geminifusion::PixelwiseFusion: out of memory");
  }

  static void destroy(void* kernel) { delete static_cast<FusionNode*>(kernel); }

  static Status* compute(void* kernel, KernelContext* context) noexcept {
    const FusionNode& node = *static_cast<FusionNode*>(kernel);
    try {
      return node.run(context);
    } catch (const std::bad_alloc&) {  // no exception may cross into the runtime
      return node.api.create_status(ort::kFail, "geminifusion::PixelwiseFusion: out of memory");
    }
  }

  Status* run(KernelContext* context) const {
    const void* data[kInputs];
    std::vector<int64_t> shape;
    for (size_t i = 0; i < kInputs; ++i) {
      const ort::Value* value = nullptr;
      if (Status* failed = api.input(context, i, &value)) return failed;
      std::vector<int64_t> found;
      if (Status* failed = shape_of(api, value, found)) return failed;
      if (i == 0) shape = found;
      if (found != shape) {
        return invalid(api, std::string(kInputNames[i]) + " is " + written(found) + " but q is " + written(shape) +
                                "; all four must have one shape");
      }
      void* pointer = nullptr;
      if (Status* failed = api.tensor_data(const_cast<ort::Value*>(value), &pointer)) return failed;
      data[i] = pointer;
    }
    if (shape.empty() || static_cast<size_t>(shape.back()) % num_heads != 0) {
      return invalid(api, "q is " + written(shape) + "; its last axis must be divisible by num_heads = " +
                              std::to_string(num_heads));
    }
    ort::Value* mixed = nullptr;
    if (Status* failed = api.output(context, 0, shape.data(), shape.size(), &mixed)) return failed;
    void* target = nullptr;
    if (Status* failed = api.tensor_data(mixed, &target)) return failed;
    size_t elements = 1;
    for (const int64_t side : shape) elements *= static_cast<size_t>(side);
    if (elements == 0) return nullptr;

    struct Work {
      FusionArguments<Element> arguments;
      FusionKernel<Element>* kernel;
      size_t pairs_per_task;
    };
    const size_t head_dim = static_cast<size_t>(shape.back()) / num_heads;
    const size_t pairs = elements / head_dim;
    Work work{{static_cast<const Element*>(data[0]), static_cast<const Element*>(data[1]),
               static_cast<const Element*>(data[2]), static_cast<const Element*>(data[3]),
               static_cast<Element*>(target), pairs, head_dim},
              fusion_kernel<Element>(),
              std::max<size_t>(1, kElementsPerTask / head_dim)};
    const auto task = [](void* erased, size_t index) {
      const Work& part = *static_cast<const Work*>(erased);
      const size_t first = index * part.pairs_per_task;
      part.kernel(part.arguments, first, std::min(first + part.pairs_per_task, part.arguments.pairs));
    };
    const size_t tasks = (pairs + work.pairs_per_task - 1) / work.pairs_per_task;
    return api.parallel_for(context, task, tasks, 0, &work);
  }
};

// The runtime keeps pointers to these, so they live as long as the library.
template <typename Element>
const CustomOp* fusion_op() {
  static const CustomOp op = [] {
    CustomOp described{};
    described.version = ort::kApiVersion;
    described.name = [](const CustomOp*) { return "PixelwiseFusion"; };
    described.execution_provider = [](const CustomOp*) -> const char* { return nullptr; };  // the CPU's
    described.input_type = [](const CustomOp*, size_t) { return element_type<Element>(); };
    described.num_inputs = [](const CustomOp*) { return kInputs; };
    described.output_type = [](const CustomOp*, size_t) { return element_type<Element>(); };
    described.num_outputs = [](const CustomOp*) -> size_t { return 1; };
    described.destroy = &FusionNode<Element>::destroy;
    described.input_characteristic = [](const CustomOp*, size_t) { return ort::kRequired; };
    described.output_characteristic = [](const CustomOp*, size_t) { return ort::kRequired; };
    described.input_memory = [](const CustomOp*, size_t) { return ort::kDefaultMemory; };
    described.create_kernel_v2 = &FusionNode<Element>::create;
    described.compute_v2 = &FusionNode<Element>::compute;
    described.start_version = [](const CustomOp*) { return 1; };
    described.end_version = [](const CustomOp*) { return 1; };
    return described;
  }();
  return &op;
}

}  // namespace
}  // namespace geminifusion

// What ONNX Runtime calls when a session is given this library.
extern "C" __attribute__((visibility("default"))) geminifusion::ort::Status* RegisterCustomOps(
    geminifusion::ort::SessionOptions* options, const geminifusion::ort::ApiBase* base) {
  using namespace geminifusion;
  const void* const* slots = base->get_api(ort::kApiVersion);
  if (slots == nullptr) {
    // an error needs the interface that is missing; version 1 has had it from the start
    const ort::Api oldest(base->get_api(1));
    const std::string message = std::string("geminifusion's operators need ONNX Runtime 1.17 or later; this is ") +
                                base->version_string() + "; upgrade onnxruntime";
    return oldest.create_status(ort::kFail, message.c_str());
  }
  const ort::Api api(slots);
  ort::CustomOpDomain* domain = nullptr;
  if (ort::Status* failed = api.create_domain("geminifusion", &domain)) return failed;
  // a model's element type must be found here: with the library loaded, the runtime does not fall back to the function
  for (const ort::CustomOp* op : {fusion_op<float>(), fusion_op<Float16>(), fusion_op<BFloat16>()}) {
    if (ort::Status* failed = api.add_op(domain, op)) return failed;
  }
  return api.add_domain(options, domain);
}
