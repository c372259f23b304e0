//! The link: Ethernet, VLAN, ARP, neighbour discovery, routes.
