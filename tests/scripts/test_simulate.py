"""scripts/simulate.sh: its command line. What it runs is tested by `cargo test --test simulation`."""

import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts/simulate.sh"

# Stands for cargo: says what it is asked for, and with which settings.
CARGO = """#!/bin/sh
case "$*" in *--no-run*) exit "${BUILD:-0}" ;; esac
echo "cargo $*"
env | grep '^PENSTOCK_' | sort
exit "${STATUS:-0}"
"""


class Simulate(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tools = pathlib.Path(folder.name)
        (self.tools / "cargo").write_text(CARGO)
        (self.tools / "cargo").chmod(0o755)

    def run_script(self, *arguments, **environment):
        environment = {"PATH": f"{self.tools}:/usr/bin:/bin", "HOME": str(self.tools), **environment}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run([SCRIPT, *arguments], env=environment, text=True, timeout=60, **output)

    def test_help_names_every_option(self):
        done = self.run_script("--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--seeds", "--from", "--jobs", "--seed", "--without", "--frames"):
            self.assertIn(option, done.stdout)

    def test_bad_arguments_are_refused_with_a_hint(self):
        for wrong in (
            ["--seeds"],
            ["--seeds", "0"],
            ["--seeds", "many"],
            ["--from", "-1"],
            ["--jobs", "1.5"],
            ["--frames"],
            ["--without", "load.0"],
            ["--quickly"],
            ["5"],
        ):
            with self.subTest(wrong=wrong):
                done = self.run_script(*wrong)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn("scripts/simulate.sh", done.stdout)
                self.assertNotIn("PENSTOCK_", done.stdout)

    def test_a_sweep_is_told_what_to_run(self):
        done = self.run_script("--seeds", "7", "--from", "3", "--jobs", "2")
        self.assertEqual(done.returncode, 0, done.stdout)
        for setting in ("PENSTOCK_SEEDS=7", "PENSTOCK_FIRST_SEED=3", "PENSTOCK_JOBS=2", "sweep::sweep"):
            self.assertIn(setting, done.stdout)
        self.assertIn("PENSTOCK_SEEDS=100000", self.run_script().stdout)

    def test_one_seed_is_told_what_to_leave_out(self):
        done = self.run_script("--seed", "9", "--without", "load.1,wires.0", "--frames")
        self.assertEqual(done.returncode, 0, done.stdout)
        for setting in ("PENSTOCK_SEED=9", "PENSTOCK_WITHOUT=load.1,wires.0", "PENSTOCK_FRAMES=1", "one::one_seed"):
            self.assertIn(setting, done.stdout)

    def test_failures_are_passed_on(self):
        self.assertEqual(self.run_script("--seeds", "1", STATUS="101").returncode, 101)
        done = self.run_script("--seeds", "1", BUILD="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not build", done.stdout)


if __name__ == "__main__":
    unittest.main()
