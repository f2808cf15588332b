import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { formatHelp, formatSettings } from './format.ts';
import { loadSettings, loadWithOrigins } from './load.ts';
import { defaultSettings, defineSettings, setting } from './settings.ts';

const table = defineSettings({
  listen: setting.string({ default: '127.0.0.1:0', group: 'Network', help: 'Address.' }),
  maxRequests: setting.integer({ default: 16, min: 1, max: 100, help: 'Requests at once.' }),
  ratio: setting.number({ default: 0.5, min: 0, max: 1, help: 'A share.' }),
  mode: setting.choice(['round-robin', 'random'], { default: 'random', help: 'How workers are picked.' }),
  verbose: setting.boolean({ default: false, help: 'Says more.' }),
  models: setting.list({ default: [], help: 'Models.' }),
  graceSeconds: setting.integer({ default: 30, min: 0, unit: 'seconds', help: 'Patience.' }),
  cacheBytes: setting.integer({ default: 0, min: 0, unit: 'bytes', help: 'Size.' }),
  token: setting.optionalString({ secret: true, short: 't', help: 'Secret.' }),
});
const known = ['otherSetting'];

function load(argv: readonly string[], env: Record<string, string> = {}, file?: string) {
  return loadSettings(table, { argv, env, known, ...(file === undefined ? {} : { file }) });
}

/** The error that loading gives; fails where there is none. */
function refusal(argv: readonly string[], env: Record<string, string> = {}, file?: string): StatorError {
  try {
    load(argv, env, file);
  } catch (error) {
    expect(error).to.be.instanceOf(StatorError);
    return error as StatorError;
  }
  throw new Error('the settings were accepted');
}

