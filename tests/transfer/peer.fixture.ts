// Another process for the transfer tests: `BACKEND BYTES SECRET`. Lends one region; answers lines of JSON (protocol.ts).
import { createInterface } from 'node:readline';
import { crc32 } from 'node:zlib';
import { encodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { startAgent } from './backends.ts';
import { fillPattern } from './pattern.ts';
import type { Answer, Ask } from './protocol.ts';

const [backend, bytes, secret] = process.argv.slice(2);
const notifications: string[] = [];
const agent = await startAgent(backend as TransferBackend, {
  name: 'lender',
  ...(secret !== '' && secret !== undefined && { secret }),
  onNotification: (from, message) => notifications.push(`${from}: ${Buffer.from(message).toString('hex')}`),
});
const memory = hostMemory().allocate(Number(bytes));
let region = await agent.register(memory);

async function answer(ask: Ask): Promise<Answer> {
  if (ask.op === 'offer') {
    const metadata = Buffer.from(await agent.metadata()).toString('base64');
    const pieces = [{ region: region.ref, offset: 0, bytes: memory.byteLength }];
    return { metadata, descriptors: Buffer.from(encodeDescriptors(pieces)).toString('base64') };
  }
  if (ask.op === 'fill') fillPattern(memory, ask.seed);
  else if (ask.op === 'checksum') return { checksum: crc32(memory) };
  else if (ask.op === 'revoke') await region.revoke();
  else if (ask.op === 'register') region = await agent.register(memory);
  else if (ask.op === 'counters') return { counters: agent.counters() };
  else if (ask.op === 'notifications') return { notifications };
  else await agent.close();
  return {};
}

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line) as Ask;
  const given = await answer(ask).catch((error: unknown): Answer => ({ failure: String(error) }));
  process.stdout.write(`${JSON.stringify(given)}\n`);
  if (ask.op === 'leave') break;
}
process.stdin.destroy();
