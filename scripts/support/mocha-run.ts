// Runs test files in one process: `mocha-run.ts RESULT_FILE TIMEOUT_MS GREP [--color] FILE …`, and writes what came of them to
// RESULT_FILE.
import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';
import { skipReasons } from '#tests/support/skip.ts';
import { processorTime, watchDurations } from './durations.ts';
import { say, since } from './say.ts';
import type { Tally } from './tally.ts';

/** Time for handles to close once the last test has ended. */
const EXIT_GRACE_MS = 15_000;

const COLOR = '--color';
const [resultFile = '', timeoutMs = '60000', grep = '', ...rest] = process.argv.slice(2);
const files = rest.filter((argument) => argument !== COLOR);
const mocha = new Mocha({
  timeout: Number(timeoutMs),
  slow: 2000,
  reporter: 'spec',
  color: rest.includes(COLOR),
  forbidOnly: true,
});
if (grep !== '') mocha.grep(new RegExp(grep));
for (const file of files) mocha.addFile(file);

const startMs = Date.now();
const tally: Tally = { passed: 0, failed: 0, skipped: 0, notes: [] };
await mocha.loadFilesAsync();
const loaded = since(startMs);
const runner = mocha.run(() => finish());
const slowestFiles = watchDurations(runner);
runner.on('pass', () => count('passed'));
runner.on('fail', (test, error) => {
  count('failed');
  tally.notes.push(`failed: ${test.fullTitle()}: ${String(error.message).split('\n')[0]}`);
});
runner.on('pending', (test) => {
  count('skipped');
  const title = test.fullTitle();
  // Suites of services and addons, which may not use the tests' helpers, carry the reason in their title.
  const [, suite, reason] = /^(.*?) \(skipped: (.+?)\)/.exec(title) ?? [];
  if (suite !== undefined && reason !== undefined) skipReasons.set(suite, reason);
  const explained = [...skipReasons.keys()].some((skipped) => title.startsWith(skipped));
  if (!explained) tally.notes.push(`skipped: ${title}: it gives no reason`);
});

function count(what: 'passed' | 'failed' | 'skipped'): void {
  tally[what] += 1;
}

function finish(): void {
  for (const [title, reason] of skipReasons) tally.notes.push(`skipped: ${title}: ${reason}`);
  save();
  say(`  ${since(startMs)}, ${loaded} of them to load; ${processorTime()}`);
  for (const line of slowestFiles()) say(line);
  process.exitCode = tally.failed === 0 ? 0 : 1;
  setTimeout(() => {
    const open = process.getActiveResourcesInfo().filter((kind) => kind !== 'Timeout');
    tally.failed += 1;
    tally.notes.push(`failed: tests ended but the process did not; still open: ${open.join(', ') || 'timers'}`);
    save();
    say('The tests have ended but left something open; the process is ended.');
    process.exit(1);
  }, EXIT_GRACE_MS).unref();
}

function save(): void {
  writeFileSync(resultFile, JSON.stringify(tally));
}