describe('loadSettings', () => {
  let folder: string;
  const write = (text: string): string => {
    const path = join(folder, 'stator.yaml');
    writeFileSync(path, text);
    return path;
  };
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'stator-config-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('takes flag before environment before file before default', () => {
    const file = write('maxRequests: 2\nratio: 0.2\nlisten: from-file\n');
    const env = { STATOR_MAX_REQUESTS: '3', STATOR_RATIO: '0.3' };
    const settings = load(['--max-requests', '4'], env, file);
    expect(settings).to.deep.include({ maxRequests: 4, ratio: 0.3, listen: 'from-file', mode: 'random' });
    const { origins } = loadWithOrigins(table, { argv: ['--max-requests', '4'], env, file, known });
    expect(origins).to.deep.include({ maxRequests: 'flag', ratio: 'environment', listen: 'file', mode: 'default' });
  });

  it('finds the file by --config and by STATOR_CONFIG, the flag first', () => {
    const file = write('maxRequests: 7\n');
    expect(load(['--config', file]).maxRequests).to.equal(7);
    expect(load([`--config=${file}`], { STATOR_CONFIG: '/absent' }).maxRequests).to.equal(7);
    expect(load([], { STATOR_CONFIG: file }).maxRequests).to.equal(7);
    expect(refusal(['--config', '/absent.yaml']).message).to.include('/absent.yaml cannot be read');
  });

  it('reads every form of a flag', () => {
    expect(load(['--mode=round-robin', '--verbose', '-t', 'x'])).to.deep.include({
      mode: 'round-robin',
      verbose: true,
      token: 'x',
    });
    expect(load(['--no-verbose'], { STATOR_VERBOSE: 'yes' }).verbose).to.equal(false);
    expect(load(['--verbose=off']).verbose).to.equal(false);
    expect(load(['--models', 'a, b,,c']).models).to.deep.equal(['a', 'b', 'c']);
  });

  it('understands units of the same kind', () => {
    expect(load(['--grace-seconds', '2m', '--cache-bytes', '1.5KiB'])).to.deep.include({
      graceSeconds: 120,
      cacheBytes: 1536,
    });
    expect(refusal(['--grace-seconds', '500ms']).message).to.include('is not a whole number');
    expect(refusal(['--grace-seconds', '2MiB']).message).to.include('like 500ms, 30s or 5m');
    expect(refusal(['--max-requests', '2s']).field).to.equal('--max-requests');
  });

  it('refuses unknown names with the nearest one, wherever they stand', () => {
    expect(refusal(['--max-request', '1']).message).to.equal(
      'Unknown setting --max-request. Did you mean --max-requests?',
    );
    expect(refusal([], { STATOR_MAX_REQUEST: '1' }).message).to.include('Did you mean STATOR_MAX_REQUESTS?');
    const file = write('listen: here\n\nmaxRequest: 1\n');
    expect(refusal([], {}, file).message).to.equal(`${file}:3: Unknown setting maxRequest. Did you mean maxRequests?`);
    expect(refusal(['--zzzzzzzzzz']).message).to.equal('Unknown setting --zzzzzzzzzz.');
  });

  it('lets pass what other commands know, and what is not ours', () => {
    const file = write('otherSetting: 1\nmaxRequests: 5\n');
    expect(load([], { STATOR_OTHER_SETTING: '1', PATH: '/bin', STATOR_TEST_X: '1' }, file).maxRequests).to.equal(5);
    expect(refusal(['--other-setting', '1']).message).to.include('Unknown setting --other-setting');
  });

  it('refuses values of the wrong type and says what is expected', () => {
    expect(refusal(['--max-requests', 'many']).message).to.equal(
      '--max-requests: "many" is not a whole number from 1 to 100.',
    );
    expect(refusal(['--max-requests', '101']).message).to.include('from 1 to 100');
    expect(refusal(['--max-requests', '1.5']).code).to.equal('invalid_argument');
    expect(refusal([], { STATOR_RATIO: '' }).message).to.include('STATOR_RATIO: "" is not a number');
    expect(refusal([], { STATOR_VERBOSE: 'maybe' }).message).to.include('true or false');
    expect(refusal(['--mode', 'round-robbin']).message).to.include('Did you mean round-robin?');
    const file = write('listen: a\nmaxRequests: [1, 2]\n');
    expect(refusal([], {}, file).message).to.include(`${file}:2: maxRequests: "1,2" is not`);
  });

  it('refuses flags without a value', () => {
    expect(refusal(['--max-requests']).message).to.equal('--max-requests needs a value.');
    expect(refusal(['--listen', '--verbose']).message).to.equal('--listen needs a value.');
  });

  it('refuses files that are no mapping or no YAML', () => {
    expect(refusal([], {}, write('- a\n')).message).to.include('a mapping of settings is expected');
    expect(refusal([], {}, write('listen: {a: 1}\n')).message).to.include(':1: listen: a single value is expected');
    expect(refusal([], {}, write('listen: "a\n')).message).to.include('stator.yaml');
    expect(load([], {}, write('')).maxRequests).to.equal(16);
  });

  it('hands on what is no flag', () => {
    const loaded = loadWithOrigins(table, { argv: ['a', '--verbose', 'b', '--', '--threads', '2'], env: {}, known });
    expect(loaded.positional).to.deep.equal(['a', 'b']);
    expect(loaded.passthrough).to.deep.equal(['--threads', '2']);
  });

  it('never shows a secret', () => {
    const loaded = loadWithOrigins(table, { argv: ['--token', 'hunter2'], env: {}, known });
    const text = formatSettings(table, loaded);
    expect(text).to.include('token: "[redacted]"  # flag').and.not.include('hunter2');
    expect(text).to.include('maxRequests: 16  # default');
  });

  it('explains every setting in --help', () => {
    const help = formatHelp({ name: 'test', settings: table });
    for (const name of ['--listen', '--max-requests', '-t, --token', 'STATOR_CACHE_BYTES'])
      expect(help).to.include(name);
    expect(help)
      .to.match(/Network:\n {2}--listen/)
      .and.include('Default: 16.');
  });

  it('gives defaults for tests', () => {
    expect(defaultSettings(table, { ratio: 1 })).to.deep.include({ ratio: 1, maxRequests: 16, token: undefined });
  });
});
