"""What only matters when a node runs: who sends, who receives, who may open the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicomnode.config.credentials import DATABASE
from dicomnode.config.values import is_loopback
from dicomnode.config.watching import WebSettings

if TYPE_CHECKING:
    from dicomnode.config.faults import Lines


def faults_of_serving(raw: dict[str, Any], lines: Lines) -> list[str]:
    """What only matters when the node runs: who sends, who receives."""
    faults = []
    if not raw.get("scanner") and not raw.get("receive", {}).get("accept_any_scanner"):
        faults.append(
            "[[scanner]]: no scanner may send; add one with its ae_title, or [receive] accept_any_scanner = true"
        )
    if not raw.get("destination"):
        faults.append("[[destination]]: no PACS gets results; add one with name, ae_title, host and port")
    names = [one.get("name") for one in raw.get("destination", ()) if isinstance(one, dict)]
    faults += [
        f"{lines.of(('destination', i, 'name'))}[[destination]] name: '{name}' is used twice"
        for i, name in enumerate(names)
        if name is not None and name in names[:i]
    ]
    url = raw.get("engine", {}).get("url")
    if isinstance(url, str) and not DATABASE.match(url):  # not repeated in the message: it may hold a password
        where = lines.of(("engine", "url"))
        faults.append(f"{where}[engine] url: neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE")
    tls = raw.get("tls", {})
    if (tls.get("receive") or tls.get("key")) and not (tls.get("certificate") and tls.get("key")):
        faults.append(f"{lines.of(('tls',))}[tls]: certificate and key are both needed")
    return faults + _faults_of_the_page(raw, lines)


def _faults_of_the_page(raw: dict[str, Any], lines: Lines) -> list[str]:
    """Nobody opens the page to a network by accident."""
    web, tls = raw.get("web", {}), raw.get("tls", {})
    host = web.get("host", WebSettings().host)
    faults = []
    if ("certificate" in web) != ("key" in web):
        faults.append(f"{lines.of(('web',))}[web]: certificate and key go together")
    if web.get("enabled") is False or not isinstance(host, str) or is_loopback(host):
        return faults
    where = f"{lines.of(('web', 'host'))}[web] host: {host} is open to the network, and that needs"
    if not web.get("users"):
        faults.append(f"{where} [[web.users]] with a name and a password (dicomnode password prints its hash)")
    if not any(section.get("certificate") and section.get("key") for section in (web, tls)):
        faults.append(f'{where} a certificate and a key, in [web] or [tls]; or use host = "127.0.0.1"')
    return faults
