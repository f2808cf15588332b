import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { describeEngine } from '../common/conformance.ts';
import { createEngine } from './create-engine.ts';
import { defaultOptions } from './options.ts';

describe(`llamacpp worker: conformance${skippedBecause}`, () => {
  const cacheDir = mkdtempSync(path.join(os.tmpdir(), 'stator-digests-'));

  before(function () {
    if (smolLm2 === undefined) this.skip();
  });

  after(() => rmSync(cacheDir, { recursive: true }));

  // One thread computes greedy tokens alike each time, but a batch of another shape rounds differently.
  describeEngine(
    'llamacpp, one thread',
    () => {
      const sizes = { contextLength: 1024, kvTokens: 2048, threads: 1, maxSequences: 8, flashAttention: false };
      return createEngine(
        { ...defaultOptions, ...sizes, modelPath: smolLm2 ?? '', cacheDir },
        pino({ level: 'silent' }),
      );
    },
    { exact: false },
  );
});
