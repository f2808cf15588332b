import { expect } from 'chai';
import { digestOfSession } from '../../agents/redact.ts';
import type { ModelEntry } from '../../models/catalog.ts';
import { testCard } from '../../testing/harness.ts';
import { chatRequest } from '../schemas/chat.ts';
import { validateBody } from '../validate.ts';
import { headerWishes } from './header-wishes.ts';
import { answerPlan, traceAttributesOf } from './plan.ts';

const card = testCard();
const entry: ModelEntry = { name: card.name, card, workers: new Map() };
const base = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
const stream = { stream: true, includeUsage: false, continuousUsage: false };
const input = { requestId: 'r', nowMs: 0, timeoutMs: 0 };

function planOf(nvext: object, streams = stream) {
  return answerPlan('chat', validateBody(chatRequest, { ...base, nvext }), { entry, adapter: '' }, streams, input);
}

describe('answer plans', () => {
  it('tell dry runs from annotations', () => {
    const plan = planOf({ annotations: ['routing', 'query_instance_id:prefill', 'request_id', 'routing'] });
    expect(plan.annotations).to.deep.equal(['routing', 'request_id']);
    expect([plan.explain, plan.dryRun]).to.deep.equal([true, 'prefill']);
    expect(planOf({ annotations: ['query_instance_id:'] }).dryRun).to.equal('');
    expect(planOf({})).to.deep.include({ annotations: [], explain: false, dryRun: null });
  });

  it('have events only for streams, and an explanation for whole answers too', () => {
    const plan = planOf({ annotations: ['routing', 'token_ids'] }, { ...stream, stream: false });
    expect(plan).to.deep.include({ annotations: [], explain: true });
  });
});

describe('trace attributes', () => {
  it('tell who asks and what was said without effect', () => {
    const nvext = {
      agent_context: { session_id: 's', session_type_id: 'coder', trajectory_id: 't', trajectory_final: true },
      router: { ttft_target: 200, itl_target: 12.5 },
    };
    const body = validateBody(chatRequest, { ...base, user: 'u', nvext });
    const raw = ['x-dynamo-parent-session-id', 'p', 'x-dynamo-session-id', 'h', 'x-dynamo-meta-Team', 'blue'];
    expect(traceAttributesOf(body, headerWishes(raw), { a: 'b' })).to.deep.equal({
      'stator.session.id': digestOfSession('h'),
      'stator.session.parent_id': digestOfSession('p'),
      'stator.session.source': 'dynamo',
      'stator.session.type': 'coder',
      'stator.target.ttft_ms': '200',
      'stator.target.itl_ms': '12.5',
      'enduser.id': 'u',
      'stator.metadata.a': 'b',
      'stator.header.team': 'blue',
    });
    expect(traceAttributesOf(validateBody(chatRequest, base), headerWishes([]), {})).to.deep.equal({});
    const plain = { sessionNaming: (id: string) => id };
    expect(traceAttributesOf(body, headerWishes(raw), {}, plain)).to.include({ 'stator.session.id': 'h' });
  });

  it('show neither session nor account of an agent that says them as its user', () => {
    const user = JSON.stringify({ device_id: 'd', account_uuid: 'a', session_id: 'secret' });
    const body = validateBody(chatRequest, { ...base, user });
    const attributes = traceAttributesOf(body, headerWishes([]), {});
    expect(attributes).to.include({ 'stator.session.source': 'user', 'enduser.id': digestOfSession(user) });
    expect(JSON.stringify(attributes)).not.to.include('secret');
  });
});
