"""What all tests share: a disk cache of compiled code that is theirs alone, and gone after them."""

import atexit
import os
import shutil
import tempfile

if "PULLBACK_CACHE_DIR" not in os.environ:  # parallel workers have it from the process that started them
    os.environ["PULLBACK_CACHE_DIR"] = tempfile.mkdtemp(prefix="pullback-tests-")
    atexit.register(shutil.rmtree, os.environ["PULLBACK_CACHE_DIR"], ignore_errors=True)
