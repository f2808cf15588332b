import { type AgentsFound, agentsCases } from '../cases/openai-agents.ts';
import { runNodeClient } from '../support/run-client.ts';
import { question, type ScriptedAgent, startScriptedAgent } from '../support/scripted-agent.ts';

const items = ['tool_call_item', 'tool_call_output_item', 'message_output_item'];
const events = ['raw_model_stream_event', 'run_item_stream_event'];

for (const api of ['responses', 'chat']) {
  describe(`OpenAI Agents SDK for Node, ${api}`, function () {
    this.timeout(180_000);
    let agent: ScriptedAgent;
    let found: AgentsFound;

    before(async () => {
      agent = await startScriptedAgent();
      found = await runNodeClient('openai-agents.fixture.ts', [agent.url, agent.model, api, question]);
    });
    after(() => agent?.[Symbol.asyncDispose]());

    agentsCases(() => found, items, events);
  });
}
