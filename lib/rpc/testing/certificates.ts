import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TlsFiles } from '../tls.ts';

const command = 'openssl';

/** Whether certificates can be made here. */
export function opensslFound(): boolean {
  try {
    execFileSync(command, ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** For tests: an authority and certificates of it, in a directory of their own. */
export class Certificates {
  readonly directory = mkdtempSync(path.join(os.tmpdir(), 'stator-tls-'));
  readonly #authority: string;

  constructor(authority = 'authority') {
    this.#authority = authority;
    this.#openssl(
      'req',
      '-x509',
      ...this.#newKey(authority),
      '-out',
      this.#file(`${authority}.crt`),
      '-days',
      '2',
      '-subj',
      '/CN=authority',
    );
  }

  get ca(): string {
    return this.#file(`${this.#authority}.crt`);
  }

  /** A certificate for 127.0.0.1 and localhost. */
  issue(name: string): Required<Pick<TlsFiles, 'cert' | 'key'>> {
    const extensions = this.#file(`${name}.ext`);
    writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
    const request = this.#file(`${name}.csr`);
    this.#openssl('req', ...this.#newKey(name), '-out', request, '-subj', `/CN=${name}`);
    const authority = ['-CA', this.ca, '-CAkey', this.#file(`${this.#authority}.key`), '-CAcreateserial'];
    const cert = this.#file(`${name}.crt`);
    this.#openssl('x509', '-req', '-in', request, ...authority, '-out', cert, '-days', '2', '-extfile', extensions);
    return { cert, key: this.#file(`${name}.key`) };
  }

  /** Puts one certificate where another was. */
  replace(old: Required<Pick<TlsFiles, 'cert' | 'key'>>, next: Required<Pick<TlsFiles, 'cert' | 'key'>>): void {
    copyFileSync(next.cert, old.cert);
    copyFileSync(next.key, old.key);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #newKey(name: string): string[] {
    return [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-keyout',
      this.#file(`${name}.key`),
    ];
  }

  #file(name: string): string {
    return path.join(this.directory, name);
  }

  #openssl(...args: string[]): void {
    execFileSync(command, args, { stdio: 'pipe' });
  }
}
