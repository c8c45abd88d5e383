"""Ten thousand idle connections. Not part of the normal run: bazel test //test/integration:crowd_of_10000_test"""

import unittest

from resilience_test import Crowds


class CrowdOf10000(Crowds):
    IDLE = 10_000


del Crowds

if __name__ == "__main__":
    unittest.main()
