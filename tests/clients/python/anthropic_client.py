"""Drives the gateway with the official anthropic package, unmodified: anthropic_client.py BASE_URL MODEL QUESTION. Prints one JSON object."""

import json
import sys

import anthropic

base_url, model, question = sys.argv[1:4]
client = anthropic.Anthropic(base_url=base_url, api_key="none", max_retries=0, timeout=60)
common = {"model": model, "max_tokens": 300}
weather = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
found = {}


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def text():
    message = client.messages.create(**common, messages=[{"role": "user", "content": "Hi"}])
    found["text"] = {"text": said(message), "stop": message.stop_reason, "output_tokens": message.usage.output_tokens}


def streamed():
    with client.messages.stream(**common, messages=[{"role": "user", "content": "Hi"}]) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    found["streamed"] = {"text": "".join(pieces), "pieces": len(pieces), "output_tokens": message.usage.output_tokens}


def loop(thinking):
    """The loop by hand, as the package's guide has it: every block goes back as it came."""
    messages = [{"role": "user", "content": question}]
    asked, thoughts, stops = [], [], []
    for _ in range(4):
        with client.messages.stream(**common, messages=messages, tools=[weather], thinking=thinking) as stream:
            message = stream.get_final_message()
        stops.append(message.stop_reason)
        thoughts += [block.thinking for block in message.content if block.type == "thinking"]
        messages.append({"role": "assistant", "content": message.content})
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            break
        asked += [call.input["city"] for call in calls]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."} for call in calls]
        messages.append({"role": "user", "content": results})
    found["loop"] = {"asked": asked, "thoughts": thoughts, "stops": stops, "text": said(message)}


def forced():
    choice = {"type": "tool", "name": "get_weather"}
    messages = [{"role": "user", "content": "Anything."}]
    message = client.messages.create(**common, messages=messages, tools=[weather], tool_choice=choice)
    found["forced"] = [block.input for block in message.content if block.type == "tool_use"]


def count():
    counted = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "Hi"}])
    found["counted"] = counted.input_tokens


def errors():
    try:
        client.messages.create(model="no-such-model", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
    except anthropic.NotFoundError as error:
        found["error"] = {"status": error.status_code, "type": error.body["error"]["type"]}


text()
streamed()
loop({"type": "enabled", "budget_tokens": 1024})
forced()
count()
errors()
print(json.dumps(found))
