//! HTTP: bytes to messages (RFC 9110, RFC 9112).
