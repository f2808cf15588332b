import { expect } from 'chai';
import { makeVenv } from '../../../scripts/support/venv.ts';
import { pythonOf, venvs } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import { type LangchainFound, langchainCases } from '../cases/langchain.ts';
import { type AgentsFound, agentsCases } from '../cases/openai-agents.ts';
import { runPythonClient } from '../support/run-client.ts';
import { answer, question, type ScriptedAgent, startScriptedAgent } from '../support/scripted-agent.ts';

const items = ['tool_call_item', 'tool_call_output_item', 'message_output_item'];
const events = ['raw_response_event', 'run_item_stream_event'];

const python = pythonOf(venvs.agents.folder);

/** A script's run against an agent of its own, before the tests of the suite that asks for it. */
function drive<Found>(script: string, ...api: string[]): { found: () => Found; agent: () => ScriptedAgent } {
  let agent: ScriptedAgent;
  let found: Found;
  before(async () => {
    agent = await startScriptedAgent();
    found = await runPythonClient(python, `agents/${script}`, [agent.url, agent.model, ...api, question]);
  });
  after(() => agent?.[Symbol.asyncDispose]());
  return { found: () => found, agent: () => agent };
}

describe('agent frameworks for Python', function () {
  this.timeout(120_000);

  before(async function () {
    this.timeout(15 * 60_000);
    const problem = await makeVenv(venvs.agents);
    if (problem !== undefined) skip(this, problem);
  });

  for (const api of ['responses', 'chat']) {
    describe(`OpenAI Agents SDK, ${api}`, () =>
      agentsCases(drive<AgentsFound>('openai_agents.py', api).found, items, events));
    describe(`LangChain and LangGraph, ${api}`, () =>
      langchainCases(drive<LangchainFound>('langchain_client.py', api).found));
  }

  describe('NeMo Agent Toolkit', () => {
    const { found, agent } = drive<{ readonly asked: readonly string[]; readonly text: string }>('nat_client.py');

    it('runs a loop of tools by its provider for Dynamo', () => {
      expect(found()).to.deep.equal({ asked: ['Paris'], text: answer });
    });

    it('has its hints reach the engine', () => {
      // Two requests every 750 ms; the default sensitivity to latency is 2.
      const { sequences } = agent().worker;
      expect(sequences.map(({ request }) => [request.priority, request.cache?.keepSeconds])).to.deep.equal([
        [2, 2],
        [2, 2],
      ]);
    });
  });
});
