// `npm run bench -- NAME [--quick]`: runs bench/NAME/main.ts and prints its report; the last line is JSON.
import { readdir } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { type BenchModule, formatReport, MissingTool } from './report.ts';

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [name] = positionals;
const known = await benchmarks();
if (name === undefined || !known.includes(name)) {
  process.stderr.write(`usage: npm run bench -- NAME [--quick]\nbenchmarks: ${known.join(', ')}\n`);
  process.exitCode = 2;
} else {
  await measure(name).catch((error: unknown) => {
    if (!(error instanceof MissingTool)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  });
}

async function measure(benchmark: string): Promise<void> {
  const bench: BenchModule = await import(`./${benchmark}/main.ts`);
  const report = await bench.run({ quick: values.quick });
  process.stdout.write(`${formatReport(report)}\n`);
  if (!values.quick && report.rows.some((row) => !row.ok)) process.exitCode = 1;
}

async function benchmarks(): Promise<string[]> {
  const entries = await readdir(import.meta.dirname, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
