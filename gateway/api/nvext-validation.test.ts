import { expect } from 'chai';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import type { ErrorBody } from '../testing/answers.ts';
import { type Harness, startHarness, testCard } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };

/** An `nvext` object, and the field under it that must be named. */
type Case = readonly [nvext: unknown, param: string];

const wrong: readonly Case[] = [
  [5, ''],
  [[], ''],
  [{ unheard_of: 1 }, '.unheard_of'],
  [{ top_k: 5 }, '.top_k'],
  [{ greed_sampling: 1 }, '.greed_sampling'],
  [{ use_raw_prompt: 'yes' }, '.use_raw_prompt'],
  [{ annotations: 'request_id' }, '.annotations'],
  [{ annotations: ['smell'] }, '.annotations[0]'],
  [{ annotations: ['request_id', 7] }, '.annotations[1]'],
  [{ annotations: [`query_instance_id:${'x'.repeat(65)}`] }, '.annotations[0]'],
  [{ annotations: Array(17).fill('request_id') }, '.annotations'],
  [{ backend_instance_id: 'abc' }, '.backend_instance_id'],
  [{ backend_instance_id: -1 }, '.backend_instance_id'],
  [{ backend_instance_id: '18446744073709551616' }, '.backend_instance_id'],
  [{ decode_worker_id: 0.5 }, '.decode_worker_id'],
  [{ prefill_worker_id: true }, '.prefill_worker_id'],
  [{ dp_rank: -1 }, '.dp_rank'],
  [{ dp_rank: 4294967296 }, '.dp_rank'],
  [{ prefill_dp_rank: '0' }, '.prefill_dp_rank'],
  [{ token_data: [] }, '.token_data'],
  [{ token_data: [1.5] }, '.token_data[0]'],
  [{ token_data: [500] }, '.token_data[0]'],
  [{ max_thinking_tokens: -1 }, '.max_thinking_tokens'],
  [{ cache_salt: 5 }, '.cache_salt'],
  [{ cache_salt: 'x'.repeat(513) }, '.cache_salt'],
  [{ extra_fields: ['everything'] }, '.extra_fields[0]'],
  [{ extra_fields: 'timing' }, '.extra_fields'],
  [{ metadata_upload: {} }, '.metadata_upload.url'],
  [{ metadata_upload: { url: 'http://x', verb: 'PUT' } }, '.metadata_upload.verb'],
  [{ agent_hints: { priority: 0.5 } }, '.agent_hints.priority'],
  [{ agent_hints: { priority: 2147483648 } }, '.agent_hints.priority'],
  [{ agent_hints: { strict_priority: -1 } }, '.agent_hints.strict_priority'],
  [{ agent_hints: { osl: 0 } }, '.agent_hints.osl'],
  [{ agent_hints: { latency_sensitivity: 'high' } }, '.agent_hints.latency_sensitivity'],
  [{ agent_hints: { speculative_prefill: 1 } }, '.agent_hints.speculative_prefill'],
  [{ agent_hints: { hurry: true } }, '.agent_hints.hurry'],
  [{ request_timestamp_ms: -1 }, '.request_timestamp_ms'],
  [{ request_timestamp_ms: '2026-01-01' }, '.request_timestamp_ms'],
  [{ routing_constraints: { required_taints: [''] } }, '.routing_constraints.required_taints[0]'],
  [{ routing_constraints: { required_taints: Array(65).fill('x') } }, '.routing_constraints.required_taints'],
  [{ routing_constraints: { preferred_taints: { ssd: 'much' } } }, '.routing_constraints.preferred_taints.ssd'],
  [
    {
      routing_constraints: { preferred_taints: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`t${i}`, 1])) },
    },
    '.routing_constraints.preferred_taints',
  ],
  [{ routing_constraints: { allowed_worker_ids: [] } }, '.routing_constraints.allowed_worker_ids'],
  [{ routing_constraints: { allowed_worker_ids: [1, 'x'] } }, '.routing_constraints.allowed_worker_ids[1]'],
  [{ routing_constraints: { forbidden_taints: [] } }, '.routing_constraints.forbidden_taints'],
  [{ router: { ttft_target: 0 } }, '.router.ttft_target'],
  [{ router: { itl_target: 'fast' } }, '.router.itl_target'],
  [{ router: { mode: 'guess' } }, '.router.mode'],
  [{ router: { mode: 'direct' } }, '.router.mode'],
  [{ router: { overlap_credit: -1 } }, '.router.overlap_credit'],
  [{ router: { temperature: -0.1 } }, '.router.temperature'],
  [{ session_control: {} }, '.session_control.session_id'],
  [{ session_control: { session_id: '' } }, '.session_control.session_id'],
  [{ session_control: { session_id: 'ü'.repeat(129) } }, '.session_control.session_id'],
  [{ session_control: { session_id: 's', action: 'pause' } }, '.session_control.action'],
  [{ session_control: { session_id: 's', timeout: 0 } }, '.session_control.timeout'],
  [{ agent_context: { session_id: 5 } }, '.agent_context.session_id'],
  [{ agent_context: { session_id: 's', trajectory_final: 'no' } }, '.agent_context.trajectory_final'],
  [{ cache_control: { type: 'eternal' } }, '.cache_control.type'],
  [{ cache_control: { type: 'ephemeral', ttl: '2d' } }, '.cache_control.ttl'],
];

