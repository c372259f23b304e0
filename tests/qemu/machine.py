"""The emulated machine: a kernel and an initramfs from packages, QEMU, and a shell in the guest.

Owns what the guest consists of and how commands get there: a line on its second serial port, answered by output and
exit status. Refuses to know what is tested. Emulation needs no KVM, and the guest's IOMMU lets vfio-pci have the card.
"""

import gzip
import os
import pathlib
import queue
import re
import shutil
import socket
import subprocess
import threading
import time

from netns import Skip

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Commands and the Debian packages that have them.
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio", "depmod": "kmod",
    "curl": "curl", "wrk": "wrk", "ip": "iproute2",
}
LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
# What the host's scripts want beyond busybox.
TOOLS = ["bash", "flock", "grep", "ip", "modprobe"]
# Drivers EAL finds in the guest: its pools, buses and the cards that run.py emulates.
DRIVERS = ["mempool_ring", "bus_pci", "bus_vdev", "net_virtio", "net_e1000"]
MODULES = ["vfio-pci", "vfio_iommu_type1"]
KERNEL_LINE = (
    "console=ttyS0 panic=-1 quiet mitigations=off intel_iommu=on iommu=pt "
    "default_hugepagesz=2M hugepagesz=2M hugepages=0:128,1:256"
)
BOOT_PATIENCE_S = 300
PATIENCE_S = 120

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
ln -s /run /var/run
ip link set lo up
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
echo @up
while IFS= read -r line; do
    sh -c "$line" </dev/null
    printf '\\n@done %d\\n' $?
done
poweroff -f
"""


def need_packages():
    """Installs what is missing, or skips where that is not possible."""
    missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
    if not missing:
        return
    apt_get("update", check=False)
    apt_get("install", "-y", "--no-install-recommends", *missing)
    absent = [command for command in PACKAGES if shutil.which(command) is None]
    if absent:
        raise Skip(f"not to be had here: {', '.join(absent)}")


def apt_get(*arguments, check=True, cwd=None):
    if shutil.which("apt-get") is None:
        raise Skip("packages come from Debian, and there is no apt-get")
    options = ["-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root"]
    done = subprocess.run(
        ["apt-get", *options, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=cwd, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
    if check and done.returncode != 0:
        raise Skip(f"apt-get {arguments[0]}: {done.stdout.strip().splitlines()[-1:]}")


def kernel(cache):
    """The folder of Debian's kernel package, unpacked in the cache folder."""
    if cached := sorted(cache.glob("linux-image-*-amd64")):
        return cached[-1]
    found = kernel_package()
    if not found:
        apt_get("update", check=False)
        found = kernel_package()
    if not found:
        raise Skip("no kernel package: apt-cache knows no linux-image-amd64")
    apt_get("download", found, cwd=cache)
    [package] = cache.glob(f"{found}_*.deb")
    unpacked = cache / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    subprocess.run(["dpkg", "-x", package, unpacked], check=True)
    [version] = os.listdir(unpacked / "lib/modules")
    subprocess.run(["depmod", "-b", unpacked, version], check=True)
    package.unlink()
    folder = cache / found
    unpacked.rename(folder)
    return folder


def kernel_package():
    """The package that Debian's present kernel is in; None where apt does not know."""
    depends = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    return found and found[1]


def vmlinuz(folder):
    [image] = (folder / "boot").glob("vmlinuz-*")
    return image


