"""Tells people of caps: at a webhook that takes what Slack's incoming webhooks take."""

import logging
from collections.abc import Sequence

import httpx2
import tenacity

from settings import proxy_for

TIMEOUT_SECONDS = 10
ATTEMPTS = 3

log = logging.getLogger(__name__)


async def send(url: str, texts: Sequence[str]) -> None:
    """Post each text as {"text": …}. What cannot be sent is in the log alone."""
    try:
        async with _client(url) as client:
            for text in texts:
                await _post(client, url, text)
    except Exception as error:
        # Without the address, which is a secret.
        reason = type(error).__name__
        if isinstance(error, httpx2.HTTPStatusError):
            reason = f"status {error.response.status_code}"
        log.error("ALERT_WEBHOOK_URL did not take an alert: %s", reason)


def _client(url: str) -> httpx2.AsyncClient:
    # Else it reads the proxies itself, and ends over one that is for other servers.
    return httpx2.AsyncClient(proxy=proxy_for(url), trust_env=False, timeout=TIMEOUT_SECONDS)


@tenacity.retry(
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=tenacity.wait_exponential_jitter(max=2),
    reraise=True,
)
async def _post(client: httpx2.AsyncClient, url: str, text: str) -> None:
    (await client.post(url, json={"text": text})).raise_for_status()
