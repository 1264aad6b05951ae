// geminifusion::PixelwiseFusion on a CPU: the formula of ../pixelwise_fusion_math.h over contiguous tensors.
#pragma once

#include <cstddef>

namespace geminifusion {

// `pairs` heads of pixels (rows times heads), each `head_dim` elements, back to back in all five arrays.
template <typename Element>
struct FusionArguments {
  const Element* q;
  const Element* k_diff;
  const Element* v_self;
  const Element* v_cross;
  Element* mixed;
  size_t pairs;
  size_t head_dim;
};

// Computes pairs `first` to `last` - 1 of the arguments; any number of ranges may run at once.
template <typename Element>
using FusionKernel = void(const FusionArguments<Element>&, size_t first, size_t last);

// The fastest version this processor can run. Element is float, Float16 or BFloat16.
template <typename Element>
FusionKernel<Element>* fusion_kernel();

}  // namespace geminifusion
