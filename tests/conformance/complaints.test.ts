import { readFile } from 'node:fs/promises';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { renderChat, TemplateCache } from '#core/chat/render.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { ChatPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { inProject } from '../../scripts/support/project.ts';
import { skip } from '../support/skip.ts';
import { until } from '../support/until.ts';

const model = 'test-model';
const messages = [{ role: 'user', content: 'Hi' }];

describe('what users of Dynamo complain of', () => {
  it('has tests that exist, each by its name', async () => {
    const rows = (await readFile(inProject('docs/complaints.md'), 'utf8'))
      .split('\n')
      .filter((line) => /^\| \d+ /.test(line));
    expect(rows).to.have.length(12);
    for (const row of rows) {
      const named = [...row.matchAll(/`([\w./-]+\.ts)`: ((?:“[^”]+”(?:, )?)+)/g)];
      expect(named, row).to.not.be.empty;
      for (const [, file = '', titles = ''] of named) {
        const source = await readFile(inProject(file), 'utf8');
        for (const [, title = ''] of titles.matchAll(/“([^”]+)”/g))
          expect(source, `${file}: ${title}`).to.contain(title);
      }
    }
  });

  it('3: templates may index by a number after a dot', () => {
    const part = { part: { case: 'text' as const, value: 'Hi' } };
    const prompt = create(ChatPromptSchema, { messages: [{ role: 'user', content: [part], plainText: false }] });
    const main =
      '{% for m in messages %}{{ m.content.0.type }}={{ m.content.0.text }},{% endfor %}{{ messages.0.role }}';
    const limits = { now: new Date(0), nowMs: () => 0, maxMs: 1000, maxOutputLength: 10_000 };
    const specialTokens = { bos: '', eos: '', unk: '', pad: '' };
    const options = { ...limits, specialTokens };
    expect(renderChat(new TemplateCache({ limit: 1 }), { main, named: {} }, prompt, options)).to.equal('text=Hi,user');
  });

  describe('of the gateway', () => {
    let gateway: Harness;

    before(async () => {
      gateway = await startHarness();
      gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    });
    after(() => gateway[Symbol.asyncDispose]());

    const asked: readonly (readonly [path: string, body: object, field: string])[] = [
      ['/v1/chat/completions', { messages }, 'stop'],
      ['/v1/completions', { prompt: 'Hi' }, 'stop'],
      ['/v1/messages', { messages, max_tokens: 4 }, 'stop_sequences'],
    ];
    for (const [path, body, field] of asked) {
      it(`5: ${path} takes 32 stop strings, and refuses more by the name of the field`, async () => {
        const ask = (count: number): Promise<Response> => {
          const stops = Array.from({ length: count }, (_, index) => `stop ${index}`);
          return gateway.post(path, { model, ...body, [field]: stops });
        };
        const taken = await ask(32);
        expect(taken.status, await taken.text()).to.equal(200);
        const refused = await ask(33);
        expect(refused.status).to.equal(400);
        expect(await refused.text()).to.contain(field);
      });
    }

    it('1: keeps nothing of large requests that have ended', async function () {
      this.timeout(180_000);
      const collect = globalThis.gc;
      if (collect === undefined) skip(this, 'garbage can only be collected with --expose-gc');
      const big = { model, messages: [{ role: 'user', content: 'x'.repeat(512 * 1024) }] };
      const bytes = (): number => {
        collect();
        const { heapUsed, external } = process.memoryUsage();
        return heapUsed + external;
      };
      const round = async (): Promise<number> => {
        // Far beyond the context: refused after it was read and tokenized.
        for (let index = 0; index < 20; index += 1) {
          const response = await gateway.post('/v1/chat/completions', big);
          await response.arrayBuffer();
          expect(response.status).to.equal(400);
        }
        return bytes();
      };
      await round();
      const before = await round();
      await round();
      // One of them kept would be half a megabyte, all of them ten. What nobody keeps may be freed a little later.
      await until('all but what was there before is free', () => bytes() - before < 8 * 1024 ** 2);
    });
  });
});
