"""What runs inside vLLM's own environment: `python vllm_boot.py KEYS OPTION…`. Standard library and vLLM only.

The secret is read from the file KEYS (a pipe) and handed over inside the process, so that no command line and no
environment shows it.
"""

import runpy
import sys


def main() -> None:
    """Become vLLM's OpenAI server."""
    with open(sys.argv[1]) as keys:
        secret = keys.readline().strip()
    sys.path.pop(0)  # this folder, where our own `vllm.py` would hide the package
    sys.argv = ["vllm", *sys.argv[2:], "--api-key", secret]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
