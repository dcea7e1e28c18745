"""Read handwritten numbers, and train and evaluate networks that recognize handwritten digits.

    from digitcli import Reader

    Reader().read("image.png").text

Importing the package loads no torch. Its names, which `__init__.pyi` lists, are loaded when they are used.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
