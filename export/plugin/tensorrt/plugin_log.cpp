#include "plugin_log.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace geminifusion {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept { logger_finder.store(finder); }

void log_error(char const* format, ...) noexcept {
  char message[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  nvinfer1::ILoggerFinder* const finder = logger_finder.load();
  nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger == nullptr) {
    std::fprintf(stderr, "%s\n", message);
  } else {
    logger->log(nvinfer1::ILogger::Severity::kERROR, message);
  }
}

}  // namespace geminifusion
