"""HTTP/2 frame by frame (RFC 9113, RFC 7541, RFC 9218): what a server has to answer to what is right, and to what is not."""
