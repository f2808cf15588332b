"""A gRPC client made from the contracts: grpc_client.py GEN_FOLDER chat ADDRESS MODEL TEXT | generate ADDRESS TOKENS IDS."""

import json
import sys

import grpc

sys.path.insert(0, sys.argv[1])
from stator.chat.v1 import chat_pb2  # noqa: E402
from stator.engine.v1 import engine_pb2_grpc, generate_pb2  # noqa: E402
from stator.inference.v1 import inference_pb2, inference_pb2_grpc  # noqa: E402


def chat(channel, model, text):
    message = chat_pb2.ChatMessage(role="user", plain_text=True, content=[chat_pb2.ContentPart(text=text)])
    options = inference_pb2.GenerationOptions(
        sampling=generate_pb2.SamplingParams(temperature=0),
        stop=generate_pb2.StopConditions(max_tokens=16),
        return_token_ids=True,
    )
    request = inference_pb2.ChatRequest(model=model, messages=[message], options=options)
    for response in inference_pb2_grpc.InferenceServiceStub(channel).Chat(request, timeout=60):
        yield list(response.deltas), response.usage if response.HasField("usage") else None


def generate(channel, tokens, ids):
    request = generate_pb2.GenerateRequest(
        token_ids=[int(part) for part in ids.split(",")],
        sampling=generate_pb2.SamplingParams(temperature=0),
        stop=generate_pb2.StopConditions(max_tokens=int(tokens), ignore_eos=True),
    )
    for response in engine_pb2_grpc.EngineServiceStub(channel).Generate(request, timeout=60):
        yield [response], response.usage if response.HasField("usage") else None


answer = {"text": "", "tokenIds": [], "finish": "", "outputTokens": 0, "messages": 0}
what, address, first, second = sys.argv[2:6]
with grpc.insecure_channel(address) as open_channel:
    try:
        for parts, usage in (chat if what == "chat" else generate)(open_channel, first, second):
            answer["messages"] += 1
            for part in parts:
                answer["text"] += part.text
                answer["tokenIds"] += part.token_ids
                if part.finish_reason:
                    answer["finish"] = generate_pb2.FinishReason.Name(part.finish_reason)
            if usage:
                answer["outputTokens"] = usage.output_tokens
    except grpc.RpcError as error:
        answer["errorCode"] = error.code().name
print(json.dumps(answer))
