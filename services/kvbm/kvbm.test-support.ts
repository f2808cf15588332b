import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { pino } from 'pino';
import type { Registry } from 'prom-client';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import {
  type AttachResponse,
  type AttachWelcome,
  type BlockChain,
  BlockChainSchema,
  KvBlockService,
  type OnboardResponse,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { newInstanceId } from '#lib/service/parts.ts';
import { openSharedMemory, type SharedMemory } from '#lib/sharedmem/shared-memory.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { type KvbmConfig, kvbmSettings } from './config.ts';
import type { OpenLowerTiers } from './create-context.ts';
import { type KvbmService, startKvbm } from './service.ts';

export const blockBytes = 10_000;
export const layout = { format: 'test-1', blockBytes: BigInt(blockBytes), blockTokens: 16, dtype: 'f16' };

/** The block of a prompt at an index; prompts are told apart by name. Bytes are a function of both. */
export function blockBytesOf(prompt: string, index: number): Buffer {
  const bytes = Buffer.alloc(blockBytes);
  const seed = Buffer.from(`${prompt}/${index}|`);
  for (let at = 0; at < blockBytes; at += seed.length) seed.copy(bytes, at);
  return bytes;
}

export function digestOf(prompt: string, index: number): Buffer {
  const digest = Buffer.alloc(16);
  digest.writeBigUInt64LE(xxh3(Buffer.from(`${prompt}:${index}`)));
  digest.writeBigUInt64LE(xxh3(Buffer.from(`${prompt}.${index}`)), 8);
  return digest;
}

export function hashOf(prompt: string, index: number): bigint {
  return xxh3(Buffer.from(`${prompt}#${index}`));
}

export function chain(namespace: number, prompt: string, from: number, count: number): BlockChain {
  const indexes = Array.from({ length: count }, (_, at) => from + at);
  return create(BlockChainSchema, {
    namespace,
    startBlock: from,
    ...(from === 0 ? {} : { parentDigest: digestOf(prompt, from - 1), parentSequenceHash: hashOf(prompt, from - 1) }),
    digests: Buffer.concat(indexes.map((index) => digestOf(prompt, index))),
    sequenceHashes: packHashes(BigUint64Array.from(indexes, (index) => hashOf(prompt, index))),
  });
}

export async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const messages: T[] = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

export async function refusal(run: Promise<unknown>): Promise<string> {
  const error = await run.then(() => null, StatorError.from);
  return error === null ? 'none' : `${error.code} ${error.field ?? ''}`.trim();
}

/** What a test may say of a worker beside the usual. */
export interface AttachOptions {
  readonly layout?: typeof layout;
  readonly lockFile?: string;
  readonly events?: boolean;
  readonly name?: string;
}

/** A block manager in this process with a directory of its own, and workers that attach to it. */
export class TestKvbm {
  readonly folder = mkdtempSync(join(tmpdir(), 'stator-kvbm-'));
  registry: Registry = quietTelemetry().metrics;
  /** What it logged. */
  readonly records: Record<string, unknown>[] = [];
  readonly #settings: Partial<KvbmConfig>;
  readonly #lower: OpenLowerTiers | undefined;
  readonly #workers: TestWorker[] = [];
  #discovery: Discovery | undefined;
  #service: KvbmService | undefined;
  #rpc: RpcClient<typeof KvBlockService> | undefined;

  constructor(settings: Partial<KvbmConfig> = {}, lower?: OpenLowerTiers) {
    this.#settings = {
      slabDir: join(this.folder, 'slabs'),
      hostMib: 1,
      heartbeatMs: 20,
      lostPollMs: 5,
      eventIntervalMs: 2,
      peers: false,
      ...settings,
    };
    this.#lower = lower;
  }

  async start(more: Partial<KvbmConfig> = {}): Promise<this> {
    const write = (line: string): void => void this.records.push(JSON.parse(line));
    const telemetry = { ...quietTelemetry(), log: pino({ level: 'debug' }, { write }) };
    this.#discovery = await openDiscovery('memory:', { namespace: 'kvbm', ttlSeconds: 5, telemetry });
    const instanceId = newInstanceId();
    const parts = { telemetry, discovery: this.#discovery, shutdown: new AbortController().signal, instanceId };
    const config = defaultSettings(kvbmSettings, { shutdownGraceSeconds: 1, ...this.#settings, ...more });
    this.#service = await startKvbm(config, parts, this.#lower);
    this.#rpc = createRpcClient(KvBlockService, { address: this.#service.address }, telemetry);
    this.registry = telemetry.metrics;
    return this;
  }

  metrics(): Promise<string> {
    return this.registry.metrics();
  }

  get address(): string {
    return this.#service?.address ?? '';
  }

  get client(): Client<typeof KvBlockService> {
    if (this.#rpc === undefined) throw new Error('it was not started');
    return this.#rpc.client;
  }

  async stop(): Promise<void> {
    for (const worker of this.#workers.splice(0)) await worker.detach();
    this.#rpc?.close();
    await this.#service?.stop();
    await this.#discovery?.close();
  }

  /** Ends it while its workers live on: what they were writing stays as it is. */
  async kill(): Promise<void> {
    await this.#service?.stop();
    this.#rpc?.close();
    await this.#discovery?.close();
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async attach(more: AttachOptions = {}): Promise<TestWorker> {
    const worker = new TestWorker(this.client, this.folder);
    await worker.attach(more);
    this.#workers.push(worker);
    return worker;
  }

  async counter(name: string): Promise<number> {
    return Number((await this.client.stats({})).counters[name] ?? 0n);
  }
}

/** What a worker does, with bytes that are a function of the prompt. */
export class TestWorker {
  readonly lockFile: string;
  readonly messages: AttachResponse[] = [];
  /** Settles with the error, or null, when the stream ends. */
  ended: Promise<unknown> = Promise.resolve(null);
  welcome!: AttachWelcome;
  namespace = 0;
  readonly #client: Client<typeof KvBlockService>;
  readonly #stream = new AbortController();
  readonly #lock: number;
  #slab: SharedMemory | undefined;
  #news: () => void = () => {};

  constructor(client: Client<typeof KvBlockService>, folder: string) {
    this.#client = client;
    this.lockFile = join(folder, `worker-${randomBytes(4).toString('hex')}`);
    this.#lock = openSync(this.lockFile, 'wx+', 0o600);
    hostMemory().own(this.#lock);
  }

  get holderId(): bigint {
    return this.welcome.holderId;
  }

  async attach(more: AttachOptions): Promise<void> {
    const welcomed = Promise.withResolvers<AttachWelcome>();
    const request = { instanceId: 7n, name: 'test', layout, lockFile: this.lockFile, ...more };
    this.ended = this.#read(request, welcomed.resolve).then(
      () => null,
      (error: unknown) => error,
    );
    const first = await Promise.race([welcomed.promise, this.ended]);
    if (first === null || first instanceof Error) throw first ?? new Error('the stream ended');
    this.welcome = first as AttachWelcome;
    const { slabFile: path, slabBytes } = this.welcome;
    this.#slab = await openSharedMemory({ path, bytes: Number(slabBytes), create: false }, hostMemory());
    this.namespace = await this.open('');
  }

  async open(cacheSalt: string, model = 'm'): Promise<number> {
    const spec = { model, modelDigest: Buffer.alloc(32, 9), ranks: 1, cacheSalt };
    return (await this.#client.openNamespace({ holderId: this.holderId, spec })).namespace;
  }

  get slab(): Buffer {
    if (this.#slab === undefined) throw new Error('it is not attached');
    return this.#slab.buffer;
  }

  payload(slot: number): Buffer {
    const from = Number(this.welcome.payloadOffset) + slot * Number(this.welcome.slotStride);
    return this.slab.subarray(from, from + blockBytes);
  }

  generation(slot: number): number {
    return this.slab.readUInt32LE(Number(this.welcome.generationsOffset) + 4 * slot);
  }

  get epoch(): number {
    return this.slab.readUInt32LE(Number(this.welcome.epochOffset));
  }

  async reserve(prompt: string, from: number, count: number, more: { namespace?: number; priority?: number } = {}) {
    const { namespace = this.namespace, priority = 0 } = more;
    return this.#client.reserve({ holderId: this.holderId, chain: chain(namespace, prompt, from, count), priority });
  }

  /** Reserves, writes and commits; returns the outcomes. */
  async store(prompt: string, from: number, count: number, more: { namespace?: number; priority?: number } = {}) {
    const { blocks, slots, generations } = await this.reserve(prompt, from, count, more);
    for (const [at, slot] of slots.entries()) blockBytesOf(prompt, from + (blocks[at] ?? 0)).copy(this.payload(slot));
    return this.commit(
      slots,
      generations,
      blocks.map((block) => blockBytesOf(prompt, from + block)),
    );
  }

  async commit(slots: number[], generations: number[], written: readonly Buffer[], epoch = this.welcome.epoch) {
    const checksums = written.map((bytes) => xxh3(bytes));
    const bytes = written.map(({ length }) => BigInt(length));
    const request = { holderId: this.holderId, epoch, slots, generations, checksums, bytes };
    return (await this.#client.commit(request)).outcomes;
  }

  refusedCommit(slots: number[], generations: number[], epoch: number): Promise<string> {
    return refusal(
      this.commit(
        slots,
        generations,
        slots.map((_, at) => blockBytesOf('x', at)),
        epoch,
      ),
    );
  }

  async match(prompt: string, count: number, namespace = this.namespace): Promise<number[]> {
    const request = { holderId: this.holderId, chain: chain(namespace, prompt, 0, count) };
    return [...(await this.#client.match(request)).tiers];
  }

  onboard(prompt: string, from: number, count: number, more: { timeoutMs?: number; namespace?: number } = {}) {
    const { namespace = this.namespace, ...rest } = more;
    const request = { holderId: this.holderId, chain: chain(namespace, prompt, from, count), ...rest };
    return this.#client.onboard(request);
  }

  /** Onboards, copies and checks like a worker; returns blocks read, the end, and which of them were not as promised. */
  async read(prompt: string, count: number, more: { timeoutMs?: number; namespace?: number } = {}) {
    const messages: OnboardResponse[] = [];
    const wrong: number[] = [];
    let blocks = 0;
    for await (const message of this.onboard(prompt, 0, count, more)) {
      messages.push(message);
      for (const [at, slot] of message.slots.entries()) {
        const copy = Buffer.from(this.payload(slot).subarray(0, Number(message.bytes[at])));
        const isSound = xxh3(copy) === message.checksums[at] && this.generation(slot) === message.generations[at];
        if (!isSound) wrong.push(message.from + at);
        else if (!copy.equals(blockBytesOf(prompt, message.from + at))) throw new Error('another block was read');
        blocks++;
      }
    }
    const leaseIds = messages.filter(({ slots }) => slots.length > 0).map(({ leaseId }) => leaseId);
    const tiers = messages.flatMap((message) => [...message.tiers]);
    return { blocks, end: messages.at(-1)?.end, wrong, leaseIds, tiers, messages };
  }

  async release(leaseIds: bigint[], suspectSlots: number[] = []): Promise<void> {
    await this.#client.release({ holderId: this.holderId, leaseIds, suspectSlots });
  }

  /** Resolves once the condition holds of the messages. */
  async told(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#news = resolve));
  }

  /** Breaks the stream off; the lock stays. */
  async cut(): Promise<void> {
    this.#stream.abort();
    await this.ended;
  }

  /** Ends as a process does: the lock goes too. */
  async detach(): Promise<void> {
    await this.cut();
    await this.#slab?.close();
    if (this.#slab !== undefined) closeSync(this.#lock);
    this.#slab = undefined;
  }

  /** The lock goes, as when the process dies. */
  die(): void {
    closeSync(this.#lock);
    void this.#slab?.close();
    this.#slab = undefined;
  }

  async #read(request: AttachOptions & { instanceId: bigint }, welcomed: (welcome: AttachWelcome) => void) {
    for await (const response of this.#client.attach(request, { signal: this.#stream.signal })) {
      this.messages.push(response);
      if (response.message.case === 'welcome') welcomed(response.message.value);
      this.#news();
    }
  }
}
