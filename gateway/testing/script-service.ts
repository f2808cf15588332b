import { create } from '@bufbuild/protobuf';
import { InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason, type GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { TokenizerService } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { type SequenceRunner, type SessionSequence, SessionServer } from '#lib/rpc/session/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { byteTokenizer, encodeBytes } from './byte-tokenizer.ts';
import { testCard } from './harness.ts';

/** A worker behind real gRPC whose every answer is one text, a token a turn of the event loop. */
export class TextWorker implements SequenceRunner, AsyncDisposable {
  readonly requests: GenerateRequest[] = [];
  readonly running = new Set<SessionSequence>();
  readonly #text: readonly number[];
  readonly #promptLength: number;
  /** Tokens of a sequence after which it stands still; null: none does. */
  #holdAfter: number | null;
  #sessions: SessionServer | null = null;
  #server: RpcServer | null = null;

  constructor(o: { text: string; promptLength: number; holdAfter?: number }) {
    this.#text = encodeBytes(o.text);
    this.#promptLength = o.promptLength;
    this.#holdAfter = o.holdAfter ?? null;
  }

  async start(instanceId: bigint, discovery: Discovery): Promise<void> {
    const telemetry = quietTelemetry();
    const sessions = new SessionServer({ instanceId, runner: this, telemetry, resumeGraceMs: 200 });
    this.#sessions = sessions;
    this.#server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) =>
        router.service(EngineService, {
          session: (requests, context) => sessions.handle(requests, context),
          embed: ({ inputs }) => ({
            embeddings: inputs.map(({ tokenIds }, index) => ({ index, values: [tokenIds.length, 0, 3, 4] })),
          }),
        }),
    });
    const { address } = this.#server;
    await discovery.register(
      create(InstanceSchema, { instanceId, kind: ServiceKind.WORKER, address, cards: [testCard()] }),
    );
  }

  submit(sequence: SessionSequence, request: GenerateRequest): void {
    this.requests.push(request);
    this.running.add(sequence);
    const first = request.tokenIds.length - this.#promptLength;
    setImmediate(() => this.#step(sequence, first, request.stop?.maxTokens ?? 0));
  }

  cancel(sequence: SessionSequence): void {
    this.#finish(sequence, FinishReason.CANCELLED);
  }

  /** Dies without a word. */
  async kill(): Promise<void> {
    this.#sessions?.close();
    await this.#server?.stop(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #step(sequence: SessionSequence, index: number, left: number): void {
    if (!this.running.has(sequence) || index === this.#holdAfter) return;
    const token = this.#text[index];
    if (token === undefined || left === 0) {
      this.#finish(sequence, token === undefined ? FinishReason.STOP : FinishReason.LENGTH);
      return;
    }
    sequence.addToken(token);
    this.#sessions?.flushStep();
    setImmediate(() => this.#step(sequence, index + 1, left - 1));
  }

  #finish(sequence: SessionSequence, reason: FinishReason): void {
    if (!this.running.delete(sequence)) return;
    sequence.finished({ reason });
    this.#sessions?.flushStep();
  }
}

/** The tokenizer of bytes as a service of its own. */
export async function startByteTokenizer(instanceId: bigint, discovery: Discovery): Promise<RpcServer> {
  const tokenizer = byteTokenizer();
  const server = await startRpcServer({
    listen: '127.0.0.1:0',
    telemetry: quietTelemetry(),
    services: [TokenizerService],
    routes: (router) =>
      router.service(TokenizerService, {
        preprocess: (request) => tokenizer.preprocess(request),
        encode: (request) => tokenizer.encode(request),
        getTokenizer: (request) => tokenizer.getTokenizer(request),
      }),
  });
  const { address } = server;
  await discovery.register(create(InstanceSchema, { instanceId, kind: ServiceKind.TOKENIZER, address }));
  return server;
}
