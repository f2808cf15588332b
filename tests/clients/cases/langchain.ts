import { expect } from 'chai';
import { answer, forecast, hello } from '../support/scripted-agent.ts';

interface Loop {
  readonly asked: readonly string[];
  readonly text: string;
}

/** What a script with LangChain and LangGraph prints. */
export interface LangchainFound {
  readonly text: { readonly text: string; readonly outputTokens: number };
  readonly streamed: LangchainFound['text'] & { readonly pieces: number };
  readonly loop: Loop;
  readonly graph: Loop & { readonly kinds: readonly string[] };
  readonly streamedGraph: Loop;
  readonly objects: unknown;
}

export function langchainCases(found: () => LangchainFound): void {
  const looped = { asked: ['Paris'], text: answer };

  it('invokes', () => {
    expect(found().text).to.deep.equal({ text: hello, outputTokens: hello.length });
  });

  it('streams', () => {
    expect(found().streamed).to.deep.include(found().text);
    expect(found().streamed.pieces).to.be.greaterThan(1);
  });

  it('binds strict tools', () => {
    expect(found().loop).to.deep.equal(looped);
  });

  it('runs a graph of an agent and its tools', () => {
    expect(found().graph).to.deep.equal({ ...looped, kinds: ['human', 'ai', 'tool', 'ai'] });
  });

  it('streams a graph', () => {
    expect(found().streamedGraph).to.deep.equal(looped);
  });

  it('structures its output', () => {
    expect(found().objects).to.deep.equal({ jsonSchema: forecast, functionCalling: forecast });
  });
}
