import { expect } from 'chai';
import { startTested, type TestedGateway } from './gateway.ts';
import { type RunOptions, runSchemathesis } from './run.ts';

/** Paths whose bodies are small enough that every combination of their fields' bounds is a matter of seconds. */
const smallPaths =
  '^/(v1/(files|batches|models|rerank$|score$|classify$|embeddings$|detokenize|responses/\\{id)|health|live|docs)';

for (const keys of [false, true]) {
  describe(`Schemathesis against the OpenAPI document, ${keys ? 'with' : 'without'} keys`, function () {
    // It asks for as long as its seed says, on a busy machine as often.
    this.timeout(10 * 60_000);
    let gateway: TestedGateway;

    before(async function () {
      gateway = await startTested(this, { keys });
    });
    after(() => gateway?.stop());

    const asked = (options: Omit<RunOptions, 'url' | 'key'>): ReturnType<typeof runSchemathesis> =>
      runSchemathesis({ url: gateway.url, ...(gateway.key === undefined ? {} : { key: gateway.key }), ...options });

    it('finds no answer that the document does not describe, in random requests and sequences', async () => {
      const found = await asked({ phases: ['fuzzing', 'stateful'], examples: keys ? 3 : 8 });
      expect(found.faults).to.equal('');
      expect(found.operations).to.equal(gateway.operations);
      expect(found.cases).to.be.above(gateway.operations);
    });

    if (!keys)
      it('finds none at the bounds of what small bodies and parameters may be, and by other methods', async () => {
        const found = await asked({ phases: ['coverage'], examples: 1, paths: smallPaths });
        expect(found.faults).to.equal('');
        expect(found.operations).to.be.above(15);
        expect(found.cases).to.be.above(500);
      });

    if (!keys)
      it('finds none where administrators set when workers are busy', async () => {
        const found = await asked({ phases: ['coverage', 'fuzzing'], examples: 10, paths: '^/busy_threshold$' });
        expect(found.faults).to.equal('');
        expect(found.operations).to.equal(2);
      });
  });
}