class Tree:
    """The files of an initramfs, laid out in a folder."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr/lib", "usr/lib64", "var"):
            (folder / name).mkdir(parents=True)
        for link, to in (("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "bin"), ("usr/bin", "../bin")):
            (folder / link).symlink_to(to)

    def write(self, path, text, mode=0o644):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def copy(self, source, path):
        """A file, or the file a link leads to: the link is kept, because EAL takes two copies of a driver for two."""
        file = self.folder / str(path).lstrip("/")
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        real = pathlib.Path(source).resolve()
        if real.name == file.name or not str(path).startswith(str(LIBRARIES)):
            shutil.copy2(real, file)
            return
        self.copy(real, real)
        file.symlink_to(real)

    def program(self, source, path):
        """A program or library and the libraries it wants."""
        self.copy(source, path)
        linked = subprocess.run(["ldd", source], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", linked):
            usual = library if library.startswith("/usr") else f"/usr{library}"
            self.copy(library, usual)

    def modules(self, kernel_folder):
        """The modules wanted and those they need."""
        [version] = os.listdir(kernel_folder / "lib/modules")
        base = kernel_folder / "lib/modules" / version
        needs = dict(line.split(":", 1) for line in (base / "modules.dep").read_text().splitlines())
        by_name = {pathlib.Path(path).stem.replace("_", "-"): path for path in needs}
        wanted = [by_name[name.replace("_", "-")] for name in MODULES]
        for path in {path for one in wanted for path in (one, *needs[one].split())}:
            self.copy(base / path, f"usr/lib/modules/{version}/{path}")
        for file in base.glob("modules.*"):
            self.copy(file, f"usr/lib/modules/{version}/{file.name}")

    def pack(self, file):
        names = subprocess.run(["find", "."], cwd=self.folder, stdout=subprocess.PIPE, check=True).stdout
        packed = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=self.folder, input=names, stdout=subprocess.PIPE, check=True
        )
        # Unpacking is emulated as well: fast before small.
        file.write_bytes(gzip.compress(packed.stdout, 1))


def initramfs(folder, kernel_folder, binary, texts, copies):
    """What the guest boots into. `texts` and `copies`: further files by path."""
    tree = Tree(folder / "root")
    tree.copy(shutil.which("busybox"), "bin/busybox")
    tree.write("init", INIT, 0o755)
    for tool in TOOLS:
        tree.program(shutil.which(tool), f"bin/{tool}")
    tree.program(binary, "bin/penstock")
    [drivers] = (LIBRARIES / "dpdk").glob("pmds-*")
    for name in DRIVERS:
        for file in drivers.glob(f"librte_{name}.so.*.*"):
            tree.program(file, file)
    tree.modules(kernel_folder)
    for script in (ROOT / "scripts").glob("*.sh"):
        tree.copy(script, f"scripts/{script.name}")
    for path, text in texts.items():
        tree.write(path, text)
    for path, source in copies.items():
        tree.copy(source, path)
    image = folder / "initramfs"
    tree.pack(image)
    return image


def has_card(qemu, card):
    """Whether this QEMU emulates the card."""
    listed = subprocess.run([qemu, "-device", "help"], capture_output=True, text=True, check=True).stdout
    return f'name "{card}"' in listed


def arguments(qemu, kernel_folder, image, console, card):
    """QEMU's command line: four CPUs and memory on two NUMA nodes, a bus on the second, the card on it."""
    memory = "memory-backend-ram,size=768M"
    return [
        qemu, "-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max,+invtsc",
        "-m", "1536", "-nographic", "-nodefaults", "-no-reboot",
        "-serial", f"file:{console}", "-serial", "stdio",
        "-monitor", f"unix:{console.with_name('monitor')},server=on,wait=off",
        "-kernel", str(vmlinuz(kernel_folder)), "-initrd", str(image), "-append", KERNEL_LINE,
        "-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on", "-smp", "4,sockets=2,cores=2",
        "-object", f"{memory},id=m0", "-object", f"{memory},id=m1",
        "-numa", "node,nodeid=0,cpus=0-1,memdev=m0", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1",
        "-numa", "dist,src=0,dst=1,val=21",
        "-device", "pxb-pcie,id=pxb1,bus_nr=64,bus=pcie.0,numa_node=1,addr=8",
        "-device", "pcie-root-port,id=rp1,bus=pxb1,chassis=1,slot=1",
        *card,
    ]


class Guest:
    """A running machine. Close it to end it."""

    def __init__(self, argv, console):
        self.console = console
        self.errors = console.with_name("errors")
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode(errors="replace").rstrip("\r\n"))
        self.lines.put(None)

    def wait_up(self):
        self._collect(re.compile("@up"), BOOT_PATIENCE_S, "boot")

    def run(self, command, patience_s=PATIENCE_S):
        """A shell line in the guest: exit status, and output and errors together."""
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        lines, end = self._collect(re.compile(r"@done (\d+)"), patience_s, command)
        if lines and not lines[-1]:
            lines.pop()
        return int(end[1]), "\n".join(lines)

    def monitor(self, command):
        """Tells QEMU something."""
        with socket.socket(socket.AF_UNIX) as to:
            to.settimeout(PATIENCE_S)
            to.connect(str(self.console.with_name("monitor")))
            to.sendall(f"{command}\n".encode())
            said = b""
            # One prompt greets, another comes behind the answer.
            while said.count(b"(qemu) ") < 2:
                said += to.recv(4096)

    def _collect(self, until, patience_s, what):
        deadline = time.monotonic() + patience_s
        lines = []
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{what}: no answer in {patience_s} s; so far:\n{self.tail(lines)}") from None
            if line is None:
                raise AssertionError(f"{what}: QEMU ended with {self.process.wait()}:\n{self.tail(lines)}")
            if found := until.fullmatch(line):
                return lines, found
            lines.append(line)

    def tail(self, lines):
        files = [file.read_text(errors="replace").splitlines() for file in (self.console, self.errors) if file.exists()]
        return "\n".join(f"    | {line}" for part in [lines, *files] for line in part[-15:])

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
