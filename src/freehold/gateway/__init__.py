"""The OpenAI-compatible door: keys, limits, routing, capture, meter."""
