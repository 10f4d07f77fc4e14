"""The certificate authorities that are trusted: certifi's, and those that the environment adds.

``SSL_CERT_FILE`` names a file of certificates (PEM), ``SSL_CERT_DIR`` one or several folders of them, for example for a
company's own authority whose proxy decrypts TLS. OpenSSL uses them instead of its own list; here they are used in
addition, so that venues can be verified both through the proxy and without it. A pipe or device in their place is not
opened: OpenSSL would wait there for ever.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from loguru import logger

FILE, FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # the names by which OpenSSL finds certificates in a folder
_SUFFIXES = (".pem", ".crt", ".cer")
_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, (62, 64)  # OpenSSL's X509_V_ERR codes: validity, and host or IP mismatch
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FOLDERS = f"allowed are folders of PEM files (.pem, .crt or .cer), with {os.pathsep!r} between them"


def tls_context(cafile: str, system: bool = False) -> ssl.SSLContext:
    """The TLS context with which servers are verified. With ``system`` the authorities that OpenSSL trusts by itself
    are trusted too.

    All ccxt instances share it: ccxt would make one of 0.7 MB for each instance, and block the loop for 35 ms.
    """
    return _context(cafile, system, os.environ.get(FILE, ""), os.environ.get(FOLDER, ""))


def trust_the_systems(context: ssl.SSLContext) -> None:
    """Make ``context`` trust OpenSSL's default authorities: those that the variables name, else the system's."""
    if not is_endless(os.environ.get(FILE, "")):
        context.load_default_certs()
        return
    folders = os.environ.get(FOLDER) or ssl.get_default_verify_paths().openssl_capath
    context.load_verify_locations(capath=folders)  # OpenSSL does the same if it cannot read the file


def is_endless(path: str) -> bool:
    """Whether reading the path might never end: something is there that is neither a file nor a folder."""
    try:
        return bool(path) and _kind(path) not in ("a file", "a folder")
    except (OSError, ValueError):
        return False


def problems() -> list[str]:
    """One line for each file or folder that the two variables name and that is not used, with the reason."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return list(_trust(context, os.environ.get(FILE, ""), os.environ.get(FOLDER, "")))


def advice(error: ssl.SSLCertVerificationError) -> str:
    """What can be done about a certificate that was not accepted."""
    code = getattr(error, "verify_code", None)  # aiohttp's error has no code, although it is an error of a certificate
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
        trust_the_systems(context)
    for problem in _trust(context, file, folders):
        logger.warning("{}", problem)
    return context


def _trust(context: ssl.SSLContext, file: str, folders: str) -> Iterator[str]:
    """Make ``context`` trust the files that the variables name; yields what is wrong with them."""
    if file and (fault := _fault_of_file(context, file)):
        yield f"{FILE} names {file!r}, which {fault}: allowed is a file of certificates in PEM form"
    for folder in filter(None, folders.split(os.pathsep)):
        try:
            if (kind := _kind(folder)) != "a folder":
                yield f"{FOLDER} names {folder!r}, which is {kind}: {_FOLDERS}"
                continue
            paths = sorted(Path(folder).iterdir())
        except (OSError, ValueError) as error:
            yield f"{FOLDER} names {folder!r}, which {_unread(error)}: {_FOLDERS}"
            continue
        hashed = [path for path in paths if _HASHED.fullmatch(path.name)]
        found = hashed or [path for path in paths if path.suffix.lower() in _SUFFIXES]
        if not found:
            yield f"{FOLDER} names {folder!r}, which has no certificate: {_FOLDERS}"
        if hashed and not any(is_endless(str(path)) for path in hashed):
            context.load_verify_locations(capath=folder)  # OpenSSL opens the file that it needs
            continue
        for path in found:
            if fault := _fault_of_file(context, path):
                yield f"{str(path)!r} of {FOLDER} {fault}: allowed is a certificate in PEM form"


def _fault_of_file(context: ssl.SSLContext, path: str | Path) -> str:
    """Make ``context`` trust a file's certificates; returns what is wrong with the file, or ""."""
    try:
        if (kind := _kind(path)) != "a file":
            return f"is {kind}"
        with open(path, "rb") as file:
            if not file.read(1):
                return "is empty"
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        return f"has no certificate that can be read ({error.reason or error})"
    except (OSError, ValueError) as error:
        return _unread(error)
    return ""


def _kind(path: str | Path) -> str:
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "no file")


def _unread(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is not there"
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"
