"""Drives the gateway with the official openai package, unmodified: chat_openai.py BASE_URL MODEL. Prints one JSON object."""

import json
import sys

import openai

base_url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60)
question = [{"role": "user", "content": "What is the capital of France?"}]
common = {"model": model, "messages": question, "max_tokens": 12, "temperature": 0}
found = {}


def chat():
    answer = client.chat.completions.create(**common)
    choice = answer.choices[0]
    found["chat"] = {
        "object": answer.object,
        "model": answer.model,
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "completion_tokens": answer.usage.completion_tokens,
    }


def stream():
    chunks = list(client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    finish = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    found["stream"] = {
        "text": text,
        "finish": finish,
        "chunks": len(chunks),
        "completion_tokens": chunks[-1].usage.completion_tokens,
        "ids": len({chunk.id for chunk in chunks}),
    }


def completion():
    answer = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, temperature=0.8, seed=1, n=2)
    found["completion"] = {
        "texts": [choice.text for choice in answer.choices],
        "completion_tokens": answer.usage.completion_tokens,
    }


def models():
    found["models"] = [entry.id for entry in client.models.list()]
    found["retrieved"] = client.models.retrieve(model).id


def abort():
    with client.chat.completions.create(**{**common, "max_tokens": 100}, stream=True) as chunks:
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    found["abort"] = "closed"


def errors():
    found["errors"] = {
        "unknown_model": raised(model="no-such-model"),
        "bad_temperature": raised(temperature=99),
        "no_messages": raised(messages=[]),
    }


def raised(**changes):
    try:
        client.chat.completions.create(**{**common, **changes})
    except openai.APIStatusError as error:
        return {"class": type(error).__name__, "status": error.status_code, "param": error.param, "message": error.message}
    return {"class": "none"}


for step in (chat, stream, completion, models, abort, errors):
    step()
print(json.dumps(found))
