"""HTTP/3 (RFC 9114), QPACK (RFC 9204) and QUIC (RFC 9000) with aioquic: what is right, and what is not."""
