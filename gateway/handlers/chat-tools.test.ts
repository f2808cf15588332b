import { expect } from 'chai';
import {
  type ChatRequest,
  type ChatResponse,
  InferenceService,
  ToolChoice_Mode,
} from '#gen/stator/inference/v1/inference_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { fromConnectError } from '#lib/rpc/errors.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { hermesCall, toolCard } from '../testing/tool-chats.ts';
import { inferenceHandlers } from './inference.ts';

type Wishes = Partial<Pick<ChatRequest, 'toolChoice' | 'parallelToolCalls' | 'hideReasoning'>>;

const parameters = { type: 'object', properties: { city: { type: 'string' } } };
const tools = [{ name: 'get_weather', parametersJson: JSON.stringify(parameters) }];
const messages = [{ role: 'user', content: [{ part: { case: 'text', value: 'Hi' } as const }], plainText: true }];

async function ask(text: string, wishes: object, card: ModelCard = toolCard()) {
  await using gateway = await startHarness();
  const worker = new ScriptedWorker(answering(text));
  gateway.addWorker(1n, worker, card);
  const client = createLocalClient(InferenceService, inferenceHandlers(gateway.context));
  const answers: ChatResponse[] = [];
  for await (const answer of client.chat({ model: 'test-model', messages, tools, ...(wishes as Wishes) }))
    answers.push(answer);
  const deltas = answers.flatMap((answer) => answer.deltas);
  const calls = deltas.flatMap(({ toolCalls }) => toolCalls);
  return {
    worker,
    text: deltas.map((delta) => delta.text).join(''),
    reasoning: deltas.map((delta) => delta.reasoning).join(''),
    names: calls.flatMap(({ name }) => (name === '' ? [] : [name])),
    arguments: calls.map((call) => call.arguments).join(''),
    complete: calls.map(({ complete }) => complete).find((complete) => complete !== undefined),
    usage: answers.at(-1)?.usage,
  };
}

async function refusal(wishes: object, card?: ModelCard): Promise<StatorError> {
  try {
    await ask('never', wishes, card);
  } catch (thrown) {
    return thrown instanceof StatorError ? thrown : fromConnectError(thrown);
  }
  return expect.fail('it was taken');
}

describe('tool calls and reasoning for gRPC clients', () => {
  it('splits reasoning, text and calls', async () => {
    const answer = await ask(`<think>hm</think>Look: ${hermesCall('get_weather', { city: 'Paris' })}`, {});
    expect(answer).to.deep.include({ text: 'Look: ', reasoning: 'hm', names: ['get_weather'], complete: true });
    expect(answer.arguments).to.equal('{"city":"Paris"}');
    expect(answer.usage?.reasoningTokens).to.be.greaterThan(0);
  });

  it('forces calls, or wants none', async () => {
    const required = { toolChoice: { choice: { case: 'mode', value: ToolChoice_Mode.REQUIRED } } };
    const forced = await ask('[{"name":"get_weather","parameters":{"city":"Rome"}}]', required);
    expect(forced).to.deep.include({ text: '', names: ['get_weather'], arguments: '{"city":"Rome"}' });
    expect((await forced.worker.sequence(0)).request.guided?.constraint.case).to.equal('structuralTag');
    const named = await ask('{"city":"Rome"}', { toolChoice: { choice: { case: 'function', value: 'get_weather' } } });
    expect(named).to.deep.include({ text: '', names: ['get_weather'], arguments: '{"city":"Rome"}' });
    const call = hermesCall('get_weather', {});
    const none = await ask(call, { toolChoice: { choice: { case: 'mode', value: ToolChoice_Mode.NONE } } });
    expect(none).to.deep.include({ text: call, names: [] });
  });

  it('hides reasoning', async () => {
    expect(await ask('<think>hm</think>Yes', { hideReasoning: true })).to.deep.include({ text: 'Yes', reasoning: '' });
  });

  it('refuses what contradicts itself or cannot be done, naming the field', async () => {
    const function_ = { toolChoice: { choice: { case: 'function', value: 'other' } } };
    expect(await refusal(function_)).to.include({ code: 'invalid_argument', field: 'tool_choice.function' });
    const required = { tools: [], toolChoice: { choice: { case: 'mode', value: ToolChoice_Mode.REQUIRED } } };
    expect(await refusal(required)).to.include({ code: 'invalid_argument', field: 'tool_choice.mode' });
    expect(await refusal({}, toolCard({ toolCallParser: 'none' }))).to.include({ code: 'unsupported', field: 'tools' });
    const broken = { tools: [{ name: 'f', parametersJson: '{' }] };
    expect(await refusal(broken)).to.include({ code: 'invalid_argument', field: 'tools[0].parameters_json' });
  });
});
