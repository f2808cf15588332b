import { expect } from 'chai';
import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';
import { findPython } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import type { GetStack } from './stack.ts';

interface Raised {
  readonly class: string;
  readonly status?: number;
  readonly param?: string | null;
}

interface Found {
  readonly chat: {
    readonly object: string;
    readonly model: string;
    readonly text: string;
    readonly completion_tokens: number;
  };
  readonly stream: {
    readonly text: string;
    readonly finish: readonly string[];
    readonly completion_tokens: number;
    readonly ids: number;
  };
  readonly completion: { readonly texts: readonly string[] };
  readonly models: readonly string[];
  readonly retrieved: string;
  readonly abort: string;
  readonly errors: Readonly<Record<'unknown_model' | 'bad_temperature' | 'no_messages', Raised>>;
}

/** The official `openai` package for Python, as it is. */
export function openaiPythonCases(stack: GetStack): void {
  let found: Found;

  before(async function () {
    this.timeout(180_000);
    const python = findPython() ?? skip(this, 'the Python packages openai and grpcio-tools are not installed');
    const script = inProject('tests/clients/python/chat_openai.py');
    const { status, output } = await run(python, [script, `${stack().cluster.url}/v1`, stack().model]);
    if (status !== 0) throw new Error(output);
    found = JSON.parse(output.trim().split('\n').at(-1) ?? '') as Found;
  });

  it('chats', () => {
    expect(found.chat.object).to.equal('chat.completion');
    expect(found.chat.model).to.equal(stack().model);
    expect(found.chat.text).to.be.a('string').that.is.not.empty;
  });

  it('streams the same text as it answers at once', () => {
    // Between its two requests the script cannot empty the cache of llama.cpp.
    if (stack().engine === 'mocker') expect(found.stream.text).to.equal(found.chat.text);
    expect(found.stream.text).to.be.a('string').that.is.not.empty;
    expect(found.stream.finish).to.have.length(1);
    expect(found.stream.completion_tokens).to.be.within(1, 12);
    expect(found.stream.ids).to.equal(1);
  });

  it('completes, with several choices', () => {
    expect(found.completion.texts).to.have.length(2);
    for (const text of found.completion.texts) expect(text).to.be.a('string').that.is.not.empty;
  });

  it('lists and retrieves models', () => {
    expect(found.models).to.include(stack().model);
    expect(found.retrieved).to.equal(stack().model);
  });

  it('closes a stream early', () => {
    expect(found.abort).to.equal('closed');
  });

  it('raises typed errors', () => {
    expect(found.errors.unknown_model).to.include({ class: 'NotFoundError', status: 404 });
    expect(found.errors.bad_temperature).to.include({ class: 'BadRequestError', status: 400, param: 'temperature' });
    expect(found.errors.no_messages).to.include({ class: 'BadRequestError', status: 400, param: 'messages' });
  });
}
