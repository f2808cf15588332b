"""Asks for embeddings with the official openai package: embed_openai.py BASE_URL MODEL. Prints one JSON object."""

import json
import sys

import openai

base_url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60)
# The package asks for base64 by default, and decodes it.
packed = client.embeddings.create(model=model, input=["one text", "another text"])
plain = client.embeddings.create(model=model, input="one text", encoding_format="float")
print(
    json.dumps(
        {
            "packed": [entry.embedding for entry in packed.data],
            "plain": plain.data[0].embedding,
            "prompt_tokens": packed.usage.prompt_tokens,
        }
    )
)