const notOffered: readonly Case[] = [
  [{ max_thinking_tokens: 100 }, '.max_thinking_tokens'],
  [{ metadata_upload: { url: 'http://x/y' } }, '.metadata_upload'],
  [{ extra_fields: ['timing', 'routed_experts'] }, '.extra_fields[1]'],
  [{ extra_fields: ['engine_data'] }, '.extra_fields[0]'],
  [{ decode_worker_id: 1, backend_instance_id: 2 }, '.backend_instance_id'],
  [{ decode_worker_id: 1, prefill_worker_id: 2 }, '.prefill_worker_id'],
  [{ dp_rank: 0, prefill_dp_rank: 1 }, '.prefill_dp_rank'],
];

/** What Dynamo's clients send and is understood, all at once. */
const everything = {
  greed_sampling: true,
  use_raw_prompt: false,
  annotations: ['request_id', 'token_ids', 'formatted_prompt', 'routing'],
  backend_instance_id: 1,
  decode_worker_id: '1',
  prefill_worker_id: 1,
  dp_rank: 0,
  prefill_dp_rank: 4294967295,
  cache_salt: 'tenant',
  extra_fields: ['worker_id', 'timing', 'stop_reason', 'detailed_finish_reason', 'completion_token_ids'],
  agent_hints: {
    priority: -3,
    strict_priority: 2,
    osl: 64,
    latency_sensitivity: 1.5,
    speculative_prefill: true,
    prefix_id: 'p',
    total_requests: 9,
    iat: 250,
  },
  request_timestamp_ms: 1_700_000_000_000.5,
  routing_constraints: { required_taints: [], preferred_taints: { ssd: -2 }, allowed_worker_ids: [1, '2'] },
  router: {
    ttft_target: 200,
    itl_target: 12.5,
    mode: 'kv',
    overlap_credit: 0.5,
    prefill_load_scale: 2,
    temperature: 0,
  },
  session_control: { session_id: 's', action: 'open', timeout: 300 },
  agent_context: {
    session_type_id: 'x',
    session_id: 's',
    trajectory_id: 't',
    parent_trajectory_id: 'u',
    trajectory_final: true,
  },
  cache_control: { type: 'ephemeral', ttl: '1h' },
};

/** A model whose engine keeps prompts on demand. */
function keepingCard(): ModelCard {
  const card = testCard();
  if (card.capabilities !== undefined) card.capabilities.keepsPrompts = true;
  return card;
}

