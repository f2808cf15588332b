import { expect } from 'chai';
import { runNodeClient } from '../support/run-client.ts';
import { answer, forecast, question, type ScriptedAgent, startScriptedAgent } from '../support/scripted-agent.ts';

interface Loop {
  readonly asked: readonly string[];
  readonly text: string;
}

interface Found {
  readonly loop: Loop & { readonly items: readonly string[]; readonly outputTokens: number };
  readonly streamedLoop: Loop & { readonly kinds: readonly string[] };
  readonly object: unknown;
  readonly handoff: { readonly last: string; readonly text: string };
  readonly second: { readonly byHistory: string; readonly byId: string };
}

for (const api of ['responses', 'chat']) {
  describe(`OpenAI Agents SDK for Node, ${api}`, function () {
    this.timeout(60_000);
    let agent: ScriptedAgent;
    let found: Found;

    before(async () => {
      agent = await startScriptedAgent();
      found = await runNodeClient('openai-agents.fixture.ts', [agent.url, agent.model, api, question]);
    });
    after(() => agent?.[Symbol.asyncDispose]());

    it('runs a loop of strict tools', () => {
      const { asked, text, items, outputTokens } = found.loop;
      expect({ asked, text }).to.deep.equal({ asked: ['Paris'], text: answer });
      expect(items).to.include.members(['tool_call_item', 'tool_call_output_item', 'message_output_item']);
      expect(outputTokens).to.be.greaterThan(answer.length);
    });

    it('streams a loop of strict tools', () => {
      const { asked, text, kinds } = found.streamedLoop;
      expect({ asked, text }).to.deep.equal({ asked: ['Paris'], text: answer });
      expect(kinds).to.include.members(['raw_model_stream_event', 'run_item_stream_event']);
    });

    it('keeps its output to a type', () => {
      expect(found.object).to.deep.equal(forecast);
    });

    it('hands over to another agent', () => {
      expect(found.handoff).to.deep.equal({ last: 'meteorologist', text: answer });
    });

    it('goes on with a conversation', () => {
      expect(found.second).to.deep.equal({ byHistory: answer, byId: answer });
    });
  });
}
