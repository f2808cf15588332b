import { expect } from 'chai';
import { runNodeClient } from '../support/run-client.ts';
import {
  answer,
  forecast,
  hello,
  question,
  type ScriptedAgent,
  startScriptedAgent,
} from '../support/scripted-agent.ts';

interface Loop {
  readonly asked: readonly string[];
  readonly text: string;
}

interface Found {
  readonly text: { readonly text: string; readonly outputTokens: number };
  readonly streamed: Found['text'] & { readonly pieces: number };
  readonly loop: Loop;
  readonly graph: Loop & { readonly kinds: readonly string[] };
  readonly streamedGraph: Loop;
  readonly objects: unknown;
}

const looped = { asked: ['Paris'], text: answer };

for (const api of ['responses', 'chat']) {
  describe(`LangChain and LangGraph for Node, ${api}`, function () {
    this.timeout(60_000);
    let agent: ScriptedAgent;
    let found: Found;

    before(async () => {
      agent = await startScriptedAgent();
      found = await runNodeClient('langchain.fixture.ts', [agent.url, agent.model, api, question]);
    });
    after(() => agent?.[Symbol.asyncDispose]());

    it('invokes', () => {
      expect(found.text).to.deep.equal({ text: hello, outputTokens: hello.length });
    });

    it('streams', () => {
      expect(found.streamed).to.deep.include(found.text);
      expect(found.streamed.pieces).to.be.greaterThan(1);
    });

    it('binds strict tools', () => {
      expect(found.loop).to.deep.equal(looped);
    });

    it('runs a graph of an agent and its tools', () => {
      expect(found.graph).to.deep.equal({ ...looped, kinds: ['human', 'ai', 'tool', 'ai'] });
    });

    it('streams a graph', () => {
      expect(found.streamedGraph).to.deep.equal(looped);
    });

    it('structures its output', () => {
      expect(found.objects).to.deep.equal({ jsonSchema: forecast, functionCalling: forecast });
    });
  });
}
