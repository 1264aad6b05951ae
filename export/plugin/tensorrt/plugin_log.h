// Messages to TensorRT's logger, or to standard error where there is none.
#pragma once

#include <NvInferRuntime.h>

namespace geminifusion {

// The finder TensorRT gave when it loaded the library; null takes it back.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// printf-style; longer than 511 bytes is cut. Allocates nothing and throws nothing.
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void log_error(char const* format, ...) noexcept;

}  // namespace geminifusion
