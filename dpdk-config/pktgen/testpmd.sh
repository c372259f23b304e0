#!/usr/bin/env bash
# Packet-level tests of a gateway with DPDK's testpmd: what Pktgen-DPDK does, with what Debian packages.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'TEXT'
usage: dpdk-config/pktgen/testpmd.sh CASE --device DEVICE --gateway-mac MAC --gateway-ip IP --source-ip IP [options]

Sends frames to a gateway from another port of the same link, as fast as the port takes them. What became of them is in
the gateway's counters (curl -s http://127.0.0.1:9902/metrics, or penstock top).

  arp, icmp, syn, rss, malformed
                      frames of dpdk-config/pktgen/frames.py, which --list explains
  udp                 UDP datagrams to the gateway: penstock_dropped_frames_total{reason="protocol"}
  flows               UDP to rising addresses: penstock_dropped_frames_total{reason="not_for_us"}; RSS spread without TCP

  --device DEVICE     the generator's port: a PCI address, or a vdev such as net_af_packet0,iface=eth1
  --gateway-mac MAC   where frames go
  --gateway-ip IP     the gateway's IPv4 address
  --source-ip IP      ours; not one that is in use on the link
  --source-mac MAC    ours (02:00:00:00:00:01)
  --count N           frames made for a case (4096)
  --loop              send them over and over
  --seconds S         how long (5)
  --lcores MAP        of EAL (0,1)
  --no-huge           plain pages
  --dry-run           print the command
  -h, --help          this text

Exit codes: 0 done, 2 command line, 4 the machine. Send only on links of your own.
TEXT
}

# die EXIT_CODE WHAT [FIX]
die() {
    printf 'error: %s\n' "$2" >&2
    if [[ -n ${3-} ]]; then printf '  fix: %s\n' "$3" >&2; fi
    exit "$1"
}

DEVICE='' GATEWAY_MAC='' GATEWAY_IP='' SOURCE_IP=''
SOURCE_MAC=02:00:00:00:00:01 COUNT=4096 LOOP=0 LENGTH=5 LCORES=0,1 HUGE=true DRY=false
[[ ${1-} != -h && ${1-} != --help ]] || { usage; exit 0; }
CASE=${1-}
shift || true
while (($#)); do
    case $1 in
        --loop) LOOP=1; shift; continue ;;
        --no-huge) HUGE=false; shift; continue ;;
        --dry-run) DRY=true; shift; continue ;;
        -h | --help) usage; exit 0 ;;
    esac
    (($# > 1)) || die 2 "$1 needs a value"
    case $1 in
        --device) DEVICE=$2 ;;
        --gateway-mac) GATEWAY_MAC=$2 ;;
        --gateway-ip) GATEWAY_IP=$2 ;;
        --source-ip) SOURCE_IP=$2 ;;
        --source-mac) SOURCE_MAC=$2 ;;
        --count) COUNT=$2 ;;
        --seconds) LENGTH=$2 ;;
        --lcores) LCORES=$2 ;;
        *) usage >&2; die 2 "unknown option $1" ;;
    esac
    shift 2
done
[[ $COUNT =~ ^[1-9][0-9]*$ && $LENGTH =~ ^[1-9][0-9]*$ ]] || die 2 "--count and --seconds take numbers from 1"
[[ $DEVICE && $GATEWAY_MAC && $GATEWAY_IP && $SOURCE_IP ]] ||
    die 2 "--device, --gateway-mac, --gateway-ip and --source-ip are needed" "dpdk-config/pktgen/testpmd.sh --help"

EAL=(--lcores "$LCORES" --file-prefix "testpmd$$")
if $HUGE; then EAL+=(--in-memory); else EAL+=(--no-huge -m 256 --no-shconf); fi
if [[ $DEVICE == net_* ]]; then PORT=(--no-pci --vdev "$DEVICE"); else PORT=(-a "$DEVICE"); fi
PORTS=1
case $CASE in
    arp | icmp | syn | rss | malformed)
        # Port 0 is a file of frames; io passes on to port 1 what it reads there.
        WORK=$(mktemp -d)
        trap 'rm -rf "$WORK"' EXIT
        python3 "$HERE/frames.py" "$CASE" --gateway-mac "$GATEWAY_MAC" --gateway-ip "$GATEWAY_IP" \
            --source-ip "$SOURCE_IP" --source-mac "$SOURCE_MAC" --count "$COUNT" -o "$WORK/frames.pcap"
        PORT=(--vdev "net_pcap0,rx_pcap=$WORK/frames.pcap,infinite_rx=$LOOP" "${PORT[@]}")
        PORTS=2
        MODE=(--forward-mode=io)
        ;;
    udp) MODE=(--forward-mode=txonly --tx-ip="$SOURCE_IP,$GATEWAY_IP" --eth-peer="0,$GATEWAY_MAC") ;;
    flows) MODE=(--forward-mode=flowgen --eth-peer="0,$GATEWAY_MAC") ;;
    *) usage >&2; die 2 "no case is called '$CASE'" ;;
esac
# Frames that are sent over and over stay in mbufs of their own; and testpmd would throw away what it reads at first.
MODE+=(--total-num-mbufs=$((COUNT + 8192)) --no-flush-rx)
COMMAND=(dpdk-testpmd "${EAL[@]}" "${PORT[@]}" -- --nb-cores=1 --auto-start --no-lsc-interrupt "${MODE[@]}")
if $DRY; then
    printf '%q ' "${COMMAND[@]}"
    printf '\n'
    exit 0
fi
command -v dpdk-testpmd >/dev/null || die 4 "dpdk-testpmd is missing" "apt-get install dpdk-dev (Debian), or build DPDK"
# Without -i, testpmd sends until the end of its standard input.
LOG=$(sleep "$LENGTH" | "${COMMAND[@]}" 2>&1) ||
    { printf '%s\n' "$LOG" >&2; die 4 "testpmd failed" "its messages are above"; }
printf '%s\n' "$LOG" | sed -n '/forward statistics/,$p'
# A vdev that fails to probe does not stop testpmd: it goes on with fewer ports.
FOUND=$(grep -c 'Configuring Port [0-9]' <<<"$LOG") || true
((FOUND == PORTS)) || { printf '%s\n' "$LOG" >&2; die 4 "$FOUND of $PORTS ports came up" "see EAL's messages above"; }
