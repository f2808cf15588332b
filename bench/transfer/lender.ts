// The process that lends memory to the benchmark: `BACKEND BYTES`. Writes what it offers, then waits for its end.
import { encodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { startAgent } from '#tests/transfer/backends.ts';

const [backend = 'tcp', bytes = '0'] = process.argv.slice(2);
const agent = await startAgent(backend as TransferBackend, { name: 'lender' });
const memory = hostMemory().allocate(Number(bytes)).fill(7);
const region = await agent.register(memory);
const descriptors = encodeDescriptors([{ region: region.ref, offset: 0, bytes: memory.byteLength }]);
process.send?.({
  address: String(hostMemory().address(memory)),
  metadata: Buffer.from(await agent.metadata()).toString('base64'),
  descriptors: Buffer.from(descriptors).toString('base64'),
});
process.on('message', () => {});
