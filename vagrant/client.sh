#!/usr/bin/env bash
# Makes a machine a client: curl, wrk, and checksums that packet sockets on the other side can check.
#
# usage: vagrant/client.sh MAC...   the cards towards the gateway
# shellcheck source-path=SCRIPTDIR/../scripts source=lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

require_root "vagrant/client.sh MAC..."
install_packages "${RUN_PACKAGES[@]}"
for mac in "$@"; do
    interface=$(interface_of "$mac") || die "$EXIT_ENVIRONMENT" "no card has the MAC address $mac" "ip link"
    # A paravirtual card leaves them to a device that the gateway's packet socket does not have.
    ethtool -K "$interface" tx off >/dev/null
done
info "try: curl http://10.8.0.2/ ; wrk -c 50 http://10.8.0.2/"
