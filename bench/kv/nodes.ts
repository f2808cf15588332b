// Two nodes as processes: a block manager with all tiers and one with host memory alone, each with llama.cpp workers of one thread.
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { MissingTool } from '#bench/report.ts';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { type BlockTier, KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { attached, Machine, type TestProcess, type WorkerProcess } from '#tests/kv-tiers/processes.ts';
import { findDefaultModel } from '#tests/support/model.ts';
import { type ObjectServer, startVersitygw } from '#tests/support/object-servers.ts';
import type { Overrides } from '#tests/support/stator-process.ts';

export const blockTokens = 64;
const waitMs = 120_000;

/** A block manager that can be looked into. */
export class Node {
  readonly #rpc: RpcClient<typeof KvBlockService>;

  constructor(process: TestProcess) {
    this.#rpc = createRpcClient(KvBlockService, { address: process.address }, quietTelemetry());
  }

  /** Blocks that a tier has. */
  async blocks(tier: BlockTier): Promise<number> {
    const { arenas } = await this.#rpc.client.stats({});
    return arenas.filter((arena) => arena.tier === tier).reduce((sum, { registered }) => sum + Number(registered), 0);
  }

  /** Waits until a tier has so many blocks. */
  async until(tier: BlockTier, blocks: number): Promise<void> {
    const deadline = performance.now() + waitMs;
    while ((await this.blocks(tier)) < blocks) {
      if (performance.now() > deadline)
        throw new Error(`tier ${tier} has ${await this.blocks(tier)} of ${blocks} blocks`);
      await sleep(20);
    }
  }

  async evict(tier: BlockTier): Promise<void> {
    await this.#rpc.client.evict({ tier, count: 1_000_000n });
  }

  close(): void {
    this.#rpc.close();
  }
}

export interface Answered {
  /** Until the first token. */
  readonly ttftMs: number;
  readonly cachedTokens: number;
  /** Between tokens. */
  readonly gapsMs: readonly number[];
}

export class Nodes implements AsyncDisposable {
  readonly #machine = new Machine();
  readonly #closing: { close(): void }[] = [];
  readonly #model: string;
  #objects: ObjectServer | null = null;

  private constructor(model: string) {
    this.#model = model;
  }

  /** Throws MissingTool without the default model. */
  static async open(): Promise<Nodes> {
    const model = await findDefaultModel();
    if (model === undefined) throw new MissingTool('The default model is not here: stator pull fetches it.');
    const nodes = new Nodes(model);
    nodes.#objects = await startVersitygw();
    return nodes;
  }

  /** Whether the object store is a real S3 server; otherwise it is a directory. */
  get hasS3(): boolean {
    return this.#objects !== null;
  }

  async kvbm(name: string, lower: boolean): Promise<{ node: Node; address: string }> {
    const { folder } = this.#machine;
    const common = {
      slabDir: `/dev/shm/stator-bench-${process.pid}-${name}`,
      hostMib: 768,
      layoutHostMib: 768,
      discard: true,
    };
    const below = lower ? { diskDir: `${folder}/disk-${name}`, diskMib: 2048, ...this.#objectSettings(folder) } : {};
    const started = await this.#machine.kvbm({ ...common, ...below, findTimeoutMs: 2000, peers: true });
    const node = new Node(started);
    this.#closing.push(node);
    return { node, address: started.address };
  }

  async worker(kvbm: string, settings: Overrides = {}): Promise<WorkerProcess> {
    const worker = await this.#machine.worker('llamacpp', {
      model: [this.#model],
      threads: 1,
      contextLength: 4608,
      kvTokens: 9216,
      kvBlockSize: blockTokens,
      kvbm,
      kvOnboard: 'always',
      ...settings,
    });
    if (kvbm !== 'off') await attached(worker);
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#closing) each.close();
    await this.#machine[Symbol.asyncDispose]();
    await this.#objects?.stop();
  }

  #objectSettings(folder: string): Overrides {
    if (this.#objects === null) return { objectStore: `file:${folder}/objects` };
    const { port, accessKeyId, secret } = this.#objects;
    return {
      objectStore: 's3://stator-test/kv',
      objectStoreEndpoint: `http://127.0.0.1:${port}`,
      objectStoreRegion: 'us-east-1',
      objectStorePathStyle: 'path',
      objectStoreAccessKeyId: accessKeyId,
      objectStoreSecret: secret,
    };
  }
}

/** A prompt of so many tokens that shares no block with those of other numbers. */
export function promptOf(number: number, tokens: number): number[] {
  return Array.from(
    { length: tokens },
    (_, at) => 1000 + ((at * 37 + number * 7919 + (at >> 4) * number * 13) % 15_000),
  );
}

export async function ask(worker: WorkerProcess, tokenIds: readonly number[], maxTokens = 1): Promise<Answered> {
  const request = create(GenerateRequestSchema, {
    tokenIds: [...tokenIds],
    stop: { maxTokens, ignoreEos: true },
    sampling: { temperature: 0 },
  });
  const begin = performance.now();
  let last = begin;
  let ttftMs = 0;
  let cachedTokens = 0;
  const gapsMs: number[] = [];
  for await (const { tokenIds: tokens, usage } of worker.rpc.client.generate(request, { timeoutMs: 300_000 })) {
    const now = performance.now();
    cachedTokens = usage?.cachedTokens ?? cachedTokens;
    if (tokens.length === 0) continue;
    if (ttftMs === 0) ttftMs = now - begin;
    else gapsMs.push(now - last);
    last = now;
  }
  return { ttftMs, cachedTokens, gapsMs };
}
