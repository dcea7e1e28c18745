"""The program: `digitcli` or `python -m digitcli`. Until it is loaded, a signal just ends it."""

import os
import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)
machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE")
if machine in ("x86_64", "AMD64"):  # NumPy would start threads that nothing here needs, as long as it loads;
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # PyTorch has its own there

from digitcli.threads import prepare_openmp  # noqa: E402

prepare_openmp(os.environ)  # before torch is loaded

from digitcli.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
