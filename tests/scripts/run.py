#!/usr/bin/env python3
"""Runs the tests of the host scripts and of the files for deployment; the last line counts them.

usage: run.py [FILTER]   only tests whose names contain FILTER
"""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True


def tests(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests(test)
        else:
            yield test


def main():
    needle = sys.argv[1] if len(sys.argv) > 1 else ""
    found = list(tests(unittest.defaultTestLoader.discover(str(HERE))))
    chosen = unittest.TestSuite(test for test in found if needle in test.id())
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(chosen)
    # A subtest that fails is counted for itself, its test once.
    failed = len({str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors})
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
