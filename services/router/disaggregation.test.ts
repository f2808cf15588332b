import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { type KvReach, KvReach_Enforcement, KvReachSchema, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { RouterMode, RoutingConstraintsSchema } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterConfig } from './config.ts';
import {
  codeOf,
  eventually,
  routeRequest,
  type TestRouter,
  TestRouters,
  workerInstance,
} from './router.test-support.ts';

const { PREFILL, DECODE } = WorkerRole;
const prompt = packHashes(BigUint64Array.of(11n, 12n, 13n, 14n));
const prefillWorker = { id: 1n, card: { role: PREFILL } };
const decodeWorkers = [2n, 3n].map((id) => ({ id, card: { role: DECODE } }));

interface Extra {
  readonly promptTokens?: number;
  readonly sequenceHashes?: Uint8Array;
  readonly constraints?: { role: WorkerRole; excludedInstanceIds: bigint[] };
}

/** A prefill stage of a request whose prompt decode workers may compute. */
const asked = (extra: Extra = {}) =>
  routeRequest({
    promptTokens: 64,
    sequenceHashes: prompt,
    constraints: { role: PREFILL },
    localPrefill: { role: DECODE },
    ...extra,
  });

/** One that nobody but a prefill worker may compute. */
const whole = () => routeRequest({ promptTokens: 64, sequenceHashes: prompt, constraints: { role: PREFILL } });

