import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { TemplateError } from './errors.ts';
import { parseJson } from './json.ts';
import { compileTemplate } from './template.ts';
import type { Data, Dict } from './value.ts';

interface Expected {
  readonly text?: string;
  readonly raised?: string;
  readonly failed?: true;
}

const folder = new URL('../../tests/fixtures/templates/', import.meta.url);
const snippets = parseJson(readFileSync(new URL('snippets.json', folder), 'utf8')) as Dict;
const rendered: { sources: Expected[]; whitespace: Expected[] } = JSON.parse(
  readFileSync(new URL('snippets-rendered.json', folder), 'utf8'),
);
const limits = { now: new Date(2025, 2, 9, 7, 5, 3), nowMs: () => 0, maxMs: 1000, maxOutputLength: 1_000_000 };

function run(source: string, context: Data): Expected {
  try {
    return { text: compileTemplate(source).render(context as Dict, limits) };
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    return error.kind === 'raised' ? { raised: error.message } : { failed: true };
  }
}

function equalsPython(group: 'sources' | 'whitespace', context: Data): void {
  for (const [i, source] of (snippets.get(group) as string[]).entries()) {
    it(JSON.stringify(source), () => expect(run(source, context)).to.deep.equal(rendered[group][i]));
  }
}

describe('Jinja equals Python', () => {
  describe('expressions and statements', () => equalsPython('sources', snippets.get('context')));
  describe('whitespace', () => equalsPython('whitespace', new Map()));
});
