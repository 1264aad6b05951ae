"""The fusions a configuration can name (no torch, so a configuration can be checked without it)."""

FUSIONS = (
    "geminifusion",
    "pixel_attention",
    "pixel_attention_noise",
    "pixel_attention_relation",
    "token_exchange",
    "channel_exchange",
    "cross_attention",
    "none",
)
