// Finds the Node 24 that Stator runs on. Plain CommonJS without dependencies, because the machine's own, older Node runs it.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { spawn, spawnSync } = require('node:child_process');

const MINIMUM_MAJOR = 24;
const INSTALL_TIMEOUT_MS = 15 * 60_000;
const root = path.resolve(__dirname, '..');

function ownNode() {
  return Number(process.versions.node.split('.')[0]) >= MINIMUM_MAJOR ? process.execPath : undefined;
}

function packagedNode() {
  if (usesMusl()) return undefined;
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  try {
    const manifest = require.resolve(`${name}/package.json`, { paths: [root] });
    const file = path.join(path.dirname(manifest), 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    return fs.existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  }
}

/** The packaged Node is built for glibc. */
function usesMusl() {
  if (process.platform !== 'linux') return false;
  // Otherwise the report resolves the names of open connections.
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime === undefined;
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
  if (!isCheckout() || isInstalled()) return;
  const unlock = lockInstallation();
  try {
    if (!isInstalled()) install();
  } finally {
    unlock();
  }
}

function isInstalled() {
  const marker = path.join(root, 'node_modules', '.package-lock.json');
  return fs.existsSync(marker) && readOrEmpty(stampFile()).equals(fs.readFileSync(lockFile()));
}

function install() {
  process.stderr.write('stator: installing dependencies (once) …\n');
  const current = fs.readFileSync(lockFile());
  // Not `npm ci`: it refuses a lock file as soon as a registry mirror lacks some other platform's optional package.
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const result = spawnSync(npm, ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (result.error) fail(`npm could not be started: ${result.error.message}. Install npm, then run this again.`);
  if (result.signal) fail(`npm install was ended by ${result.signal}.`);
  if (result.status !== 0) fail('npm install failed; its messages are above. Fix the cause, then run this again.');
  fs.writeFileSync(stampFile(), current);
}

function lockFile() {
  return path.join(root, 'package-lock.json');
}

/** Holds the lock file that was installed; npm itself leaves no trace of it. */
function stampFile() {
  return path.join(root, 'node_modules', '.stator-installed');
}

function readOrEmpty(file) {
  return fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0);
}

/** Waits until no other process installs into this checkout. Returns how to let the next one in. */
function lockInstallation() {
  const file = path.join(root, '.stator', 'installing');
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const deadline = Date.now() + INSTALL_TIMEOUT_MS;
  let waiting = false;
  while (!takeLock(file)) {
    if (isAbandoned(file)) fs.rmSync(file, { force: true });
    else if (Date.now() > deadline) fail(`another process has been installing for long. If none is, remove ${file}.`);
    else {
      if (!waiting) process.stderr.write('stator: another process is installing dependencies; waiting …\n');
      waiting = true;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
  const unlock = () => fs.rmSync(file, { force: true });
  // fail() leaves by process.exit, which skips `finally`.
  process.once('exit', unlock);
  return unlock;
}

function takeLock(file) {
  try {
    fs.writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function isAbandoned(file) {
  const text = readOrEmpty(file).toString();
  // Empty: its owner is about to write.
  return text !== '' && !isAlive(Number(text));
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function fail(message) {
  process.stderr.write(`stator: ${message}\n`);
  process.exit(1);
}

/**
 * Every process of a checkout strips hundreds of files of their types and compiles them. Node keeps what comes of it, which
 * halves the time of a start; not where coverage is measured, which it would blur.
 */
function environment() {
  if (!isCheckout()) return process.env;
  if (process.env.NODE_V8_COVERAGE !== undefined) return { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' };
  return { NODE_COMPILE_CACHE: path.join(root, '.stator', 'compiled'), ...process.env };
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
  const child = spawn(node, args, { stdio: 'inherit', env: environment() });
  // A supervisor signals only this process. Ctrl-C in a terminal reaches the child too: it takes the two as one.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
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
