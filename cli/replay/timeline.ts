import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { timelineOf } from '#sim/traces/timeline.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { timelineSettings } from './settings.ts';

/** `stator replay timeline`: a request trace as a file that Perfetto and Chrome's tracing page show. */
export async function timeline(argv: readonly string[]): Promise<void> {
  const summary = 'Turns a request trace into a timeline of turns and tools, for ui.perfetto.dev.';
  const name = 'replay timeline';
  const loaded = configure({ name, settings: timelineSettings, argv, summary, positional: 'TRACE' });
  if (loaded === undefined) return;
  await runInterruptible(name, async () => {
    const [trace, ...more] = loaded.positional;
    if (trace === undefined || more.length > 0) throw StatorError.invalid('TRACE', 'Name one trace.');
    const { out } = loaded.settings;
    const output = out === '-' ? process.stdout : createWriteStream(out);
    try {
      await pipeline(rendered(trace), output, { end: out !== '-' });
    } catch (cause) {
      if (cause instanceof StatorError) throw cause;
      throw StatorError.invalid('--out', `The timeline ${out} cannot be written: ${String(cause)}`, { cause });
    }
  });
}

async function* rendered(trace: string): AsyncGenerator<string> {
  let before = '{"displayTimeUnit":"ms","traceEvents":[\n';
  for await (const event of timelineOf(trace)) {
    yield `${before}${JSON.stringify(event)}`;
    before = ',\n';
  }
  yield before.startsWith('{') ? `${before}]}\n` : '\n]}\n';
}
