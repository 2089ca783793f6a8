"""nginx and h2o on the same files: `peers.py FOLDER SECONDS` writes their configurations and a certificate.

The files get the time at which the node says they were modified, so that conditions mean the same everywhere. Prints
`name port` of each server; its configuration is `FOLDER/name.conf`.
"""

import datetime
import ipaddress
import os
import socket
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
  include /etc/nginx/mime.types;
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    server_name localhost;
    ssl_certificate {folder}/peer.pem;
    ssl_certificate_key {folder}/peer.key;
    root {folder}/files;
    index index.html;
  }}
}}
"""

H2O = """
{user}
num-threads: 1
pid-file: {folder}/h2o.pid
error-log: {folder}/h2o.log
hosts:
  "localhost:{port}":
    listen:
      host: 127.0.0.1
      port: {port}
      ssl:
        certificate-file: {folder}/peer.pem
        key-file: {folder}/peer.key
    paths:
      "/":
        file.dir: {folder}/files
        file.index: ["index.html"]
"""


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certify(folder):
    """A certificate for localhost that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(names, critical=False)
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    certificate = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for file, content in (("peer.pem", certificate.public_bytes(pem)), ("peer.key", private)):
        with open(os.path.join(folder, file), "wb") as out:
            out.write(content)


def main(folder, modified):
    certify(folder)
    for path, _, names in os.walk(os.path.join(folder, "files")):
        for name in names:
            os.utime(os.path.join(path, name), (modified, modified))
    user = "user: root" if os.getuid() == 0 else ""
    for name, text in (("nginx", NGINX), ("h2o", H2O)):
        port = free_port()
        with open(os.path.join(folder, f"{name}.conf"), "w", encoding="utf-8") as out:
            out.write(text.format(folder=folder, port=port, user=user))
        print(name, port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
