#!/usr/bin/env bash
# Installs the packages that building, running and testing Penstock needs, and nothing else.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

install_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
require_rust
info "everything needed is installed; next: scripts/quickstart.sh"
