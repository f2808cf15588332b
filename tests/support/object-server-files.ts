import { existsSync } from 'node:fs';
import path from 'node:path';
import { toolsDirectory } from './etcd-binary.ts';

export const versitygwVersion = '1.8.0';
export const azuriteVersion = '3.35.0';

/** Where the S3 server of the tests lies. */
export function versitygwFile(): string {
  return path.join(toolsDirectory(), 'bin', `versitygw-${versitygwVersion}`);
}

/** Folder into which the Azure emulator is installed. */
export function azuriteFolder(): string {
  return path.join(toolsDirectory(), `azurite-${azuriteVersion}`);
}

function azuriteFile(): string {
  return path.join(azuriteFolder(), 'node_modules/azurite/dist/src/blob/main.js');
}

export function findVersitygw(): string | undefined {
  return existsSync(versitygwFile()) ? versitygwFile() : undefined;
}

export function findAzurite(): string | undefined {
  return existsSync(azuriteFile()) ? azuriteFile() : undefined;
}
