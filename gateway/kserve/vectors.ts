import { endianness } from 'node:os';
import { create } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import {
  type ModelInferRequest,
  type ModelInferResponse,
  ModelInferResponse_InferOutputTensorSchema,
  ModelInferResponseSchema,
} from '#gen/inference/kserve_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { FieldNames } from '../api/field-names.ts';
import { embeddingRequest } from '../api/schemas/embedding.ts';
import { embeddingOptions } from '../api/translate/embedding-options.ts';
import { validateBody } from '../api/validate.ts';
import type { GatewayContext } from '../context.ts';
import { headersOf } from '../handlers/request.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import { embed } from '../pipeline/embed.ts';
import type { RequestRecord } from '../telemetry/request-record.ts';
import { nameOf, onlyVersion } from './models.ts';
import { embeddingFields, readParameters } from './parameters.ts';
import { outputsOf } from './request.ts';
import { readTexts } from './tensors.ts';

/** The one output of models that embed: a row for each text. */
export const vectorsOutput = 'embeddings';

/** What a client of this API calls the fields of a request for embeddings. */
const fieldNames = new FieldNames(
  [
    [/^model$/, 'model_name'],
    [/^input(?=$|[.[])/, 'text_input'],
    [new RegExp(`^(?=(${[...embeddingFields.plain].join('|')})($|[.[]))`), 'parameters.'],
  ],
  'text_input',
);

/** Embeds the texts of a request. Throws StatorError in the client's words. */
export async function inferVectors(
  ctx: GatewayContext,
  record: RequestRecord,
  model: ResolvedModel,
  { request, context, signal }: { request: ModelInferRequest; context: HandlerContext; signal: AbortSignal },
): Promise<ModelInferResponse> {
  const { id, modelName } = request;
  outputsOf(request, [vectorsOutput]);
  const { body, headers } = readParameters(request.parameters, headersOf(context), embeddingFields);
  const user = id === '' || id.length > 512 ? {} : { user: id };
  try {
    const valid = validateBody(embeddingRequest, { ...user, ...body, model: modelName, input: readTexts(request) });
    const { vectors } = await embed(ctx, model, embeddingOptions(valid, model, { record, headers, signal }));
    return vectorsResponse(id, nameOf(model), vectors, request.rawInputContents.length > 0);
  } catch (thrown) {
    throw fieldNames.inClientTerms(StatorError.from(thrown));
  }
}

function vectorsResponse(
  id: string,
  modelName: string,
  vectors: readonly Float32Array[],
  raw: boolean,
): ModelInferResponse {
  const shape = [BigInt(vectors.length), BigInt(vectors[0]?.length ?? 0)];
  const contents = raw ? {} : { contents: { fp32Contents: vectors.flatMap((vector) => [...vector]) } };
  return create(ModelInferResponseSchema, {
    modelName,
    modelVersion: onlyVersion,
    id,
    outputs: [
      create(ModelInferResponse_InferOutputTensorSchema, { name: vectorsOutput, datatype: 'FP32', shape, ...contents }),
    ],
    rawOutputContents: raw ? [littleEndian(vectors)] : [],
  });
}

function littleEndian(vectors: readonly Float32Array[]): Uint8Array {
  const bytes = Buffer.concat(vectors.map((one) => Buffer.from(one.buffer, one.byteOffset, one.byteLength)));
  return endianness() === 'LE' ? bytes : bytes.swap32();
}
