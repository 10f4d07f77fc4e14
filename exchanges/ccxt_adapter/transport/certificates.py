"""The certificate authorities that are trusted: certifi's, and those that the environment adds.

``SSL_CERT_FILE`` names a file of certificates (PEM), ``SSL_CERT_DIR`` one or several folders of them: a company's own
authority, say, whose proxy looks into TLS. OpenSSL takes them in the place of its own list; here they come on top, so
that a venue behind the proxy and one beside it can both be verified.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from loguru import logger

FILE, FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # the names by which OpenSSL finds certificates in a folder
_SUFFIXES = (".pem", ".crt", ".cer")
_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, (62, 64)  # OpenSSL's X509_V_ERR codes: validity, and host or IP mismatch


def tls_context(cafile: str, system: bool = False) -> ssl.SSLContext:
    """The context in which servers are verified. With ``system`` the authorities that OpenSSL trusts by itself are
    trusted too.

    All instances share it: ccxt makes one for each, of 0.7 MB, while the loop stands still for 35 ms.
    """
    return _context(cafile, system, os.environ.get(FILE, ""), os.environ.get(FOLDER, ""))


def problems() -> list[str]:
    """The files of the two variables that cannot be read, one line each."""
    file, folders = os.environ.get(FILE, ""), os.environ.get(FOLDER, "")
    return [
        found
        for found in (_trusted(file, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), *map(_wrong_folder, _folders(folders)))
        if found
    ]


def advice(error: ssl.SSLCertVerificationError) -> str:
    """What can be done about a certificate that was not accepted."""
    code = getattr(error, "verify_code", None)  # aiohttp's error, which is one too, has none
    if code in (_EXPIRED, _NOT_YET):
        return "is this machine's clock right?"
    if code in _OTHER_HOST:
        return "somebody else answers in the host's place"
    told = f"to trust an authority of your own, name its PEM file in {FILE} or its folder in {FOLDER}"
    return "; ".join([told, *problems()])


@cache
def _context(cafile: str, system: bool, file: str, folders: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=cafile)
    if system:
        context.load_default_certs()
    if problem := _trusted(file, context):
        logger.warning("{}", problem)
    for folder in _folders(folders):
        if problem := _wrong_folder(folder):
            logger.warning("{}", problem)
            continue
        context.load_verify_locations(capath=folder)
        for found in _unhashed(folder):
            try:
                context.load_verify_locations(cafile=found)
            except (OSError, ssl.SSLError) as error:
                logger.warning("{} of {} cannot be read: {}", found, FOLDER, error)
    return context


def _folders(folders: str) -> Iterator[str]:
    return (folder for folder in folders.split(os.pathsep) if folder)


def _unhashed(folder: str) -> list[Path]:
    """The files of a folder whose names OpenSSL does not look for."""
    names = sorted(Path(folder).iterdir())
    if any(_HASHED.fullmatch(path.name) for path in names):
        return []
    return [path for path in names if path.suffix.lower() in _SUFFIXES and path.is_file()]


def _trusted(file: str, context: ssl.SSLContext) -> str:
    """Have ``context`` trust the file's certificates; returns why that fails, "" if it does not."""
    if not file:
        return ""
    try:
        if not Path(file).is_file():
            return f"{FILE} names {file!r}, which is no file"
        context.load_verify_locations(cafile=file)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        return f"{FILE} names {file!r}, which cannot be read ({reason})"
    return ""


def _wrong_folder(folder: str) -> str:
    try:
        next(Path(folder).iterdir(), None)
    except (OSError, ValueError) as error:
        return f"{FOLDER} names {folder!r}, which cannot be read ({getattr(error, 'strerror', None) or error})"
    return ""
