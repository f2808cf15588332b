import { expect } from 'chai';
import { startTested, type TestedGateway } from '../conformance/schemathesis/gateway.ts';
import { runSchemathesis } from '../conformance/schemathesis/run.ts';

for (const keys of [false, true]) {
  describe(`Schemathesis for longer, ${keys ? 'with' : 'without'} keys`, function () {
    this.timeout(15 * 60_000);
    let gateway: TestedGateway;

    before(async function () {
      gateway = await startTested(this, { keys });
    });
    after(() => gateway?.stop());

    it('finds no answer that the document does not describe', async () => {
      const { url, key } = gateway;
      const asked = { url, ...(key === undefined ? {} : { key }), examples: 60 };
      const found = await runSchemathesis({ ...asked, phases: ['examples', 'coverage', 'fuzzing', 'stateful'] });
      expect(found.faults).to.equal('');
      expect(found.operations).to.equal(gateway.operations);
    });
  });
}
