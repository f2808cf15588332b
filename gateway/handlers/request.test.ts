import { create } from '@bufbuild/protobuf';
import { createHandlerContext } from '@connectrpc/connect';

import { expect } from 'chai';
import { GenerationOptionsSchema, InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { TextPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import type { GenerationRequest } from '../pipeline/request.ts';
import { testCard } from '../testing/harness.ts';
import { generationOf, routedBy } from './request.ts';

const card = testCard();
const model: ResolvedModel = { entry: { name: card.name, card, workers: new Map() }, adapter: '' };
const prompt = { case: 'text', value: create(TextPromptSchema, { text: 'Hi' }) } as const;

/** Their timers run until they end. */
const contexts: ReturnType<typeof createHandlerContext>[] = [];

function contextOf(requestHeader: Record<string, string>, timeoutMs?: number) {
  const context = createHandlerContext({
    service: InferenceService,
    method: InferenceService.method.complete,
    protocolName: 'grpc',
    requestMethod: 'POST',
    url: 'http://gateway/',
    requestHeader,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  contexts.push(context);
  return context;
}

function requested(headers: Record<string, string>, timeoutMs?: number): GenerationRequest {
  const options = create(GenerationOptionsSchema, { instanceId: 9n, priority: 3, cacheSalt: 'own' });
  return generationOf(options, model, prompt, { context: contextOf(headers, timeoutMs), timeoutMs: 3_600_000 });
}

describe('gRPC requests', () => {
  afterEach(() => {
    for (const context of contexts.splice(0)) context.abort();
  });

  it('say of routing what their options say', () => {
    const request = requested({});
    expect(request).to.include({ priority: 3, cacheSalt: 'own', timeoutMs: 3_600_000 });
    expect(request.routing).to.include({ instanceId: 9n, queuePriority: 3, sessionId: '', deadlineUnixMs: 0 });
  });

  it('have metadata win over options', () => {
    const headers = {
      'x-dynamo-worker-instance-id': '8',
      'x-stator-dp-rank': '2',
      'x-stator-request-priority': '-1',
      'x-dynamo-request-strict-priority': '4',
      'x-tenant-id': 'acme',
      'x-dynamo-session-id': 's',
      'x-dynamo-meta-policy-class': 'batch',
    };
    const request = requested(headers);
    expect(request).to.include({ priority: -1, cacheSalt: 'acme' });
    const wishes = { instanceId: 8n, dataParallelRank: 2, queuePriority: -1, strictPriority: 4 };
    expect(request.routing).to.include({ ...wishes, sessionId: 's', policyClass: 'batch' });
    expect(() => requested({ 'x-dp-rank': 'one' }))
      .to.throw(StatorError)
      .with.property('field', 'x-dp-rank');
  });

  it('have the nearer of two deadlines', () => {
    const minute = 60_000;
    for (const [header, call, expected] of [
      [0, 7, 7],
      [5, 7, 5],
      [9, 7, 7],
      [9, 0, 9],
    ] as const) {
      const before = Date.now();
      const headers: Record<string, string> = header === 0 ? {} : { 'x-stator-timeout-ms': String(header * minute) };
      const request = requested(headers, call === 0 ? undefined : call * minute);
      // What is left of a call's time counts: a little less than it began with.
      expect(request.timeoutMs).to.be.within((expected - 1) * minute, expected * minute);
      expect(request.routing.deadlineUnixMs).to.be.within(
        before + (expected - 1) * minute,
        Date.now() + expected * minute,
      );
    }
  });

  it('that generate nothing are routed alike', () => {
    const { routing } = routedBy(contextOf({ 'x-dynamo-worker-instance-id': '8' }));
    expect(routing).to.include({ instanceId: 8n, expectedOutputTokens: null });
  });
});