describe('stages of split requests', () => {
  const routers = new TestRouters();
  const { signal } = new AbortController();

  afterEach(() => routers.close());

  async function start(config: object | null, more: Partial<RouterConfig> = {}): Promise<TestRouter> {
    const conditional =
      config === null ? {} : { conditionalDisagg: true, conditionalDisaggConfig: JSON.stringify(config) };
    return routers.start([prefillWorker, ...decodeWorkers], { ...conditional, ...more });
  }

  async function cachePrompt({ index }: TestRouter, instanceId: bigint, blocks = 4): Promise<void> {
    const sequenceHashes = prompt.slice(0, 8 * blocks);
    const change = { case: 'stored' as const, value: { tier: Tier.DEVICE, sequenceHashes } };
    await index.apply({ model: 'm', instanceId, events: [{ change }] });
  }

  it('go to a prefill worker, always, unless something else is set', async () => {
    const test = await start(null);
    await cachePrompt(test, 3n);
    const decision = await test.router.client.route(asked(), signal);
    expect(decision).to.include({ instanceId: 1n, role: PREFILL });
    expect(decision.disaggregation).to.include({ remote: true, policy: 'off' });
    const plain = await test.router.client.route(whole(), signal);
    expect(plain.disaggregation).to.equal(undefined);
  });

  it('stay with the decode worker that has most of the prompt, which then counts as work there', async () => {
    const test = await start({});
    await cachePrompt(test, 3n, 3);
    const request = asked();
    const { decision: explained } = await test.client.explain({ route: request });
    const decision = await test.router.client.route(request, signal);
    for (const one of [explained, decision]) {
      expect(one).to.include({ instanceId: 3n, role: DECODE, overlapTokens: 48 });
      const { $typeName: _, ...told } = one?.disaggregation ?? {};
      expect(told).to.deep.include({
        ...{ remote: false, policy: 'isl_bounding', reason: 'mostly_cached', netNewTokens: 16 },
        ...{ decodeInstanceId: 3n, prefillInstanceId: 1n },
      });
    }
    const { loads } = await test.client.getLoads({});
    const load = loads.find(({ instanceId }) => instanceId === 3n);
    expect(load).to.include({ activeRequests: 1, activePrefillTokens: 16n });
    expect(await test.metrics()).to.include(
      'stator_router_disaggregation_total{policy="isl_bounding",decision="local",because="mostly_cached"} 1',
    );
    expect(await codeOf(test.router.client.route(request, signal)), 'the same request again').to.equal(
      'invalid_argument',
    );
  });

  it('go to the prefill worker where much is new', async () => {
    const test = await start({});
    const decision = await test.router.client.route(asked(), signal);
    expect(decision).to.include({ instanceId: 1n, role: PREFILL });
    expect(decision.disaggregation).to.include({ remote: true, reason: 'mostly_new', netNewTokens: 64 });
  });

  it('pass by a prefill worker that is busy, and one that is given nothing more', async () => {
    for (const [more, config] of [
      [{}, { policy: 'prefill_load', prefill_busy_threshold: 3 }],
      [{ busyPrefillTokens: 60 }, { policy: 'isl_or_load' }],
      // Who would wait in the queue rather than at once.
      [{ queueThreshold: 3 }, { policy: 'prefill_load' }],
    ] as const) {
      const test = await start(config, more);
      expect((await test.router.client.route(asked(), signal)).instanceId).to.equal(1n);
      const second = await test.router.client.route(asked(), signal);
      expect(second.role, JSON.stringify(config)).to.equal(DECODE);
      expect(second.disaggregation).to.include({ remote: false, reason: 'prefill_busy' });
      await routers.close();
    }
  });

  it('stay with decode workers while too many wait for prefill, by the first rule', async () => {
    const test = await start({ policy: 'local_length', max_local_prefill_length: 16, max_prefill_queue_size: 1 });
    expect((await test.router.client.route(asked(), signal)).role).to.equal(PREFILL);
    expect((await test.router.client.route(asked(), signal)).disaggregation?.reason).to.equal('prefill_busy');
    const short = { promptTokens: 16, sequenceHashes: prompt.slice(0, 8) };
    expect((await test.router.client.route(asked(short), signal)).disaggregation?.reason).to.equal('short');
  });

  it('spare decode workers that hold much, and need the mode kv', async () => {
    const test = await start({ decode_busy_threshold: 0.03 });
    await cachePrompt(test, 2n);
    // How much a worker can hold is known once it has told its load.
    await eventually('it is known what workers can hold', async () => {
      const { decision } = await test.client.explain({ route: asked() });
      return decision?.disaggregation?.reason === 'decode_busy';
    });
    const guarded = await test.router.client.route(asked(), signal);
    expect(guarded.disaggregation).to.include({ remote: true, reason: 'decode_busy' });
    await routers.close();
    const random = await start({}, { decodeMode: 'random' });
    const decision = await random.router.client.route(asked(), signal);
    expect(decision.disaggregation).to.include({ remote: true, reason: 'mode_is_not_kv' });
  });

  it('go to decode workers where no prefill worker may serve them', async () => {
    const test = await start({});
    const constraints = { role: PREFILL, excludedInstanceIds: [1n] };
    const decision = await test.router.client.route(asked({ constraints }), signal);
    expect(decision.disaggregation).to.include({ remote: false, reason: 'no_prefill_worker' });
  });

  it('name what is wrong in the settings', async () => {
    for (const [text, field] of [
      ['{"policy":"x"}', 'conditional_disagg_config.policy'],
      ['{"eff_isl_ratio":2}', 'conditional_disagg_config.eff_isl_ratio'],
      ['{"speed":1}', 'conditional_disagg_config'],
      ['{', 'conditional_disagg_config'],
    ] as const) {
      const thrown = await routers
        .start([], { conditionalDisagg: true, conditionalDisaggConfig: text })
        .catch((error: unknown) => error);
      expect(StatorError.from(thrown), text).to.include({ code: 'invalid_argument', field });
    }
  });

  describe('and where workers stand', () => {
    async function placed(reach: KvReach, decodeZone: string): Promise<TestRouter> {
      const test = await routers.start([], {});
      for (const [id, role, zone] of [
        [1n, PREFILL, 'a'],
        [2n, DECODE, 'b'],
        [3n, DECODE, decodeZone],
      ] as const) {
        const worker = workerInstance(id, '', { role });
        worker.topology = { zone };
        for (const card of worker.cards) card.kvReach = reach;
        await test.client.upsertWorker({ worker });
      }
      return test;
    }
    const decodeStage = () => routeRequest({ constraints: { role: DECODE }, prefillInstanceId: 1n });

    it('keep to the domain of the prefill worker where its KV goes no further', async () => {
      const test = await placed(create(KvReachSchema, { domain: 'zone' }), 'a');
      for (let turn = 0; turn < 6; turn++)
        expect((await test.router.client.route(decodeStage(), signal)).instanceId).to.equal(3n);
      await routers.close();
      const none = await placed(create(KvReachSchema, { domain: 'zone' }), 'c');
      expect(await codeOf(none.router.client.route(decodeStage(), signal))).to.equal('worker_unavailable');
    });

    it('are drawn to it by a weight where it may', async () => {
      const enforcement = KvReach_Enforcement.PREFERRED;
      const test = await placed(create(KvReachSchema, { domain: 'zone', enforcement, preferredWeight: 1 }), 'a');
      const { costs } = await test.client.explain({ route: decodeStage() });
      const preferenceOf = (id: bigint) => costs.find(({ instanceId }) => instanceId === id)?.terms['preference'];
      expect(preferenceOf(3n)).to.be.closeTo(Math.exp(-Math.tanh(1)), 1e-9);
      expect(preferenceOf(2n)).to.equal(1);
    });
  });

  it('of a decode worker alone count their prompts', async () => {
    const test = await start(null);
    const request = { ...whole(), computesPrompt: true };
    request.constraints = create(RoutingConstraintsSchema, { role: DECODE });
    expect(await test.router.client.route(request, signal)).to.include({ mode: RouterMode.KV, role: DECODE });
    const { loads } = await test.client.getLoads({});
    expect(loads.reduce((sum, { activePrefillTokens }) => sum + activePrefillTokens, 0n)).to.equal(64n);
  });
});
