"""The program: `digitcli` or `python -m digitcli`. Until it is loaded, a signal just ends it."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

from digitcli.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
