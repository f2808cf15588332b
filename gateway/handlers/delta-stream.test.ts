import { expect } from 'chai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { type ChatResponse, InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { encodeBytes } from '../testing/byte-tokenizer.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { ScriptedRouter } from '../testing/scripted-router.ts';
import { type ScriptedSequence, ScriptedWorker } from '../testing/scripted-worker.ts';
import { inferenceHandlers } from './inference.ts';

const content = [{ part: { case: 'text', value: 'Hi' } as const }];
const decision = { instanceId: 7n, dataParallelRank: 2, mode: RouterMode.KV, deviceBlocks: 1, queueDepth: 3 };
const costs = [
  { instanceId: 7n, cost: 2.5, terms: { prefill_blocks: 1.5 } },
  { instanceId: 8n, cost: 9 },
];

function okay(sequence: ScriptedSequence): void {
  sequence.prefilled(6, { queueUs: 10 });
  sequence.tokens('ok');
  sequence.finish();
}

async function chat(gateway: Harness, options: object): Promise<ChatResponse[]> {
  const client = createLocalClient(InferenceService, inferenceHandlers(gateway.context));
  const messages = [{ role: 'user', content, plainText: true }];
  const answers: ChatResponse[] = [];
  for await (const answer of client.chat({ model: 'test-model', messages, options })) answers.push(answer);
  return answers;
}

describe('routing for gRPC clients', () => {
  it('explains before the first token, names the worker of each choice and says where the time went', async () => {
    const router = new ScriptedRouter([decision], costs);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(7n, new ScriptedWorker(okay));
    const answers = await chat(gateway, { explainRouting: true, returnTiming: true });
    const [first, ...rest] = answers;
    expect(first?.deltas).to.deep.equal([]);
    expect(first?.routing?.decision).to.include({ instanceId: 7n, deviceBlocks: 1 });
    expect(first?.routing?.decision?.costs.map(({ cost }) => cost)).to.deep.equal([2.5, 9]);
    expect(rest.some(({ routing }) => routing !== undefined)).to.equal(false);
    const last = answers.at(-1);
    const ended = last?.deltas.find(({ finishReason }) => finishReason === FinishReason.STOP);
    expect(ended).to.include({ instanceId: 7n, dataParallelRank: 2 });
    const { prefillWaitMs = NaN, prefillMs = NaN, ttftMs = NaN, totalMs = NaN } = last?.timing ?? {};
    expect(prefillWaitMs + prefillMs).to.be.closeTo(ttftMs, 1e-6);
    expect(totalMs).to.be.at.least(ttftMs);
    expect(last?.timing).to.include({ kvHitRate: 0.75, routerQueueDepth: 3 });
    expect(last?.usage).to.include({ promptTokens: 8, outputTokens: 2, cachedTokens: 6 });
  });

  it('says nothing that was not asked for', async () => {
    const router = new ScriptedRouter([decision], costs);
    await using gateway = await startHarness({}, router);
    gateway.addWorker(7n, new ScriptedWorker(okay));
    const answers = await chat(gateway, {});
    expect(answers.every(({ routing, timing }) => routing === undefined && timing === undefined)).to.equal(true);
    expect(router.routed.map(({ explain }) => explain)).to.deep.equal([false]);
  });

  it('answers a dry run with one message', async () => {
    const router = new ScriptedRouter([decision], costs);
    await using gateway = await startHarness({}, router);
    const worker = new ScriptedWorker(okay);
    gateway.addWorker(7n, worker);
    const [answer, ...more] = await chat(gateway, { dryRun: true });
    expect(more).to.deep.equal([]);
    expect(answer?.deltas).to.deep.equal([]);
    expect(answer?.usage).to.include({ promptTokens: 8, outputTokens: 0 });
    expect(answer?.routing?.promptTokenIds).to.deep.equal(encodeBytes('<user>Hi'));
    expect(answer?.routing?.decision).to.deep.include({ instanceId: 7n, costs: [] });
    const [explained] = await chat(gateway, { dryRun: true, explainRouting: true });
    expect(explained?.routing?.decision?.costs).to.have.length(2);
    expect(worker.sequences).to.deep.equal([]);
    expect(router.routed).to.deep.equal([]);
    expect(router.explained).to.have.length(2);
  });
});
