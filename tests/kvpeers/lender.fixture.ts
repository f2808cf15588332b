// Another node for the tests of peers: `BACKEND BLOCKS BLOCK_BYTES`. Has one prompt, says where it is found, and waits to be stopped or killed.
import { MemoryHub } from '#lib/discovery/memory.ts';
import type { TransferBackend } from '#lib/transfer/transfer.ts';
import { spec, TestNode } from './node.ts';

const [backend, blocks = '', blockBytes = ''] = process.argv.slice(2);
const count = Number(blocks);
const node = await TestNode.start(new MemoryHub(), {
  backend: backend as TransferBackend,
  layout: { ...spec, blockBytes: Number(blockBytes) },
  slots: count,
});
node.store(node.chain('a', count));
process.stdout.write(`${JSON.stringify({ address: node.address, instanceId: String(node.instanceId) })}\n`);
process.stdin.resume();
