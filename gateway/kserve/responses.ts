import { create } from '@bufbuild/protobuf';
import {
  type ModelInferResponse,
  ModelInferResponse_InferOutputTensorSchema,
  ModelInferResponseSchema,
} from '#gen/inference/kserve_pb.ts';
import type { Choice } from '../pipeline/choice.ts';
import { onlyVersion } from './models.ts';
import type { OutputName, TensorJob } from './request.ts';
import { lengthBytes } from './tensors.ts';

/** What one response says of one choice. */
export interface ToldChoice {
  readonly index: number;
  readonly text: string;
  /** Empty: it goes on. */
  readonly finishReason: string;
}

export function finishReasonOf(choice: Choice): string {
  return choice.finish === null ? '' : choice.finishReason;
}

/** A response with one element for each of these choices. */
export function inferResponse(
  { id, modelName, outputs, raw }: TensorJob,
  choices: readonly ToldChoice[],
  stream: { final: boolean; several: boolean } | null,
): ModelInferResponse {
  const tensors: Record<OutputName, readonly string[]> = {
    text_output: choices.map(({ text }) => text),
    finish_reason: choices.map(({ finishReason }) => finishReason),
  };
  return create(ModelInferResponseSchema, {
    modelName,
    modelVersion: onlyVersion,
    id,
    outputs: outputs.map((name) => bytesTensor(name, tensors[name], raw)),
    rawOutputContents: raw ? outputs.map((name) => rawTexts(tensors[name])) : [],
    parameters: stream === null ? {} : streamParameters(choices, stream),
  });
}

function bytesTensor(name: OutputName, texts: readonly string[], raw: boolean) {
  const contents = raw ? {} : { contents: { bytesContents: texts.map((text) => Buffer.from(text, 'utf8')) } };
  const shape = [BigInt(texts.length)];
  return create(ModelInferResponse_InferOutputTensorSchema, { name, datatype: 'BYTES', shape, ...contents });
}

/** Every text behind its length in bytes. */
function rawTexts(texts: readonly string[]): Uint8Array {
  return Buffer.concat(
    texts.flatMap((text) => {
      const bytes = Buffer.from(text, 'utf8');
      const length = Buffer.alloc(lengthBytes);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}

/** Whether it is the last response of its request, as Triton says it, and whose text it is where that is not clear. */
function streamParameters([first]: readonly ToldChoice[], { final, several }: { final: boolean; several: boolean }) {
  const isFinal = { parameterChoice: { case: 'boolParam', value: final } } as const;
  if (!several) return { triton_final_response: isFinal };
  const index = { parameterChoice: { case: 'int64Param', value: BigInt(first?.index ?? 0) } } as const;
  return { triton_final_response: isFinal, choice_index: index };
}