describe('the extension object', () => {
  let gateway: Harness;

  before(async () => {
    gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')), keepingCard());
  });

  after(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function refusal(path: string, body: object): Promise<ErrorBody['error'] & { status: number }> {
    const response = await gateway.post(path, body);
    const { error } = (await response.json()) as ErrorBody;
    return { ...error, status: response.status };
  }

  for (const [nvext, param] of wrong) {
    it(`refuses ${JSON.stringify(nvext).slice(0, 80)} by nvext${param}`, async () => {
      for (const [path, body] of [
        ['/v1/chat/completions', chat],
        ['/v1/completions', { model: 'test-model', prompt: 'Hi' }],
      ] as const) {
        const error = await refusal(path, { ...body, nvext });
        expect(error, path).to.include({ status: 400, param: `nvext${param}`, code: 'invalid_argument' });
      }
    });
  }

  for (const [nvext, param] of notOffered) {
    it(`does not offer ${JSON.stringify(nvext)} and says so`, async () => {
      const error = await refusal('/v1/chat/completions', { ...chat, nvext });
      expect(error).to.include({ status: 400, param: `nvext${param}`, code: 'unsupported' });
      expect(error.message).to.include(`nvext${param}`);
    });
  }

  it('refuses for embeddings what means something only where something is generated', async () => {
    const body = { model: 'test-model', input: 'Hi' };
    for (const [nvext, param] of [
      [{ agent_hints: { osl: 5 } }, '.agent_hints.osl'],
      [{ agent_hints: { speculative_prefill: true } }, '.agent_hints.speculative_prefill'],
      [{ session_control: { session_id: 's', action: 'open' } }, '.session_control.action'],
      [{ router: { ttft_target: 5 } }, '.router.ttft_target'],
      [{ cache_control: { type: 'ephemeral' } }, '.cache_control'],
    ] as const) {
      const error = await refusal('/v1/embeddings', { ...body, nvext });
      expect(error).to.include({ status: 400, param: `nvext${param}`, code: 'invalid_argument' });
    }
  });

  it('refuses to keep prompts where the engine keeps none on demand', async () => {
    await using other = await startHarness();
    const worker = new ScriptedWorker(answering('ok'));
    other.addWorker(1n, worker);
    const ask = async (nvext: object) => {
      const response = await other.post('/v1/chat/completions', { ...chat, nvext });
      const body = (await response.json()) as Partial<ErrorBody>;
      return [response.status, body.error?.code, body.error?.param];
    };
    expect(await ask({ cache_control: { type: 'ephemeral' } })).to.deep.equal([
      400,
      'unsupported',
      'nvext.cache_control',
    ]);
    expect(await ask({ session_control: { session_id: 's', action: 'open' } })).to.deep.equal([
      400,
      'unsupported',
      'nvext.session_control.action',
    ]);
    expect((await ask({ session_control: { session_id: 's', action: 'close' } }))[0]).to.equal(200);
    expect((await worker.sequence(0)).request.cache?.keepSeconds).to.equal(undefined);
  });

  it('has the engine keep what is asked', async () => {
    await using other = await startHarness();
    const worker = new ScriptedWorker(answering('ok'));
    other.addWorker(1n, worker, keepingCard());
    const ask = async (path: string, change: object, headers: Record<string, string> = {}) => {
      const sent = { 'content-type': 'application/json', ...headers };
      const response = await other.post(path, { ...chat, max_tokens: 5, ...change }, { headers: sent });
      expect(response.status, await response.text()).to.equal(200);
    };
    const cache = { type: 'ephemeral', ttl: 40 };
    await ask('/v1/chat/completions', { nvext: { cache_control: cache } });
    await ask('/v1/messages', { cache_control: { type: 'ephemeral', ttl: '1h' } });
    await ask('/v1/chat/completions', {}, { 'x-stator-session-id': 's', 'x-stator-session-final': 'true' });
    await ask('/v1/chat/completions', {});
    const kept = await Promise.all([0, 1, 2, 3].map((place) => worker.sequence(place)));
    expect(kept.map(({ request }) => request.cache?.keepSeconds)).to.deep.equal([40, 3600, 0, undefined]);
  });

  it('takes every field that it knows', async () => {
    const response = await gateway.post('/v1/chat/completions', { ...chat, nvext: everything });
    expect(response.status, await response.text()).to.equal(200);
    const nulls = Object.fromEntries(Object.keys(everything).map((key) => [key, null]));
    const empty = await gateway.post('/v1/chat/completions', { ...chat, nvext: nulls });
    expect(empty.status, await empty.text()).to.equal(200);
  });
});
