import { expect } from 'chai';
import { findPython } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import { runPythonClient } from '../support/run-client.ts';
import { answer, hello, question, type ScriptedAgent, startScriptedAgent, thought } from '../support/scripted-agent.ts';

interface Found {
  readonly text: unknown;
  readonly streamed: { readonly pieces: number };
  readonly loop: unknown;
  readonly forced: unknown;
  readonly counted: number;
  readonly error: unknown;
}

describe('official anthropic package for Python', function () {
  this.timeout(180_000);
  let agent: ScriptedAgent;
  let found: Found;

  before(async function () {
    const python = findPython() ?? skip(this, 'the Python packages of the official clients are not installed');
    agent = await startScriptedAgent();
    found = await runPythonClient(python, 'anthropic_client.py', [agent.gateway.url, agent.model, question]);
  });
  after(() => agent?.[Symbol.asyncDispose]());

  it('answers, whole and streamed', () => {
    expect(found.text).to.deep.equal({ text: hello, stop: 'end_turn', output_tokens: hello.length });
    expect(found.streamed).to.include({ text: hello, output_tokens: hello.length });
    expect(found.streamed.pieces).to.be.greaterThan(1);
  });

  it('runs a loop of tools whose thoughts go back', () => {
    const stops = ['tool_use', 'end_turn'];
    expect(found.loop).to.deep.equal({ asked: ['Paris'], thoughts: [thought, 'Now I know.'], stops, text: answer });
  });

  it('forces the tool that it names', () => {
    expect(found.forced).to.deep.equal([{ city: 'Paris' }]);
  });

  it('counts tokens', () => {
    expect(found.counted).to.equal('<user>Hi'.length);
  });

  it('raises typed errors', () => {
    expect(found.error).to.deep.equal({ status: 404, type: 'not_found_error' });
  });
});
