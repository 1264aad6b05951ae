// What the library exports: the two functions TensorRT's plugin registry looks for when it loads one. It calls nothing of
// TensorRT by name, so it links to no TensorRT and loads in every release that knows IPluginV3.
#include "fusion_plugin.h"
#include "plugin_log.h"

#define GEMINIFUSION_EXPORT extern "C" __attribute__((visibility("default")))

GEMINIFUSION_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  geminifusion::set_logger_finder(finder);
}

GEMINIFUSION_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static geminifusion::PixelwiseFusionCreator creator;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
  count = 1;
  return creators;
}
