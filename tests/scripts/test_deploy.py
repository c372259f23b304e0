"""Files for deployment: what systemd and Vagrant say about them, where they are installed."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
UNIT = ROOT / "deploy/systemd/penstock.service"
EXPOSURE_MAX = 3.0  # of 10, as systemd-analyze counts; a unit without any setting has 9.6


def run(*command, **options):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, **options)


def needs(tool):
    return unittest.skipUnless(shutil.which(tool), f"{tool} is not installed")


class Systemd(unittest.TestCase):
    def setUp(self):
        self.unit = UNIT.read_text()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        # The program need not be installed where this runs.
        self.copy = pathlib.Path(folder.name) / "penstock.service"
        self.copy.write_text(self.unit.replace("/usr/local/bin/penstock", "/bin/true"))

    @needs("systemd-analyze")
    def test_the_unit_is_valid(self):
        done = run("systemd-analyze", "verify", "--man=no", self.copy)
        about = [line for line in done.stdout.splitlines() if "penstock" in line]
        self.assertEqual((done.returncode, about), (0, []), done.stdout)

    @needs("systemd-analyze")
    def test_a_mistake_would_be_found(self):
        self.copy.write_text(self.copy.read_text().replace("ProtectSystem=strict", "ProtectSytsem=strict"))
        self.assertIn("ProtectSytsem", run("systemd-analyze", "verify", "--man=no", self.copy).stdout)

    @needs("systemd-analyze")
    def test_it_is_hardened(self):
        done = run("systemd-analyze", "security", "--offline=true", "--no-pager", self.copy)
        if "unrecognized option" in done.stdout:
            self.skipTest("this systemd-analyze cannot judge files")
        exposure = re.search(r"exposure level for penstock.service: ([0-9.]+)", done.stdout)
        self.assertIsNotNone(exposure, done.stdout)
        self.assertLessEqual(float(exposure[1]), EXPOSURE_MAX, done.stdout)

    def test_stopping_waits_for_the_drain(self):
        drain = re.search(r"DRAIN_MAX: Duration = Duration::from_secs\((\d+)\)", (ROOT / "src/runtime/shutdown.rs").read_text())
        timeout = re.search(r"^TimeoutStopSec=(\d+)$", self.unit, re.MULTILINE)
        self.assertGreaterEqual(int(timeout[1]), 2 * int(drain[1]))

    def test_it_runs_what_it_checks(self):
        check, run_it = re.findall(r"^ExecStart(?:Pre)?=(.+)$", self.unit, re.MULTILINE)
        self.assertEqual(check.replace(" check ", " run "), run_it)


class Vagrant(unittest.TestCase):
    @needs("vagrant")
    def test_the_vagrantfile_is_valid(self):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "VAGRANT_HOME": f"{folder}/home", "VAGRANT_DOTFILE_PATH": f"{folder}/dot"}
            done = run("vagrant", "validate", "--ignore-provider", cwd=ROOT / "vagrant", env=environment)
        self.assertEqual(done.returncode, 0, done.stdout)
