"""Starting, watching and stopping what answers: llamacpp, vllm, remote, fake."""
