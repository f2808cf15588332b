import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { batchTime, decodeEventBatch } from '#core/kv-events/decode-batch.ts';
import type { EngineEvent } from '#core/kv-events/engine-event.ts';
import { EventConverter } from '#core/kv-events/event-converter.ts';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { AdapterSchema } from '#gen/stator/model/v1/model_pb.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { followPublisher } from '#lib/zmq/subscription.ts';
import { hashChain } from '#native/tokens/index.ts';
import { EngineDriver } from '../common/conformance-driver.ts';
import type { KvEventChange } from '../common/engine.ts';
import { BlockTokens } from './block-tokens.ts';
import { MockerEngine } from './engine.ts';
import { packMessage } from './msgpack-writer.ts';
import { rejection } from './testing.ts';

const blockSize = 8;
const quiet = {
  delivered() {},
  gap() {},
  lost() {},
  stale() {},
  overflowed() {},
  restarted() {},
  replayFailed() {},
  garbled() {},
};

/** Blocks that vLLM-like events leave behind, by tier and by the hashes that are ours. */
class RawFollower {
  readonly blocks = new Set<string>();
  readonly adapters = new Set<string>();
  messages = 0;
  readonly #faults: string[] = [];
  readonly #converter = new EventConverter(
    { dataParallelRank: 0, blockSize, maxBlocks: 10_000, placeholders: { image: null, video: null }, hashChain },
    {
      applied: () => {},
      unmatched: (blocks) => this.#faults.push(`${blocks} unmatched`),
      dropped: (reason, detail) => this.#faults.push(`${reason}: ${detail}`),
    },
  );

  get faults(): readonly string[] {
    return this.#faults;
  }

  apply(payload: Uint8Array): void {
    this.messages++;
    for (const event of decodeEventBatch(payload).events) this.#apply(event);
  }

  #apply(event: EngineEvent): void {
    if (event.type === 'stored') this.adapters.add(event.adapter);
    for (const change of this.#converter.convert(event)) applyTo(this.blocks, change);
  }
}

function applyTo(blocks: Set<string>, { change }: KvEventChange): void {
  if (change.case !== 'stored' && change.case !== 'removed') return;
  for (const hash of unpackHashes(change.value.sequenceHashes)) {
    if (change.case === 'stored') blocks.add(`${change.value.tier} ${hash}`);
    else blocks.delete(`${change.value.tier} ${hash}`);
  }
}

describe("mocker: KV events in vLLM's form", () => {
  let folder: string;
  let engine: MockerEngine;
  const stop = new AbortController();

  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'stator-zmq-'));
  });

  after(async () => {
    stop.abort();
    await engine?.stop();
    await rm(folder, { recursive: true });
  });

  it('tell of the same cache as the other events, to who listens and to who asks later', async () => {
    const zmq = { endpoint: `ipc://${folder}/events`, replayEndpoint: `ipc://${folder}/replay` };
    const offload = {
      hostBlocks: 6,
      diskBlocks: 6,
      hostGigabytesPerSecond: 0,
      diskGigabytesPerSecond: 0,
      bytesPerToken: 0,
    };
    const shape = { blockSize, kvBlocks: 10, contextLength: 80, meanOutputTokens: 0 };
    engine = new MockerEngine({ ...shape, zmq, simulation: { offload } });
    await engine.loadAdapter(create(AdapterSchema, { name: 'tuned' }));
    const driver = new EngineDriver(engine);
    await driver.host.start(new AbortController().signal, () => {});
    const early = new RawFollower();
    follow(early, zmq);
    const generate = async (first: number, adapter = ''): Promise<void> => {
      const tokenIds = [...Array.from({ length: 20 }, (_, i) => 40 + i), first];
      await driver.run({ tokenIds, adapter, stop: { maxTokens: 24, ignoreEos: true } });
    };
    for (let i = 0; i < 6; i++) await generate(100 + i, i % 2 === 0 ? '' : 'tuned');
    const late = new RawFollower();
    follow(late, zmq);
    for (const follower of [early, late])
      while (follower.messages === 0 || sorted(follower.blocks) !== sorted(cached())) await generate(200);
    for (const follower of [early, late]) {
      expect(follower.faults).to.deep.equal([]);
      expect(follower.adapters).to.deep.equal(new Set(['', 'tuned']));
    }
    expect(await engine.clearCache()).to.be.greaterThan(0);
    await until(() => early.blocks.size === 0 && late.blocks.size === 0, 'nothing is left');
  });

  it('cannot be published where somebody else does', async () => {
    const second = new MockerEngine({ zmq: { endpoint: 'tcp://256.0.0.1:1', replayEndpoint: undefined } });
    const started = second.start({ onStep: () => {}, onFatal: () => {} }, { signal: stop.signal });
    expect(await rejection(started)).to.include({ code: 'invalid_argument', field: 'zmq_kv_events' });
    await second.stop();
  });

  function cached(): Set<string> {
    const blocks = new Set<string>();
    for (const change of engine.kvSnapshot()) applyTo(blocks, change);
    return blocks;
  }

  function follow(follower: RawFollower, o: { endpoint: string; replayEndpoint: string }): void {
    const onMessage = ({ payload }: { payload: Uint8Array }): void => follower.apply(payload);
    const common = { bind: false, topic: '', maxWaiting: 1000, replayTimeoutMs: 15_000, tally: quiet };
    void followPublisher({ ...o, ...common, onMessage, onReset: () => {}, timeOf: batchTime }, stop.signal);
  }
});

function sorted(blocks: ReadonlySet<string>): string {
  return [...blocks].sort().join();
}

describe('mocker: tokens of blocks', () => {
  it('are kept while somebody may need them', () => {
    const tokens = new BlockTokens();
    tokens.use(1n, '', () => [1, 2]);
    tokens.use(1n, '', () => []);
    expect(tokens.stored(1n, 0)).to.deep.equal([1, 2]);
    expect(tokens.stored(1n, 1)).to.deep.equal([1, 2]);
    tokens.release(1n);
    tokens.release(1n);
    tokens.removed(1n, 0);
    tokens.settle();
    expect(tokens.size).to.equal(1);
    tokens.removed(1n, 1);
    expect(tokens.size, 'another tier may take it').to.equal(1);
    tokens.settle();
    expect(tokens.size).to.equal(0);
    tokens.use(2n, 'a', () => [3]);
    expect(tokens.adapterOf(2n)).to.equal('a');
    tokens.release(2n);
    expect(tokens.size).to.equal(0);
  });
});

describe('msgpack', () => {
  it('is written as its specification says', () => {
    const hex = (value: Parameters<typeof packMessage>[0]): string => Buffer.from(packMessage(value)).toString('hex');
    expect(hex(null)).to.equal('c0');
    expect([0, 127, 128, 65_535, 65_536].map(hex)).to.deep.equal(['00', '7f', 'cd0080', 'cdffff', 'ce00010000']);
    expect(hex(2n ** 64n - 1n)).to.equal('cfffffffffffffffff');
    expect(hex(1.5)).to.equal('cb3ff8000000000000');
    expect(hex('GPU')).to.equal('db00000003475055');
    expect(hex([1, [null]])).to.equal('920191c0');
    const long = Array.from({ length: 1000 }, (_, i) => i);
    expect(packMessage(long)).to.have.length(5 + 128 + 3 * 872);
  });
});
