//! The limits of both servers, as someone sets them who expects attacks: the same numbers wherever both have the limit.
//!
//! What one has and the other has not stays as it comes: a node's shares of connections and its budget of bytes;
//! nginx's `limit_conn`.

use crate::compare::peers::Setup;

/// Connections that each server may hold at once.
pub(super) const PLACES: u64 = 4096;

/// Requests of a source, in the long run (a second) and at once.
const REQUESTS: u32 = 100;
const BURST: u32 = 200;

/// Connections that a source opens, in the long run (a second) and at once; nginx has no such limit.
const OPENED: u32 = 20;
const OPENED_BURST: u32 = 100;

/// Seconds to a whole head, also after an answer; and without the client taking any of it.
const HEAD: u32 = 5;
const STALL: u32 = 10;

/// Requests at once on a connection of HTTP/2.
const STREAMS: u32 = 100;

/// Lines for the node's configuration.
pub(super) fn node() -> String {
    format!(
        "workers = 1
drain = \"0 s\"
[limits]
connections = {PLACES}
http3_connections = {}
handshake = \"{HEAD} s\"
head = \"{HEAD} s\"
stall = \"{STALL} s\"
streams = {STREAMS}
[admission]
requests = {{ a_second = {REQUESTS}, at_once = {BURST} }}
bytes = {{ a_second = \"32 MiB\", at_once = \"256 MiB\" }}
connections = {{ a_second = {OPENED}, at_once = {OPENED_BURST} }}
exempt = []
",
        PLACES / 2
    )
}

/// nginx's configuration.
pub(super) fn nginx(setup: &Setup<'_>) -> String {
    let Setup { root, identity, address, connections, .. } = setup;
    let (root, certificate, key) = (root.display(), identity.certificate.display(), identity.key.display());
    let user = if setup.as_root { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;
pid nginx.pid;
error_log error.log crit;
worker_processes 1;
worker_rlimit_nofile {files};
events {{
    worker_connections {connections};
    multi_accept on;
}}
http {{
    types {{ text/html html; application/json json; application/zip zip; }}
    access_log off;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;
    open_file_cache_min_uses 1;
    gzip_static on;
    limit_req_zone $binary_remote_addr zone=requests:10m rate={REQUESTS}r/s;
    limit_req zone=requests burst={BURST} nodelay;
    limit_req_status 429;
    limit_req_log_level info;
    limit_conn_zone $binary_remote_addr zone=connections:10m;
    limit_conn connections {STREAMS};
    limit_conn_status 429;
    limit_conn_log_level info;
    client_header_timeout {HEAD}s;
    client_body_timeout {HEAD}s;
    keepalive_timeout {HEAD}s;
    keepalive_requests 1000;
    send_timeout {STALL}s;
    reset_timedout_connection on;
    client_max_body_size 1k;
    large_client_header_buffers 4 8k;
    http2_max_concurrent_streams {STREAMS};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    client_body_temp_path tmp-body;
    proxy_temp_path tmp-proxy;
    fastcgi_temp_path tmp-fastcgi;
    uwsgi_temp_path tmp-uwsgi;
    scgi_temp_path tmp-scgi;
    server {{
        listen {address} ssl http2 backlog=4096;
        root {root};
    }}
}}
",
        files = connections + 64,
    )
}
