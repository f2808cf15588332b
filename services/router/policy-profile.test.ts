import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { profileOf } from '#core/scheduling/admission/parse-profile.ts';
import { classFor } from '#core/scheduling/admission/policy-class.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { loadPolicyConfig } from './policy-profile.ts';

describe('loadPolicyConfig', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'policy-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function fileOf(text: string): string {
    const path = join(directory, 'policy.yaml');
    writeFileSync(path, text);
    return path;
  }

  function refusal(path: string): StatorError {
    try {
      loadPolicyConfig(path);
    } catch (error) {
      if (error instanceof StatorError) return error;
      throw error;
    }
    throw new Error('It was accepted.');
  }

  it('loads the example of the documentation', () => {
    const page = readFileSync(new URL('../../docs/routing-queue.md', import.meta.url), 'utf8');
    const example = /```yaml\n(.*?)```/s.exec(page)?.[1] ?? '';
    const config = loadPolicyConfig(fileOf(example));
    const picked = (model: string, requested: string, uncached: number): string | undefined => {
      const profile = profileOf(config, model);
      return profile && classFor(profile, requested, () => uncached).policyClass.name;
    };
    expect(picked('llama', '', 100)).to.equal('interactive-warm');
    expect(picked('llama', '', 2048)).to.equal('interactive-cold');
    expect(picked('llama', 'batch', 100)).to.equal('batch');
    expect(picked('embedder', 'batch', 100)).to.equal('all');
    expect(config.root?.classes[1]).to.deep.include({ quantum: 2048, requestLimitPerWorker: 32, queuePolicy: 'fcfs' });
  });

  it('names file, line and field, with the nearest name that it knows', () => {
    const path = fileOf(`default_policy_family: a
uncached_isl_buckets:
  - { min_tokens: 0, bucket: all }
policy_classes:
  - name: a
    policy_family: a
    cache_bucket: all
    quantom: 1
`);
    const error = refusal(path);
    expect(error.code).to.equal('invalid_argument');
    expect(error.field).to.equal('policy_classes[0].quantom');
    expect(error.message).to.equal(`${path}:8: policy_classes[0].quantom: unknown key; did you mean quantum?`);
  });

  it('names the line of the nearest entry where a key is missing', () => {
    const path = fileOf('models:\n  x:\n    default_policy_family: a\n');
    expect(refusal(path).message).to.equal(`${path}:3: models.x.uncached_isl_buckets: it is missing`);
  });

  it('refuses what is no YAML, repeats a key, is empty, is huge or is not there', () => {
    expect(refusal(fileOf('a: [')).message).to.contain('policy.yaml: Flow sequence');
    expect(refusal(fileOf('models: {}\nmodels: {}\n')).message).to.contain('Map keys must be unique');
    expect(refusal(fileOf('')).message).to.contain('a mapping is expected, not nothing');
    expect(refusal(fileOf('#'.repeat(1 << 21))).message).to.contain('more than 1048576');
    expect(refusal(join(directory, 'none')).message).to.contain('cannot be read: ENOENT');
  });

  it('refuses a file whose aliases grow without bound', () => {
    const levels = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(9)}*l${i}]`);
    expect(refusal(fileOf(`l0: &l0 [x]\n${levels.join('\n')}\n`)).message).to.contain('alias');
  });
});
