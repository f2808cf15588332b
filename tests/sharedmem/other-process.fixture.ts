// Another process for the tests of shared memory: `PATH BYTES`. Opens or makes the file, prints its first byte, writes 42 into its
// last, and waits to be killed.

import { openSharedMemory } from '#lib/sharedmem/shared-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';

const [path = '', bytes = ''] = process.argv.slice(2);
const memory = await openSharedMemory({ path, bytes: Number(bytes), create: true }, hostMemory());
memory.buffer[memory.buffer.length - 1] = 42;
process.stdout.write(`${memory.buffer[0]}\n`);
process.stdin.resume();
