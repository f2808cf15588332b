import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ReleaseHandoffResponseSchema } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { GuidedMode, type ModelCard, NeedSchema, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import {
  type ExplainResponse,
  ExplainResponseSchema,
  type RouteDecision,
  type RouteRequest,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { chunksOf, contentOf } from './testing/answers.ts';
import { decodeBytes } from './testing/byte-tokenizer.ts';
import { ask } from './testing/extended-answers.ts';
import { type Harness, startHarness, testCard } from './testing/harness.ts';
import { ScriptedRouter } from './testing/scripted-router.ts';
import { answering, type ScriptedSequence, ScriptedWorker } from './testing/scripted-worker.ts';
import { until } from './testing/until.ts';

const { PREFILL, DECODE, AGGREGATED } = WorkerRole;
const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }], stream: true };

function cardOf(role: WorkerRole): ModelCard {
  const card = testCard({ role, needs: [create(NeedSchema, { roles: [PREFILL, DECODE] })] });
  card.capabilities?.guidedModes.push(GuidedMode.JSON_OBJECT);
  return card;
}

/** A worker that is told of handoffs nobody will fetch. */
class Holder extends ScriptedWorker {
  readonly released: string[] = [];

  constructor() {
    super();
    this.calls = {
      releaseHandoff: async ({ handoffId = '' }) => {
        this.released.push(handoffId);
        return create(ReleaseHandoffResponseSchema, { released: true });
      },
    };
  }
}

interface Pair extends AsyncDisposable {
  readonly gateway: Harness;
  readonly prefill: Holder;
  readonly decode: ScriptedWorker;
}

/** A prefill worker with the number 1 and a decode worker with the number 2. */
async function startPair(router?: ScriptedRouter): Promise<Pair> {
  const gateway = await startHarness({}, router);
  const [prefill, decode] = [new Holder(), new ScriptedWorker()];
  gateway.addWorker(1n, prefill, cardOf(PREFILL));
  gateway.addWorker(2n, decode, cardOf(DECODE));
  return { gateway, prefill, decode, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() };
}

async function metric({ context }: Harness, series: string): Promise<number> {
  const text = await context.telemetry.metrics.metrics();
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? 0);
}

/** Plays the prefill of one sequence: a token, then its KV. */
function prefillWith(token: string, handoffId: string): (sequence: ScriptedSequence) => void {
  return (sequence) => {
    sequence.prefilled();
    sequence.tokens(token);
    sequence.handOff(handoffId);
  };
}

