//! ICMP and ICMPv6 echo.
