// The part of ONNX Runtime's C interface that this library calls, declared by its binary layout.
//
// ONNX Runtime's wheels carry no headers, and a user should need nothing but a compiler. Its OrtApi is a struct of
// function pointers to which releases only append, so a slot number, once released, keeps its meaning. Every slot below
// exists since interface version 17 (ONNX Runtime 1.17); older runtimes refuse that version and nothing is registered.
// The tests build the library and run it on the installed runtime, which is what proves the numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace geminifusion::ort {

constexpr uint32_t kApiVersion = 17;

// Opaque objects of the runtime.
struct Status;
struct Value;
struct KernelInfo;
struct KernelContext;
struct SessionOptions;
struct CustomOpDomain;
struct ShapeAndType;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int { kFloat = 1, kUint8 = 2, kFloat16 = 10, kBFloat16 = 16 };
enum Characteristic : int { kRequired = 0 };
enum MemoryType : int { kDefaultMemory = 0 };

// OrtApiBase: what RegisterCustomOps is handed.
struct ApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*version_string)();
};

// OrtApi as its array of slots, with a typed call for each one used.
class Api {
 public:
  explicit Api(const void* const* slots) : slots_(slots) {}

  Status* create_status(ErrorCode code, const char* message) const {
    return slot<Status*(ErrorCode, const char*)>(0)(code, message);
  }
  Status* create_domain(const char* name, CustomOpDomain** out) const {
    return slot<Status*(const char*, CustomOpDomain**)>(26)(name, out);
  }
  Status* add_op(CustomOpDomain* domain, const struct CustomOp* op) const {
    return slot<Status*(CustomOpDomain*, const CustomOp*)>(27)(domain, op);
  }
  Status* add_domain(SessionOptions* options, CustomOpDomain* domain) const {
    return slot<Status*(SessionOptions*, CustomOpDomain*)>(28)(options, domain);
  }
  Status* tensor_data(Value* value, void** out) const { return slot<Status*(Value*, void**)>(51)(value, out); }
  Status* num_dimensions(const ShapeAndType* info, size_t* out) const {
    return slot<Status*(const ShapeAndType*, size_t*)>(61)(info, out);
  }
  Status* dimensions(const ShapeAndType* info, int64_t* out, size_t count) const {
    return slot<Status*(const ShapeAndType*, int64_t*, size_t)>(62)(info, out, count);
  }
  Status* shape_and_type(const Value* value, ShapeAndType** out) const {
    return slot<Status*(const Value*, ShapeAndType**)>(65)(value, out);
  }
  Status* int_attribute(const KernelInfo* info, const char* name, int64_t* out) const {
    return slot<Status*(const KernelInfo*, const char*, int64_t*)>(86)(info, name, out);
  }
  Status* input(const KernelContext* context, size_t index, const Value** out) const {
    return slot<Status*(const KernelContext*, size_t, const Value**)>(90)(context, index, out);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* shape, size_t rank, Value** out) const {
    return slot<Status*(KernelContext*, size_t, const int64_t*, size_t, Value**)>(91)(context, index, shape, rank, out);
  }
  void release(Status* status) const { slot<void(Status*)>(93)(status); }
  void release(ShapeAndType* info) const { slot<void(ShapeAndType*)>(99)(info); }
  void release(CustomOpDomain* domain) const { slot<void(CustomOpDomain*)>(101)(domain); }
  // Calls `work(data, i)` for i in 0...total-1 on the session's own threads; `batches` 0 leaves the grouping to it.
  Status* parallel_for(const KernelContext* context, void (*work)(void*, size_t), size_t total, size_t batches,
                       void* data) const {
    using Work = void (*)(void*, size_t);
    return slot<Status*(const KernelContext*, Work, size_t, size_t, void*)>(274)(context, work, total, batches, data);
  }

 private:
  template <typename Function>
  Function* slot(size_t index) const {
    return reinterpret_cast<Function*>(const_cast<void*>(slots_[index]));
  }

  const void* const* slots_;
};

// OrtCustomOp: one operator for one element type. A null entry means "the default" to the runtime.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const void* const*, const KernelInfo*);  // before version 16
  const char* (*name)(const CustomOp*);
  const char* (*execution_provider)(const CustomOp*);
  ElementType (*input_type)(const CustomOp*, size_t);
  size_t (*num_inputs)(const CustomOp*);
  ElementType (*output_type)(const CustomOp*, size_t);
  size_t (*num_outputs)(const CustomOp*);
  void (*compute)(void*, KernelContext*);  // before version 16
  void (*destroy)(void*);
  Characteristic (*input_characteristic)(const CustomOp*, size_t);
  Characteristic (*output_characteristic)(const CustomOp*, size_t);
  MemoryType (*input_memory)(const CustomOp*, size_t);
  int (*variadic_input_min_arity)(const CustomOp*);
  int (*variadic_input_homogeneity)(const CustomOp*);
  int (*variadic_output_min_arity)(const CustomOp*);
  int (*variadic_output_homogeneity)(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, const void* const*, const KernelInfo*, void**);
  Status* (*compute_v2)(void*, KernelContext*);
  Status* (*infer_output_shape)(const CustomOp*, void*);
  int (*start_version)(const CustomOp*);
  int (*end_version)(const CustomOp*);
};

}  // namespace geminifusion::ort
