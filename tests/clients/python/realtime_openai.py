"""Holds a conversation with the official openai package, unmodified: realtime_openai.py WS_URL MODEL KEY. Prints one JSON object."""

import asyncio
import json
import sys

from openai import AsyncOpenAI

url, model, key = sys.argv[1:4]
client = AsyncOpenAI(api_key=key, base_url="http://127.0.0.1:1", websocket_base_url=url)


def user(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


async def converse():
    found = {"deltas": "", "texts": [], "statuses": [], "errors": []}
    async with client.realtime.connect(model=model) as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(item=user("Hi"))
        await connection.response.create()
        async for event in connection:
            if event.type == "response.output_text.delta":
                found["deltas"] += event.delta
            elif event.type == "response.output_text.done":
                found["texts"].append(event.text)
            elif event.type == "error":
                found["errors"].append([event.error.code, event.error.param])
                await connection.response.create()
            elif event.type == "response.done":
                found["statuses"].append(event.response.status)
                if len(found["statuses"]) == 2:
                    break
                await connection.input_audio_buffer.commit()
    return found


async def refused():
    try:
        async with AsyncOpenAI(api_key="wrong", websocket_base_url=url).realtime.connect(model=model):
            return 0
    except Exception as error:  # the package hands on what its WebSocket library raises
        return error.response.status_code


print(json.dumps({"conversation": asyncio.run(converse()), "refused": asyncio.run(refused())}))
