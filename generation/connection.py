"""How the provider is reached, and why it is not: proxies, certificates, names."""

import os
from typing import Any

import aiohttp
import httpx2
import openai

from settings import SettingsError, proxy_for

CONNECT_TIMEOUT_SECONDS = 5
# Shorter than the 5 of uvicorn (vLLM and other compatible servers) and of Node: what is sent on a
# connection that the server is closing is lost, and may have been billed.
IDLE_CONNECTION_SECONDS = 4
PROXY_WANTS_PASSWORD = 407
# By the numbers of OpenSSL's X509_V_ERR_…; all others mean that nobody trusted has signed it.
CERTIFICATE_ERRORS = {
    9: "is not valid yet. Check this machine's clock.",
    10: "has expired. Ask those who run it to renew it, or check this machine's clock.",
    **dict.fromkeys((62, 64), "is for another name. Check the name in OPENAI_BASE_URL."),
}


def http_client(base_url: str) -> httpx2.AsyncClient:
    """Make the SDK's client on aiohttp, by the proxy for this provider if there is one. Raises
    SettingsError."""
    return openai.DefaultAioHttpClient(
        # 0 is aiohttp's word for no limit: MAX_IN_FLIGHT bounds what is asked at once.
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=IDLE_CONNECTION_SECONDS),
        proxy=proxy(base_url),
        # A prompt goes nowhere but to OPENAI_BASE_URL.
        follow_redirects=False,
        # Else it reads the proxies itself, and ends over one that is for other servers.
        trust_env=False,
        verify=httpx2.create_ssl_context(),
    )


def proxy(base_url: str) -> httpx2.Proxy | None:
    """Return the proxy for this provider. Raises SettingsError for one that nobody here can speak
    to: aiohttp would speak HTTP to a SOCKS proxy."""
    host = httpx2.URL(base_url).host
    try:
        url = proxy_for(base_url)
        if url is None:
            return None
        found = httpx2.Proxy(url)
        if found.url.scheme not in ("http", "https"):
            raise ValueError("SOCKS")
        if found.auth:
            # As the SDK's transport will for each call.
            aiohttp.encode_basic_auth(*found.auth, encoding="latin1")
    except (ValueError, httpx2.InvalidURL):
        raise SettingsError(
            f"The proxy for {host} cannot be used: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY "
            "must look like http://user:password@host:port; SOCKS is not supported. "
            f"NO_PROXY={host} does without a proxy."
        ) from None
    return found


def unreached_by(error: openai.APIConnectionError) -> aiohttp.ClientError | None:
    """Say why no connection came about, so that nothing was sent; None where one did. aiohttp's
    error at the bottom tells: the SDK calls a connection that broke later a connect timeout too."""
    # The SDK wraps httpx's error, which wraps aiohttp's.
    cause: BaseException | None = error
    while cause and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    unreached = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
    )
    return cause if isinstance(cause, unreached) else None


def may_pass(unreached: aiohttp.ClientError) -> bool:
    """Tell whether trying again at once may help; one that timed out has taken its time already."""
    if isinstance(unreached, aiohttp.ClientHttpProxyError):
        return unreached.status >= 500
    lasting = (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorCertificateError)
    return not isinstance(unreached, lasting)


def why_unreached(unreached: aiohttp.ClientError) -> str:
    """Return what came in the way, and what to do; a proxy's password is in none of it."""
    if isinstance(unreached, aiohttp.ClientHttpProxyError):
        return why_proxy_refused(unreached.status)
    if isinstance(unreached, aiohttp.ClientConnectorCertificateError):
        return _why_distrusted(unreached)
    if isinstance(unreached, aiohttp.ClientConnectorSSLError):
        return (
            f"{unreached.host}:{unreached.port} does not speak TLS as it should "
            f"({unreached.os_error.strerror}). Check the port and http: or https: in "
            "OPENAI_BASE_URL."
        )
    why = f"no connection came about within {CONNECT_TIMEOUT_SECONDS} seconds"
    if isinstance(unreached, aiohttp.ClientConnectorDNSError):
        why = f"no address of {unreached.host} is known"
    elif isinstance(unreached, aiohttp.ClientConnectorError):
        proxy = "the proxy " if isinstance(unreached, aiohttp.ClientProxyConnectionError) else ""
        number = unreached.os_error.errno
        reason = os.strerror(number) if number else "no connection"
        why = f"{reason} at {proxy}{unreached.host}:{unreached.port}"
    return f"{why}. Check the network, OPENAI_BASE_URL, and HTTPS_PROXY if there is a proxy."


def why_proxy_refused(status: int) -> str:
    if status == PROXY_WANTS_PASSWORD:
        return (
            "the proxy wants a user and a password (407). Set "
            "HTTPS_PROXY=http://user:password@host:port with the right ones."
        )
    return (
        f"the proxy refused the connection ({status}). Ask those who run it, or check HTTPS_PROXY."
    )


def _why_distrusted(unreached: aiohttp.ClientConnectorCertificateError) -> str:
    error: Any = unreached.certificate_error  # an ssl.SSLCertVerificationError
    why = CERTIFICATE_ERRORS.get(error.verify_code) or (
        f"is not trusted ({error.verify_message}). If your company has a CA of its own, name a "
        "file with its certificate in SSL_CERT_FILE."
    )
    return f"the certificate of {unreached.host} {why}"
