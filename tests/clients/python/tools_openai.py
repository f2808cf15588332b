"""Calls tools with the official openai package, unmodified: tools_openai.py BASE_URL MODEL. Prints one JSON object."""

import json
import sys

import openai

base_url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=60)
parameters = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
tool = {"type": "function", "function": {"name": "get_weather", "parameters": parameters, "strict": True}}
common = {
    "model": model,
    "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
    "tools": [tool],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "temperature": 0,
}


def shown(call):
    return {"id": call.id, "name": call.function.name, "arguments": json.loads(call.function.arguments)}


whole = client.chat.completions.create(**common).choices[0]
with client.chat.completions.stream(**common) as stream:
    pieces = sum(1 for event in stream if event.type == "tool_calls.function.arguments.delta")
    streamed = stream.get_final_completion().choices[0]
print(
    json.dumps(
        {
            "whole": shown(whole.message.tool_calls[0]),
            "finish": whole.finish_reason,
            "streamed": shown(streamed.message.tool_calls[0]),
            "pieces": pieces,
            "streamed_finish": streamed.finish_reason,
        }
    )
)
