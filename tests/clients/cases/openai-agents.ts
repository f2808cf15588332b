import { expect } from 'chai';
import { answer, forecast } from '../support/scripted-agent.ts';

interface Loop {
  readonly asked: readonly string[];
  readonly text: string;
}

/** What a script with the OpenAI Agents SDK prints. */
export interface AgentsFound {
  readonly loop: Loop & { readonly items: readonly string[]; readonly outputTokens: number };
  readonly streamedLoop: Loop & { readonly kinds: readonly string[] };
  readonly object: unknown;
  readonly handoff: { readonly last: string; readonly text: string };
  readonly second: { readonly byHistory: string; readonly byId: string };
}

/** `items`: what the SDK calls a call, its result and a message; `events`: what it calls its events. */
export function agentsCases(found: () => AgentsFound, items: readonly string[], events: readonly string[]): void {
  it('runs a loop of strict tools', () => {
    const { asked, text, items: made, outputTokens } = found().loop;
    expect({ asked, text }).to.deep.equal({ asked: ['Paris'], text: answer });
    expect(made).to.include.members([...items]);
    expect(outputTokens).to.be.greaterThan(answer.length);
  });

  it('streams a loop of strict tools', () => {
    const { asked, text, kinds } = found().streamedLoop;
    expect({ asked, text }).to.deep.equal({ asked: ['Paris'], text: answer });
    expect(kinds).to.include.members([...events]);
  });

  it('keeps its output to a type', () => {
    expect(found().object).to.deep.equal(forecast);
  });

  it('hands over to another agent', () => {
    expect(found().handoff).to.deep.equal({ last: 'meteorologist', text: answer });
  });

  it('goes on with a conversation', () => {
    expect(found().second).to.deep.equal({ byHistory: answer, byId: answer });
  });
}
