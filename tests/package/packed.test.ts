import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { projectRoot, toolEnvironment } from '../../scripts/support/project.ts';
import { post } from '../support/http.ts';
import { StatorProcess } from '../support/stator-process.ts';

const run = promisify(execFile);

/** Time for npm to install the package and for its addons to be compiled on first use. */
const INSTALL_TIMEOUT_MS = 15 * 60_000;

describe('packed tarball', function () {
  this.timeout(INSTALL_TIMEOUT_MS);
  let folder: string;
  let files: string[];

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'stator-packed-'));
    const env = toolEnvironment();
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: projectRoot,
      env,
      maxBuffer: 1 << 26,
    });
    const packed: unknown = JSON.parse(stdout.slice(stdout.search(/^[[{]/m)));
    files = fileNames(packed);
    const [tarball = ''] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
    const home = path.join(folder, 'home');
    await mkdir(home);
    await writeFile(path.join(home, 'package.json'), '{"name": "home", "private": true}');
    const install = [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--prefer-offline',
      path.join(folder, tarball),
    ];
    await run('npm', install, { cwd: home, env, maxBuffer: 1 << 26 });
  });

  after(() => rm(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 }));

  it('carries the contracts, the compiled code and the sources of the addons, and nothing else', () => {
    expect(files).to.include('proto/stator/engine/v1/engine.proto');
    expect(files).to.include('dist/cli/main.js');
    expect(files).to.include('dist/native/llamacpp/binding.gyp');
    expect(files).to.include('LICENSE');
    const foreign = files.filter((file) => /\.test\.|node_modules|\.node$|^(tests|bench|docs|core|lib)\//.test(file));
    expect(foreign).to.deep.equal([]);
  });

  it('answers --help', async () => {
    const { stdout } = await run('npx', ['--no-install', 'stator', '--help'], { cwd: path.join(folder, 'home') });
    expect(stdout).to.match(/stator/);
    expect(stdout).to.match(/\bup\b/);
  });

  it('serves a chat with `stator up`', async () => {
    const command = path.join(folder, 'home', 'node_modules', '.bin', 'stator');
    const args = ['up', '--engine', 'mocker', '--port', '0'];
    await using up = new StatorProcess(args, {
      command: [command],
      env: { XDG_CACHE_HOME: path.join(folder, 'cache') },
    });
    await up.printed(/Ctrl-C stops everything/, INSTALL_TIMEOUT_MS);
    const [, url = ''] = await up.printed(/URL +(\S+)\/v1/);
    const listed = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    const body = { model: listed.data[0]?.id, messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 };
    const answer = await post(`${url}/v1/chat/completions`, JSON.stringify(body));
    expect(answer.status, answer.text).to.equal(200);
    expect(await up.stop('SIGINT')).to.equal(0);
  });

  it('replays generated load', async () => {
    const args = [
      '--no-install',
      'stator',
      'replay',
      '--synthetic',
      'plain',
      '--request-count',
      '20',
      '--report-json',
      '-',
    ];
    const { stdout } = await run('npx', args, { cwd: path.join(folder, 'home') });
    expect(JSON.parse(stdout)).to.have.nested.property('requests.completed', 20);
  });
});

/** npm 11 prints an array of packages, later ones an object by name. */
function fileNames(packed: unknown): string[] {
  const [first] = Object.values(packed as Record<string, { files: { path: string }[] }>);
  return first?.files.map((file) => file.path) ?? [];
}
