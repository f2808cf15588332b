"""Drives the gateway with Triton's client for gRPC, unmodified: kserve_client.py ADDRESS MODEL KEY. Prints one JSON object."""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

address, model, key = sys.argv[1:4]
headers = {"authorization": f"Bearer {key}"}
client = triton.InferenceServerClient(address)
found = {}


def text_input(text):
    tensor = triton.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode()], dtype=object))
    return tensor


def streaming_input():
    tensor = triton.InferInput("streaming", [1], "BOOL")
    tensor.set_data_from_numpy(np.array([True], dtype=bool))
    return tensor


def texts(result, name):
    return [element.decode() for element in result.as_numpy(name)]


def server():
    metadata = client.get_server_metadata()
    found["server"] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready(model, headers=headers),
        "other": client.is_model_ready("other", headers=headers),
        "name": metadata.name,
    }


def described():
    metadata = client.get_model_metadata(model, headers=headers)
    config = client.get_model_config(model, headers=headers).config
    found["described"] = {
        "inputs": [[one.name, one.datatype, list(one.shape)] for one in metadata.inputs],
        "outputs": [[one.name, one.datatype, list(one.shape)] for one in metadata.outputs],
        "optional": [one.name for one in config.input if one.optional],
        "backend": config.backend,
    }


def whole():
    result = client.infer(
        model,
        [text_input("Hi")],
        request_id="first",
        headers=headers,
        parameters={"max_tokens": 3, "temperature": 0.0, "ignore_eos": True},
        timeout=30_000_000,
    )
    found["whole"] = {
        "id": result.get_response().id,
        "text": texts(result, "text_output"),
        "finish": texts(result, "finish_reason"),
    }


def chosen():
    result = client.infer(model, [text_input("Hi")], outputs=[triton.InferRequestedOutput("text_output")], headers=headers)
    found["chosen"] = [output.name for output in result.get_response().outputs]


def embedded():
    texts = np.array([[b"Hi"], ["žluť".encode()]], dtype=object)
    tensor = triton.InferInput("text_input", list(texts.shape), "BYTES")
    tensor.set_data_from_numpy(texts)
    metadata = client.get_model_metadata("vectors", headers=headers)
    vectors = client.infer("vectors", [tensor], headers=headers).as_numpy("embeddings")
    short = client.infer("vectors", [tensor], headers=headers, parameters={"dimensions": 3}).as_numpy("embeddings")
    found["embedded"] = {
        "outputs": [[one.name, one.datatype, list(one.shape)] for one in metadata.outputs],
        "type": str(vectors.dtype),
        "vectors": vectors.tolist(),
        "short": list(short.shape),
    }


def streamed():
    """Several requests over one stream, each with its own responses."""
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=headers)
    ids = ["a", "b", "wrong"]
    for one in ids:
        client.async_stream_infer(
            "nope" if one == "wrong" else model,
            [text_input("Hi"), streaming_input()],
            request_id=one,
            enable_empty_final_response=True,
        )
    said, open_ids, pieces, errors = {"a": "", "b": ""}, set(ids), 0, []
    while open_ids:
        result, error = answers.get(timeout=60)
        if error is not None:
            errors.append(str(error))
            open_ids.discard("wrong")
            continue
        response = result.get_response()
        pieces += 1
        said[response.id] += "".join(texts(result, "text_output"))
        if response.parameters["triton_final_response"].bool_param:
            open_ids.discard(response.id)
    client.stop_stream()
    found["streamed"] = {"said": said, "pieces": pieces, "errors": errors}


def refused():
    codes = {}
    for name, ask in {
        "model": lambda: client.infer("nope", [text_input("Hi")], headers=headers),
        "parameter": lambda: client.infer(model, [text_input("Hi")], headers=headers, parameters={"colour": 1}),
        "streaming": lambda: client.infer(model, [text_input("Hi"), streaming_input()], headers=headers),
        "key": lambda: client.infer(model, [text_input("Hi")], headers={"authorization": "Bearer wrong"}),
        "metadata": lambda: client.get_model_metadata(model),
    }.items():
        try:
            ask()
            codes[name] = "answered"
        except InferenceServerException as error:
            codes[name] = error.status()
    found["refused"] = codes


server()
described()
whole()
chosen()
embedded()
streamed()
refused()
print(json.dumps(found))
