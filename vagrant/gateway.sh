#!/usr/bin/env bash
# Makes a machine a gateway: builds Penstock, reserves hugepages, and runs it as a service on the card with this MAC
# address. Run again, it brings the service up to date.
#
# usage: vagrant/gateway.sh MAC
# shellcheck source-path=SCRIPTDIR/../scripts source=lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

require_root "vagrant/gateway.sh MAC"
[[ ${1-} =~ ^([0-9a-f]{2}:){5}[0-9a-f]{2}$ ]] || die 2 "the card's MAC address is missing" "vagrant/gateway.sh 02:00:00:08:00:02"
INTERFACE=$(interface_of "$1") || die "$EXIT_ENVIRONMENT" "no card has the MAC address $1" "ip link"

"$ROOT/scripts/setup.sh"
require_rust

step "Building"
cargo_run build --release --locked --features dpdk || die 1 "the build failed" "see cargo's messages above"

step "Hugepages"
"$ROOT/scripts/hugepages.sh" reserve 512 --persist

step "Service penstock"
getent passwd penstock >/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin penstock
install -m 755 "$(target_dir)/release/penstock" /usr/local/bin/penstock
install -m 644 "$ROOT/deploy/systemd/penstock.service" /etc/systemd/system/penstock.service
install -d -m 755 /etc/penstock /etc/systemd/system/penstock.service.d
cat >/etc/penstock/penstock.toml <<TOML
[port]
device = "net_af_packet0,iface=$INTERFACE,qpairs=1,blocksz=65536,framesz=2048,framecnt=2048,qdisc_bypass=1"
address = "10.8.0.2/24"

[workers]
count = 1

[[listener]]
port = 80

[[route]]
path = "/"
respond = { body = "hello from the gateway\n" }
TOML
chmod 644 /etc/penstock/penstock.toml
# Nobody else brings up a card without addresses.
cat >/etc/systemd/system/penstock.service.d/interface.conf <<CONF
[Service]
ExecStartPre=+/sbin/ip link set dev $INTERFACE up
CONF
systemctl daemon-reload
systemctl enable --quiet penstock
systemctl restart penstock
info "answers on http://10.8.0.2/; ask it from the client"
