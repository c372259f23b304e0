-- SYNs to a gateway at rising shares of line rate, a line for each: where the gateway begins to miss frames.
-- See README.md; change the addresses first.
--   pktgen -l 0-2 -a 0000:01:00.1 -- -P -m "[1:2].0" -f dpdk-config/pktgen/syn-ramp.lua
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;"
require "Pktgen"

local PORT = "0"
local GATEWAY_MAC, GATEWAY_IP = "02:00:00:00:00:02", "10.7.0.1"
local SOURCE_MAC, SOURCE_IP = "02:00:00:00:00:01", "10.7.0.77"
local RATES = { 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100 }
local STEP_MS, REST_MS = 10000, 2000

-- A range that stays on one value.
local function fix(set, value, still)
    set(PORT, "start", value)
    set(PORT, "min", value)
    set(PORT, "max", value)
    set(PORT, "inc", still)
end

local function prepare()
    pktgen.stop(PORT)
    pktgen.clr()
    pktgen.set(PORT, "count", 0)
    pktgen.set(PORT, "size", 64)
    pktgen.range.ip_proto(PORT, "tcp")
    fix(pktgen.range.dst_mac, GATEWAY_MAC, "00:00:00:00:00:00")
    fix(pktgen.range.src_mac, SOURCE_MAC, "00:00:00:00:00:00")
    fix(pktgen.range.dst_ip, GATEWAY_IP, "0.0.0.0")
    fix(pktgen.range.src_ip, SOURCE_IP, "0.0.0.0")
    fix(pktgen.range.dst_port, 80, 0)
    fix(pktgen.range.pkt_size, 64, 0)
    pktgen.range.src_port(PORT, "start", 1024)
    pktgen.range.src_port(PORT, "min", 1024)
    pktgen.range.src_port(PORT, "max", 65535)
    pktgen.range.src_port(PORT, "inc", 1)
    -- Where Lua has no function for flags, type `range 0 tcp flag set syn` on Pktgen's command line first.
    if pktgen.range.tcp_flag_clr then
        pktgen.range.tcp_flag_clr(PORT, "all")
        pktgen.range.tcp_flag_set(PORT, "syn")
    end
    pktgen.set_range(PORT, "on")
end

local function say(...)
    io.write(string.format(...))
    io.flush()
end

local function packets()
    local stats = pktgen.portStats(PORT, "port")[tonumber(PORT)]
    return stats.opackets, stats.ipackets
end

prepare()
say("%8s %14s %14s\n", "rate %", "sent/s", "back/s")
for _, rate in ipairs(RATES) do
    local sent, back = packets()
    pktgen.set(PORT, "rate", rate)
    pktgen.start(PORT)
    pktgen.delay(STEP_MS)
    pktgen.stop(PORT)
    pktgen.delay(REST_MS)
    local sent_now, back_now = packets()
    local seconds = STEP_MS / 1000
    say("%8.1f %14.0f %14.0f\n", rate, (sent_now - sent) / seconds, (back_now - back) / seconds)
end
pktgen.set_range(PORT, "off")
