import { expect } from 'chai';
import { decodeBytes } from '#gateway/testing/byte-tokenizer.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { findDefaultModel } from '../support/model.ts';
import { skip } from '../support/skip.ts';
import { recorded, replay } from './support/recorded.ts';
import { question, type ScriptedAgent, startScriptedAgent } from './support/scripted-agent.ts';

const thinking = ['message_start', 'ping', 'content_block_start', 'thinking_delta', 'signature_delta'];
const block = (delta: string) => ['content_block_stop', 'content_block_start', delta];
const messageEnd = ['content_block_stop', 'message_delta', 'message_stop'];
const summary = [
  ...['created', 'in_progress', 'output_item.added', 'reasoning_summary_part.added', 'reasoning_summary_text.delta'],
  ...['reasoning_summary_text.done', 'reasoning_summary_part.done', 'output_item.done'],
];
const text = ['output_item.added', 'content_part.added', 'output_text.delta', 'output_text.done', 'content_part.done'];
const called = (kind: string) => ['output_item.added', `${kind}.delta`, `${kind}.done`];
const responseEnd = ['output_item.done', 'completed'];

/** Requests and the events that their clients read, in order. */
const turns: Readonly<Record<string, readonly string[]>> = {
  'claude-code/turn': [...thinking, ...block('input_json_delta'), ...messageEnd],
  'claude-code/tool-results': [...thinking, ...block('text_delta'), ...messageEnd],
  'claude-code/subagent': [...thinking, ...block('input_json_delta'), ...messageEnd],
  'claude-code/title': ['message_start', 'ping', 'content_block_start', 'text_delta', ...messageEnd],
  'codex/turn': [...summary, ...called('function_call_arguments'), ...responseEnd],
  'codex/tool-results': [...summary, ...text, ...responseEnd],
  'codex/patch': ['created', 'in_progress', ...called('custom_tool_call_input'), ...responseEnd],
  'codex/compact': ['created', 'in_progress', ...text, ...responseEnd],
  'opencode/turn': ['reasoning_content', 'tool_calls', 'usage'],
  'opencode/tool-results': ['reasoning_content', 'content', 'stop', 'usage'],
  'opencode/title': ['content', 'stop', 'usage'],
};

describe('requests of coding agents', () => {
  let agent: ScriptedAgent;

  beforeEach(async () => {
    agent = await startScriptedAgent();
  });
  afterEach(() => agent?.[Symbol.asyncDispose]());

  const prompt = (): string => decodeBytes(agent.worker.sequences[0]?.request.tokenIds ?? []);

  for (const [file, events] of Object.entries(turns)) {
    it(`streams ${file} as its client reads it`, async () => {
      const answer = await replay(agent.gateway.url, await recorded(file, agent.model));
      expect(answer.status, answer.text).to.equal(200);
      expect(answer.events).to.deep.equal(events);
    });
  }

  it('leaves what changes with every request out of the prompts of Claude Code', async () => {
    await replay(agent.gateway.url, await recorded('claude-code/turn', agent.model));
    expect(prompt()).to.include('You are a coding agent').and.include(question).and.not.include('billing');
  });

  it('tells Claude Code what it asks beside conversations', async () => {
    const quota = await replay(agent.gateway.url, await recorded('claude-code/quota', agent.model));
    expect(JSON.parse(quota.text)).to.include({ type: 'message', role: 'assistant' });
    const count = await replay(agent.gateway.url, await recorded('claude-code/count-tokens', agent.model));
    expect(JSON.parse(count.text)).to.have.keys('input_tokens');
  });

  it("reads Codex's reasoning, calls and patches back", async () => {
    await replay(agent.gateway.url, await recorded('codex/tool-results', agent.model));
    expect(prompt()).to.match(/<user>What is the weather in Paris\?<assistant><tool>Sunny\.<assistant><tool>Done\.$/);
  });
});

describe('requests of coding agents, with llama.cpp', function () {
  this.timeout(180_000);
  let cluster: Cluster | undefined;
  const model = 'default-model';

  before(async function () {
    const file = await findDefaultModel();
    if (file === undefined) skip(this, 'the default model could not be fetched');
    const settings = { model: [file], modelName: [model], threads: 1 };
    cluster = await startCluster({ discovery: 'memory', workers: [{ engine: 'llamacpp', settings }] });
  });
  after(() => cluster?.stop());

  for (const file of ['claude-code/tool-results', 'codex/tool-results', 'opencode/tool-results']) {
    it(`answers ${file} from a real template`, async () => {
      const bound = file.startsWith('codex') ? { max_output_tokens: 6 } : { max_tokens: 6 };
      const answer = await replay(cluster?.url ?? '', await recorded(file, model), bound);
      expect(answer.status, answer.text).to.equal(200);
      expect(answer.events.at(-1)).to.be.oneOf(['message_stop', 'completed', 'incomplete', 'usage']);
    });
  }
});
