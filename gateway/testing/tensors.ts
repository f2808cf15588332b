import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { expect } from 'chai';
import {
  GRPCInferenceService,
  type InferParameterSchema,
  type ModelInferRequest,
  ModelInferRequestSchema,
  type ModelInferResponse,
} from '#gen/inference/kserve_pb.ts';
import { EmbedResponseSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { GatewayConfig } from '../config.ts';
import { kserveHandlers } from '../kserve/handlers.ts';
import { type Harness, startHarness, testCard } from './harness.ts';
import { answering, ScriptedWorker } from './scripted-worker.ts';

type Parameter = MessageInitShape<typeof InferParameterSchema>['parameterChoice'];

export function textInput(text: string) {
  return {
    name: 'text_input',
    datatype: 'BYTES',
    shape: [1n],
    contents: { bytesContents: [Buffer.from(text)] },
  };
}

export function streamInput(value: boolean, name = 'streaming') {
  return { name, datatype: 'BOOL', shape: [1n], contents: { boolContents: [value] } };
}

export function asking(
  text: string,
  more: Partial<MessageInitShape<typeof ModelInferRequestSchema>> = {},
  parameters: Record<string, Parameter> = {},
): ModelInferRequest {
  const named = Object.entries(parameters).map(([name, parameterChoice]) => [name, { parameterChoice }]);
  return create(ModelInferRequestSchema, {
    modelName: 'test-model',
    inputs: [textInput(text)],
    parameters: Object.fromEntries(named),
    ...more,
  } as MessageInitShape<typeof ModelInferRequestSchema>);
}

export function outputOf(response: ModelInferResponse | undefined, name: string): string[] {
  const tensor = response?.outputs.find((one) => one.name === name);
  expect(tensor?.shape).to.deep.equal([BigInt(tensor?.contents?.bytesContents.length ?? -1)]);
  return (tensor?.contents?.bytesContents ?? []).map((bytes) => Buffer.from(bytes).toString());
}

export async function refusal(promise: Promise<unknown>): Promise<StatorError> {
  try {
    await promise;
  } catch (thrown) {
    return StatorError.from(thrown);
  }
  throw new Error('it was not refused');
}

/** A gateway with one worker, and a client of its tensors. */
export interface TensorWorld {
  readonly gateway: Harness;
  readonly worker: ScriptedWorker;
  readonly client: Client<typeof GRPCInferenceService>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** `script`: what the worker does with every sequence; null: nothing. */
export async function tensorWorld(
  config: Partial<GatewayConfig> = {},
  script: ScriptedWorker['script'] = answering('Hello'),
): Promise<TensorWorld> {
  const gateway = await startHarness(config);
  const worker = new ScriptedWorker(script);
  gateway.addWorker(1n, worker);
  const client = createLocalClient(GRPCInferenceService, kserveHandlers(gateway.context));
  return { gateway, worker, client, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() };
}

/** Adds a model that embeds, whose vectors of four components begin with the number of tokens. */
export function addVectors(gateway: Harness, name = 'vectors'): void {
  const worker = new ScriptedWorker();
  worker.calls = {
    embed: async ({ inputs = [] }) =>
      create(EmbedResponseSchema, {
        embeddings: inputs
          .map(({ tokenIds = [] }, index) => ({ index, values: [tokenIds.length, 0, 3, 4] }))
          .toReversed(),
      }),
  };
  const card = testCard({ name, aliases: [] });
  const tasks = { tasks: [Task.EMBEDDING], embeddingDimensions: 4 };
  const capabilities = card.capabilities && { ...card.capabilities, ...tasks };
  gateway.addWorker(2n, worker, { ...card, ...(capabilities ? { capabilities } : {}) });
}

/** The same by gRPC, on a free port. */
export function serveTensors({ context }: Harness): Promise<RpcServer> {
  return startRpcServer({
    listen: '127.0.0.1:0',
    services: [GRPCInferenceService],
    routes: (router) => void router.service(GRPCInferenceService, kserveHandlers(context)),
    telemetry: quietTelemetry(),
  });
}
