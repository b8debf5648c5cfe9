"""A certificate for the tests' own TLS servers."""

from __future__ import annotations

from pathlib import Path

import trustme


def write_certificate(folder: Path) -> None:
    """``key.pem``, ``cert.pem`` and the authority to verify it with, ``ca.pem``."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