describe('disaggregated serving', () => {
  it('gives the first token from prefill at once, and the rest from decode with the KV of the prompt', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    const asked = { max_tokens: 9, min_tokens: 2, seed: 5, nvext: { extra_fields: ['worker_id', 'timing'] } };
    const pending = gateway.post('/v1/chat/completions', { ...chat, ...asked });
    const first = await prefill.sequence(0);
    expect(first.request).to.include({ prefillOnly: true, resumedOutputTokens: 0 });
    expect(first.request.stop).to.include({ maxTokens: 9, minTokens: 2 });
    first.prefilled(4);
    first.tokens('a');
    // The head comes with the first token, long before decode has anything.
    const response = await pending;
    expect(decode.sequences).to.deep.equal([]);
    first.handOff('h1');
    const second = await decode.sequence(0);
    expect(await metric(gateway, 'stator_gateway_handoffs')).to.equal(1);
    expect(decodeBytes(second.request.tokenIds)).to.equal('<user>Hia');
    expect(second.request).to.include({ prefillOnly: false, resumedOutputTokens: 1 });
    expect(second.request.stop).to.include({ maxTokens: 8, minTokens: 2 });
    expect(second.request.sampling?.seed).to.equal(5n);
    expect(second.request.handoff?.handoffId).to.equal('h1');
    second.prefilled(8);
    second.tokens('bc');
    second.finish();
    const chunks = await chunksOf(response);
    expect(contentOf(chunks, 0)).to.equal('abc');
    const nvext = (chunks.at(-1) as unknown as { nvext: Record<string, Record<string, unknown>> }).nvext;
    expect(nvext['worker_id']).to.include({ prefill_worker_id: '1', decode_worker_id: '2' });
    expect(nvext['timing']).to.include.keys('ttft_ms', 'handoff_time_ms').and.include({ kv_hit_rate: 0.5 });
    expect(await metric(gateway, 'stator_gateway_handoffs')).to.equal(0);
    // Decode has told the holder itself.
    expect(prefill.released).to.deep.equal([]);
  });

  it('ends without decode where prefill ends the text, a stop string does, or one token was asked for', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    prefill.script = (sequence) => {
      sequence.prefilled();
      sequence.finish(FinishReason.STOP, 2);
    };
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', chat)), 0)).to.equal('');
    prefill.script = answering('abc');
    const one = await chunksOf(await gateway.post('/v1/chat/completions', { ...chat, max_tokens: 1 }));
    expect(contentOf(one, 0)).to.equal('a');
    expect(prefill.sequences.at(-1)?.request.prefillOnly).to.equal(false);
    prefill.script = prefillWith('S', 'late');
    const stopped = await chunksOf(await gateway.post('/v1/chat/completions', { ...chat, stop: 'S' }));
    expect(contentOf(stopped, 0)).to.equal('');
    await until(() => prefill.released.length === 1);
    expect(prefill.released).to.deep.equal(['late']);
    expect(decode.sequences).to.deep.equal([]);
    expect(await metric(gateway, 'stator_gateway_handoffs')).to.equal(0);
  });

  it('offers the KV to another decode worker, and computes it anew once output went beyond it', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    const other = new ScriptedWorker();
    const pending = gateway.post('/v1/chat/completions', chat);
    const half = await prefill.sequence(0);
    gateway.addWorker(3n, other, cardOf(DECODE));
    prefillWith('a', 'h1')(half);
    const chosen = await Promise.race([decode.sequence(0), other.sequence(0)]);
    const [dead, alive] = decode.sequences.length > 0 ? [decode, other] : [other, decode];
    chosen.lose();
    const again = await alive.sequence(0);
    expect(again.request.handoff?.handoffId).to.equal('h1');
    expect(prefill.released).to.deep.equal([]);
    again.prefilled();
    again.tokens('b');
    again.lose();
    const anew = await prefill.sequence(1);
    expect(decodeBytes(anew.request.tokenIds)).to.equal('<user>Hiab');
    expect(anew.request).to.include({ prefillOnly: true, resumedOutputTokens: 2 });
    // Both have failed the request; a third may not.
    const third = new ScriptedWorker(answering(''));
    gateway.addWorker(4n, third, cardOf(DECODE));
    prefillWith('c', 'h2')(anew);
    expect(contentOf(await chunksOf(await pending), 0)).to.equal('abc');
    expect(third.sequences[0]?.request.handoff?.handoffId).to.equal('h2');
    expect(dead.running.size + alive.running.size).to.equal(0);
    expect(await metric(gateway, 'stator_gateway_handoffs')).to.equal(0);
  });

  it('gives up KV whose time has passed', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    const pending = gateway.post('/v1/chat/completions', chat);
    const half = await prefill.sequence(0);
    half.tokens('a');
    prefill.script = answering('b');
    half.handOff('old', Date.now() - 1);
    expect(contentOf(await chunksOf(await pending), 0)).to.equal('ab');
    expect(decode.sequences).to.deep.equal([]);
    expect(prefill.released).to.deep.equal(['old']);
  });

  it('frees what is held when the client leaves, whatever is under way', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    const leave = async (before: () => Promise<void>): Promise<void> => {
      const abort = new AbortController();
      const body = { ...chat, stream: false };
      const pending = gateway.post('/v1/chat/completions', body, { signal: abort.signal }).catch(() => null);
      await before();
      abort.abort();
      await pending;
    };
    // While decode fetches.
    await leave(async () => {
      prefillWith('a', 'h0')(await prefill.sequence(0));
      await decode.sequence(0);
    });
    await until(() => prefill.released.length === 1);
    expect(decode.running.size).to.equal(0);
    // While prefill runs, which then ends.
    await leave(async () => void (await prefill.sequence(1)));
    await until(() => prefill.sequences[1]?.cancelled === true);
    prefill.sequences[1]?.handOff('h1');
    await until(() => prefill.released.length === 2);
    // After decode has the KV.
    await leave(async () => {
      prefillWith('a', 'h2')(await prefill.sequence(2));
      (await decode.sequence(1)).prefilled();
    });
    await until(() => decode.running.size === 0);
    expect(prefill.released).to.deep.equal(['h0', 'h1']);
    expect(await metric(gateway, 'stator_gateway_handoffs')).to.equal(0);
  });

  it('lets a decode worker compute the prompt where the router says so or no prefill worker is left', async () => {
    const router = new ScriptedRouter([{ instanceId: 2n, role: DECODE }]);
    await using pair = await startPair(router);
    const { gateway, prefill, decode } = pair;
    decode.script = answering('yes');
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', chat)), 0)).to.equal('yes');
    expect(router.routed[0]?.constraints?.role).to.equal(PREFILL);
    expect(router.routed[0]?.localPrefill?.role).to.equal(DECODE);
    expect(decode.sequences[0]?.request.prefillOnly).to.equal(false);
    expect(decode.sequences[0]?.request.handoff).to.equal(undefined);
    expect(prefill.sequences).to.deep.equal([]);
    expect(await metric(gateway, 'stator_gateway_placed_prompts_total{model="test-model",by="decode"}')).to.equal(1);
  });

  it('explains who computes the prompt, and both decisions', async () => {
    const disaggregation = { remote: true, policy: 'isl_bounding', reason: 'long', netNewTokens: 9 };
    const router = new ScriptedRouter(
      [
        { instanceId: 1n, role: PREFILL, disaggregation },
        { instanceId: 2n, role: DECODE, overlapTokens: 3 },
      ],
      [{ instanceId: 2n, cost: 1 }],
    );
    await using pair = await startPair(router);
    const { gateway, prefill, decode } = pair;
    prefill.script = prefillWith('a', 'h1');
    decode.script = (sequence) => {
      sequence.prefilled();
      sequence.finish();
    };
    const { nvext } = await ask(gateway, { annotations: ['routing'] });
    const routing = nvext?.['routing'] as Record<string, Record<string, unknown>>;
    expect(routing).to.include({ worker_id: '1' });
    expect(routing['prefill']).to.deep.equal({
      remote: true,
      policy: 'isl_bounding',
      reason: 'long',
      net_new_tokens: 9,
    });
    expect(routing['decode']).to.include({ worker_id: '2', overlap_tokens: 3 });
    expect(routing['decode']?.['workers']).to.have.length(1);
    const stages = (await gateway.context.telemetry.metrics.metrics()).match(/stage="(decode_route|handoff)"/g);
    expect(new Set(stages).size).to.equal(2);
  });

  it('answers a dry run with both workers', async () => {
    const decisions = [
      { instanceId: 1n, role: PREFILL },
      { instanceId: 2n, role: DECODE },
    ];
    class Both extends ScriptedRouter {
      override async explain(request: RouteRequest): Promise<ExplainResponse> {
        const stage = request.prefillInstanceId === undefined ? 0 : 1;
        this.explained.push(request);
        return create(ExplainResponseSchema, { decision: decisions[stage] ?? {} });
      }
    }
    const router = new Both(decisions);
    await using pair = await startPair(router);
    const { nvext } = await ask(pair.gateway, { annotations: ['query_instance_id:'] });
    expect(nvext?.['worker_id']).to.include({ prefill_worker_id: '1', decode_worker_id: '2' });
    expect(router.explained.map(({ constraints }) => constraints?.role)).to.deep.equal([PREFILL, DECODE]);
    expect(pair.prefill.sequences.length + pair.decode.sequences.length).to.equal(0);
  });

  it('keeps constrained output on one worker where engines cannot begin it in its middle', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    decode.script = answering('{}');
    prefill.script = prefillWith('{', 'h1');
    const guided = { ...chat, response_format: { type: 'json_object' } };
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', guided)), 0)).to.equal('{}');
    expect(prefill.sequences).to.deep.equal([]);
    expect(decode.sequences[0]?.request.guided).to.not.equal(undefined);
  });

  it('loses no request with the last prefill worker, and prefers aggregated workers then', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    decode.script = answering('alone');
    prefill.refuse = new StatorError('worker_unavailable', 'gone');
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', chat)), 0)).to.equal('alone');
    const whole = new ScriptedWorker(answering('whole'));
    gateway.addWorker(5n, whole, cardOf(AGGREGATED));
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', chat)), 0)).to.equal('whole');
  });

  it('falls back to an aggregated worker when the decode workers are gone', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    const whole = new ScriptedWorker((sequence) => {
      sequence.prefilled();
      sequence.tokens('b');
      sequence.finish();
    });
    gateway.addWorker(5n, whole, cardOf(AGGREGATED));
    decode.script = (sequence) => sequence.lose();
    prefill.script = prefillWith('a', 'h1');
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', chat)), 0)).to.equal('ab');
    expect(whole.sequences[0]?.request.resumedOutputTokens).to.equal(1);
    expect(whole.sequences[0]?.request.handoff).to.equal(undefined);
    await until(() => prefill.released.length === 1);
  });

  it('lets a decode worker compute the prompt again that cannot fetch the KV', async () => {
    /** No decode worker is within the reach of the KV. */
    class Bounded extends ScriptedRouter {
      override async route(request: RouteRequest): Promise<RouteDecision> {
        const decision = await super.route(request);
        if (request.prefillInstanceId !== undefined) throw new StatorError('worker_unavailable', 'none is near');
        return decision;
      }
    }
    const far = new Bounded([
      { instanceId: 1n, role: PREFILL },
      { instanceId: 2n, role: DECODE },
    ]);
    await using pair = await startPair(far);
    const { gateway, prefill, decode } = pair;
    prefill.script = prefillWith('a', 'h1');
    decode.script = (sequence) => {
      sequence.prefilled();
      sequence.tokens('b');
      sequence.finish();
    };
    expect(contentOf(await chunksOf(await gateway.post('/v1/chat/completions', chat)), 0)).to.equal('ab');
    expect(decode.sequences[0]?.request.handoff).to.equal(undefined);
    expect(far.routed.at(-1)?.computesPrompt).to.equal(true);
    await until(() => prefill.released.length === 1);
  });

  it('hands over each of n choices by itself', async () => {
    await using pair = await startPair();
    const { gateway, prefill, decode } = pair;
    let handoffs = 0;
    prefill.script = (sequence) => prefillWith('ab'[handoffs++] ?? '', `h${handoffs}`)(sequence);
    decode.script = (sequence) => {
      sequence.prefilled();
      sequence.tokens(sequence.request.handoff?.handoffId ?? 'none');
      sequence.finish();
    };
    const chunks = await chunksOf(await gateway.post('/v1/chat/completions', { ...chat, n: 2 }));
    expect([0, 1].map((index) => contentOf(chunks, index))).to.deep.equal(['ah1', 'bh2']);
  });

  it('sends the client to the workers that it names, and to no others', async () => {
    const router = new ScriptedRouter([
      { instanceId: 1n, role: PREFILL },
      { instanceId: 2n, role: DECODE },
    ]);
    await using pair = await startPair(router);
    const { gateway, prefill, decode } = pair;
    prefill.script = prefillWith('a', 'h1');
    decode.script = (sequence) => {
      sequence.prefilled();
      sequence.finish();
    };
    const nvext = { prefill_worker_id: 1, decode_worker_id: '2', prefill_dp_rank: 3 };
    await chunksOf(await gateway.post('/v1/chat/completions', { ...chat, nvext }));
    const [first, second] = router.routed;
    expect(first?.constraints).to.include({ instanceId: 1n, dataParallelRank: 3, role: PREFILL });
    expect(first?.localPrefill).to.equal(undefined);
    expect(second?.constraints).to.include({ instanceId: 2n, role: DECODE });
    expect(second?.prefillInstanceId).to.equal(1n);
  });
});
