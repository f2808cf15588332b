import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import {
  engineLoadAdapter,
  engineSnapshot,
  engineUnloadAdapter,
  type ModelHandle,
  modelFree,
  modelLoad,
} from './index.ts';
import { writeAdapter } from './testing/adapter.ts';
import { chat, finishReasons, replay, TestEngine } from './testing/harness.ts';
import { skippedBecause, smolLm2 } from './testing/model.ts';

describe(`llama.cpp addon: adapters${skippedBecause}`, function () {
  this.timeout(60_000);
  let model: ModelHandle;
  let prompt: Uint32Array;
  let folder: string;

  before(async function () {
    if (smolLm2 === undefined) return this.skip();
    model = await modelLoad(smolLm2);
    prompt = await chat(model, 'Name the colours of the rainbow, and say in one sentence which one you like best.');
    folder = mkdtempSync(path.join(os.tmpdir(), 'stator-lora-'));
    writeAdapter(path.join(folder, 'strong.gguf'), { embedding: 576, layers: 30, strength: 0.5 });
    writeAdapter(path.join(folder, 'none.gguf'), { embedding: 576, layers: 30, strength: 0 });
    writeAdapter(path.join(folder, 'foreign.gguf'), { embedding: 64, layers: 1, strength: 1 });
  });

  after(() => {
    if (model !== undefined) modelFree(model);
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  it('computes each sequence with its own adapter, also side by side', async () => {
    await using engine = await TestEngine.create(model);
    for (const name of ['strong', 'none']) {
      expect(await engineLoadAdapter(engine.handle, name, path.join(folder, `${name}.gguf`))).to.equal(false);
      expect(await engineLoadAdapter(engine.handle, name, path.join(folder, `${name}.gguf`))).to.equal(true);
    }
    const alone = async (adapter: string) =>
      (await engine.generate(prompt, { adapter, maxTokens: 12, ignoreEos: true })).tokens;
    const plain = await alone('');
    const strong = await alone('strong');
    expect(strong).not.to.deep.equal(plain);
    expect(await alone('none')).to.deep.equal(plain);
    const mixed = await Promise.all(['', 'strong', 'none', 'strong'].map(alone));
    expect(mixed.map((tokens) => tokens[0])).to.deep.equal([plain[0], strong[0], plain[0], strong[0]]);
    expect(engine.steps.filter((step) => step.handles.length > 2)).to.deep.equal([]);
    expect(replay(engine.changes)).to.deep.equal(replay(await engineSnapshot(engine.handle)));
  });

  it('never shares cells between adapters and forgets them with the adapter', async () => {
    await using engine = await TestEngine.create(model);
    await engineLoadAdapter(engine.handle, 'strong', path.join(folder, 'strong.gguf'));
    await engine.generate(prompt, { maxTokens: 1 });
    const blocks = replay(engine.changes).size;
    const first = await engine.generate(prompt, { adapter: 'strong', maxTokens: 1 });
    expect(first.prefilled?.cachedTokens).to.equal(0);
    expect(
      (await engine.generate(prompt, { adapter: 'strong', maxTokens: 1 })).prefilled?.cachedTokens,
    ).to.be.greaterThan(0);
    await engineUnloadAdapter(engine.handle, 'strong');
    expect(replay(engine.changes).size).to.equal(blocks);
    const late = await engine.generate(prompt, { adapter: 'strong' });
    expect(late.finished?.reason).to.equal(finishReasons.error);
    expect(late.finished?.error?.code).to.equal('not_found');
  });

  it('refuses what it cannot load or unload', async () => {
    await using engine = await TestEngine.create(model);
    const code = (attempt: Promise<unknown>) =>
      attempt.then(
        () => 'done',
        (error: unknown) => Reflect.get(Object(error), 'code'),
      );
    expect(await code(engineLoadAdapter(engine.handle, 'a', path.join(folder, 'foreign.gguf')))).to.equal(
      'invalid_argument',
    );
    expect(await code(engineLoadAdapter(engine.handle, 'a', path.join(folder, 'missing.gguf')))).to.equal('not_found');
    expect(await code(engineLoadAdapter(engine.handle, 'a', smolLm2 ?? ''))).to.equal('invalid_argument');
    expect(await code(engineUnloadAdapter(engine.handle, 'a'))).to.equal('not_found');
    await engineLoadAdapter(engine.handle, 'used', path.join(folder, 'strong.gguf'));
    const running = engine.start(prompt, { adapter: 'used', maxTokens: 300, ignoreEos: true });
    expect(await code(engineUnloadAdapter(engine.handle, 'used'))).to.equal('conflict');
    engine.cancel(running.handle);
    await running.result;
    expect(await code(engineUnloadAdapter(engine.handle, 'used'))).to.equal('done');
  });
});
