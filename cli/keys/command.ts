import { isMap, isSeq } from 'yaml';
import { readKeyDocument } from '#gateway/tenants/key-file.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { formatTable } from '../ui/format.ts';
import { newKey, openKeyDocument, saveKeyDocument } from './key-document.ts';
import { createKeySettings, listKeysSettings, revokeKeySettings } from './settings.ts';

export async function createKey(argv: readonly string[]): Promise<void> {
  const summary = 'Adds an API key to the file that gateways read and prints it, once: the file holds its hash only.';
  const settings = configure({ name: 'keys create', settings: createKeySettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys create', async () => {
    const { key, hash } = newKey();
    const document = openKeyDocument(settings.apiKeysFile);
    document.addIn(['keys'], document.createNode({ id: required(settings.id), hash, ...entryOf(settings) }));
    saveKeyDocument(settings.apiKeysFile, document);
    process.stdout.write(`${key}\n`);
  });
}

export async function listKeys(argv: readonly string[]): Promise<void> {
  const summary = 'Lists the API keys of a file; the keys themselves are not in it.';
  const settings = configure({ name: 'keys list', settings: listKeysSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys list', async () => {
    const keys = readKeyDocument(settings.apiKeysFile).keys.map(({ hash, ...rest }) => rest);
    if (settings.json) {
      process.stdout.write(`${JSON.stringify(keys, null, 2)}\n`);
      return;
    }
    const rows = keys.map(({ id, tenant, models, expires, disabled, ...limits }) => {
      const shown = Object.entries(limits).map(([name, value]) => `${name.replaceAll('_', ' ')}: ${value}`);
      const state = disabled === true ? 'disabled' : isPast(expires) ? 'expired' : 'valid';
      return [id, tenant ?? id, models?.join(' ') ?? 'all', state, expires ?? 'never', shown.join(', ')];
    });
    process.stdout.write(formatTable([['KEY', 'TENANT', 'MODELS', 'STATE', 'EXPIRES', 'LIMITS'], ...rows]));
  });
}

export async function revokeKey(argv: readonly string[]): Promise<void> {
  const summary = 'Takes an API key out of the file; gateways refuse it as soon as they have read it again.';
  const settings = configure({ name: 'keys revoke', settings: revokeKeySettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys revoke', async () => {
    const id = required(settings.id);
    const document = openKeyDocument(settings.apiKeysFile);
    const keys = document.get('keys');
    const at = isSeq(keys) ? keys.items.findIndex((item) => isMap(item) && item.get('id') === id) : -1;
    if (at < 0) throw StatorError.notFound(`${settings.apiKeysFile} has no key ${id}. See: stator keys list`);
    document.deleteIn(['keys', at]);
    saveKeyDocument(settings.apiKeysFile, document);
  });
}

function entryOf(settings: SettingsOf<typeof createKeySettings>): object {
  const { tenant, models, expires, sharedCache } = settings;
  const fields = {
    tenant,
    models: models.length === 0 ? undefined : models,
    expires,
    requests_per_minute: settings.requestsPerMinute,
    tokens_per_minute: settings.tokensPerMinute,
    concurrent_requests: settings.concurrentRequests,
    tokens_per_day: settings.tokensPerDay,
    tokens_per_month: settings.tokensPerMonth,
    max_priority: settings.maxPriority,
    shared_cache: sharedCache || undefined,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function required(id: string | undefined): string {
  if (id === undefined) throw StatorError.invalid('id', 'Name the key: --id NAME.');
  return id;
}

function isPast(expires: string | undefined): boolean {
  return expires !== undefined && Date.parse(expires) <= Date.now();
}
