"""The inference form: exact algebra on trained weights that does less work for the same logits.

What is folded, per block:
- the value noise and all biases into constants; key noise times key matrix into one vector;
- query, own value, value for the other direction and both halves of the relation MLP's first layer into one GEMM;
- in a MiT, the fusion's output projection into the attention's: `P(x + Wo·mixed)` is `P·x + (P·Wo)·mixed`;
- in a Swin, the table of position biases into one bias per pair of tokens, and the merging's norm into its reduction.
In the decoder: each stage's linear map, its part of the fuse convolution, the BatchNorm and the stream's share in the
ensemble (positive, so it passes the ReLU) into one 1x1 convolution, and one classification for all streams.

Streams are separate tensors here, not one batch: every LayerNorm keeps its own scale without a broadcast pass.
"""

from geminifusion_model.inference_form.form import InferenceForm, InferenceOutput

__all__ = ["InferenceForm", "InferenceOutput"]
