import { expect } from 'chai';
import { runNodeClient } from '../support/run-client.ts';
import {
  answer,
  forecast,
  hello,
  question,
  type ScriptedAgent,
  startScriptedAgent,
  thought,
} from '../support/scripted-agent.ts';

interface Found {
  readonly text: { readonly text: string; readonly finishReason: string; readonly outputTokens: number };
  readonly streamed: Found['text'] & { readonly pieces: number };
  readonly loop: {
    readonly asked: readonly string[];
    readonly text: string;
    readonly reasoning: string;
    readonly finishReasons: readonly string[];
  };
  readonly streamedLoop: {
    readonly asked: readonly string[];
    readonly text: string;
    readonly kinds: readonly string[];
  };
  readonly objects: { readonly object: unknown; readonly output: unknown };
  readonly forced: readonly { readonly toolName: string; readonly input: unknown }[];
}

for (const provider of ['openai responses', 'openai chat', 'openai-compatible', 'anthropic']) {
  describe(`Vercel AI SDK, provider ${provider}`, function () {
    this.timeout(180_000);
    let agent: ScriptedAgent;
    let found: Found;

    before(async () => {
      agent = await startScriptedAgent();
      found = await runNodeClient('ai-sdk.fixture.ts', [agent.url, agent.model, provider, question]);
    });
    after(() => agent?.[Symbol.asyncDispose]());

    it('generates text', () => {
      expect(found.text).to.deep.equal({ text: hello, finishReason: 'stop', outputTokens: hello.length });
    });

    it('streams text', () => {
      expect(found.streamed).to.deep.include(found.text);
      expect(found.streamed.pieces).to.be.greaterThan(1);
    });

    it('runs a loop of tools', () => {
      const { asked, text, finishReasons } = found.loop;
      expect({ asked, text }).to.deep.equal({ asked: ['Paris'], text: answer });
      expect(finishReasons).to.deep.equal(['tool-calls', 'stop']);
    });

    it('streams a loop of tools', () => {
      const { asked, text, kinds } = found.streamedLoop;
      expect({ asked, text }).to.deep.equal({ asked: ['Paris'], text: answer });
      expect(kinds).to.include.members(['tool-input-delta', 'tool-call', 'tool-result', 'text-delta']);
    });

    it('shows reasoning', () => {
      // The provider for chats of OpenAI itself knows no reasoning: OpenAI shows none there.
      expect(found.loop.reasoning).to.equal(provider === 'openai chat' ? undefined : thought);
    });

    it('generates objects', () => {
      expect(found.objects).to.deep.equal({ object: forecast, output: forecast });
    });

    it('forces the tool that it names', () => {
      expect(found.forced).to.deep.equal([{ toolName: 'get_weather', input: { city: 'Paris' } }]);
    });
  });
}
