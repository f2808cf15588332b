// Finds the Node 24 that Stator runs on. Plain CommonJS without dependencies, because the machine's own, older Node runs it.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { spawn, spawnSync } = require('node:child_process');

const MINIMUM_MAJOR = 24;
const root = path.resolve(__dirname, '..');

function ownNode() {
  return Number(process.versions.node.split('.')[0]) >= MINIMUM_MAJOR ? process.execPath : undefined;
}

function packagedNode() {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  try {
    const manifest = require.resolve(`${name}/package.json`, { paths: [root] });
    const file = path.join(path.dirname(manifest), 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return fs.existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  }
}

/** Path of a Node that is new enough, or undefined. The packaged one wins, so that everybody runs the same release. */
function findNode() {
  return packagedNode() ?? ownNode();
}

function isCheckout() {
  return fs.existsSync(path.join(root, 'tsconfig.json'));
}

/** Installs the locked dependencies of a fresh or outdated checkout; an installed package has them already. */
function ensureDependencies() {
  if (!isCheckout()) return;
  const lock = path.join(root, 'package-lock.json');
  const marker = path.join(root, 'node_modules', '.package-lock.json');
  const stamp = path.join(root, 'node_modules', '.stator-installed');
  const current = fs.readFileSync(lock);
  if (fs.existsSync(marker) && fs.existsSync(stamp) && fs.readFileSync(stamp).equals(current)) return;
  process.stderr.write('stator: installing dependencies (once) …\n');
  // Not `npm ci`: it refuses a lock file as soon as a registry mirror lacks some other platform's optional package.
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const result = spawnSync(npm, ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (result.error) fail(`npm could not be started: ${result.error.message}. Install npm, then run this again.`);
  if (result.status !== 0) fail('npm install failed; its messages are above. Fix the cause, then run this again.');
  fs.writeFileSync(stamp, current);
}

function fail(message) {
  process.stderr.write(`stator: ${message}\n`);
  process.exit(1);
}

/** Runs a module under Node 24 with the terminal, the signals and the exit code passed through. */
function run(args) {
  ensureDependencies();
  const node = findNode();
  if (!node) {
    fail(
      `Node ${MINIMUM_MAJOR} or newer is needed (this is ${process.versions.node}) and no packaged one exists for ` +
        `${process.platform}-${process.arch}. Install Node ${MINIMUM_MAJOR}, then run this again.`,
    );
  }
  const child = spawn(node, args, { stdio: 'inherit' });
  // A terminal sends Ctrl-C to the whole process group; a supervisor signals only this process. Forward, and wait for the child.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => fail(`${node} could not be started: ${error.message}`));
  child.on('exit', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
      return;
    }
    process.exit(code ?? 1);
  });
}

const SOURCE_FLAGS = ['--conditions=source', '--disable-warning=ExperimentalWarning'];

module.exports = { root, run, findNode, isCheckout, SOURCE_FLAGS };
