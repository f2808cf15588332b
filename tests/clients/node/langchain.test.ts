import { type LangchainFound, langchainCases } from '../cases/langchain.ts';
import { runNodeClient } from '../support/run-client.ts';
import { question, type ScriptedAgent, startScriptedAgent } from '../support/scripted-agent.ts';

for (const api of ['responses', 'chat']) {
  describe(`LangChain and LangGraph for Node, ${api}`, function () {
    this.timeout(180_000);
    let agent: ScriptedAgent;
    let found: LangchainFound;

    before(async () => {
      agent = await startScriptedAgent();
      found = await runNodeClient('langchain.fixture.ts', [agent.url, agent.model, api, question]);
    });
    after(() => agent?.[Symbol.asyncDispose]());

    langchainCases(() => found);
  });
}
