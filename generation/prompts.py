"""The messages that ask for copy, and the most tokens that they can be."""

import models

# More than a chat template adds to each message and to the whole: OpenAI's adds 4 and 3 (its
# cookbook, How to count tokens with tiktoken).
TEMPLATE_TOKENS = 32

Messages = list[dict[str, str]]


def text_messages(
    prompt: str,
    *,
    tone: str | None = None,
    keywords: list[str] | None = None,
    segment: models.Segment | None = None,
) -> Messages:
    """Write the chat messages that ask for this copy."""
    lines = [
        "You are a marketing copywriter. Write exactly what the user asks for and nothing else.",
        "Answer in the language of the user's message.",
    ]
    if tone and tone.strip():
        lines.append(f"Tone of voice: {tone}")
    if keywords:
        lines.append(f"Work in these keywords: {', '.join(keywords)}")
    if segment:
        lines.append(f"Write for this target segment: {segment.name}")
        if segment.description:
            lines.append(f"About the segment: {segment.description}")
        if segment.criteria:
            lines.append(f"Who belongs to it (JSON): {segment.criteria}")
    return [
        {"role": "system", "content": "\n".join(lines)},
        {"role": "user", "content": prompt},
    ]


def prompt_tokens_at_most(messages: list[dict[str, str]]) -> int:
    """More than any tokenizer makes of these messages: a token is at least one byte."""
    return TEMPLATE_TOKENS + sum(
        TEMPLATE_TOKENS + len(message["content"].encode()) for message in messages
    )
