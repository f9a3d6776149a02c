"""The Autobahn suite's own program. For Python 2.7: wstest.py FOLDER MODE SPEC, FOLDER being pip's --target."""

import site
import sys

folder, mode, spec = sys.argv[1:]
site.addsitedir(folder)  # its namespace packages are known from .pth files only
sys.path.insert(0, folder)
sys.argv = ["wstest", "-m", mode, "-s", spec]

from autobahntestsuite import wstest  # noqa: E402

wstest.run()
