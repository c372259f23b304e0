"""Tens of thousands of malformed frames leave the gateway alive, answering, and with every buffer given back."""

import os
import random
import socket
import time

import frames
import gateway_config
from gateway_config import Site
from netns import PATIENCE_S

FRAMES = 20_000
SITE = Site(routes=gateway_config.base_routes(), tcp={"handshake_timeout": "1s"})


def inject(bed, seed, count):
    """Sends the frames of this seed from the client's interface."""
    rng = random.Random(seed)
    gateway_mac = frames.mac(bed.network.gateway_mac())
    with bed.inside():
        packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with packet:
        packet.bind((bed.network.client, 0))
        for _ in range(count):
            send(packet, frames.mutated(rng, gateway_mac))


def send(packet, frame):
    """Sends it when the interface has room."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return packet.send(frame)
        except OSError as error:
            if error.errno != 105 or time.monotonic() > deadline:  # ENOBUFS
                raise


def test_mutated_frames(bed):
    seed = int(os.environ.get("PENSTOCK_SEED", 0)) or random.SystemRandom().randrange(1, 2**32)
    print(f"     seed: PENSTOCK_SEED={seed}", flush=True)
    inject(bed, seed, FRAMES)
    # Frames in the client's name may have taught the gateway another neighbour: the client asks anew.
    bed.network.ip("neigh", "flush", "dev", bed.network.client)
    assert bed.gateway.alive(), f"the gateway died with seed {seed}"
    bed.assert_serves()


def test_known_seed(bed):
    inject(bed, 20_260_101, FRAMES // 10)
    bed.network.ip("neigh", "flush", "dev", bed.network.client)
    bed.assert_serves()
