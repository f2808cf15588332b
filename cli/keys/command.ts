import { type KeyEntry, keyEntry, rotated } from '#gateway/tenants/key-entry.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { formatTable } from '../ui/format.ts';
import { withKeys } from './key-book.ts';
import { newKey } from './key-document.ts';
import { createKeySettings, listKeysSettings, revokeKeySettings, rotateKeySettings } from './settings.ts';

export async function createKey(argv: readonly string[]): Promise<void> {
  const summary = 'Adds an API key to the file or store that gateways read and prints it, once: only its hash is kept.';
  const settings = configure({ name: 'keys create', settings: createKeySettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys create', async () => {
    const { key, hash } = newKey();
    const entry = checked({ id: required(settings.id), hash, ...fieldsOf(settings) });
    await withKeys(settings, (book) => book.add(entry)).catch((thrown: unknown) => {
      if (StatorError.from(thrown).code !== 'conflict') throw thrown;
      throw StatorError.invalid('id', `the id ${entry.id} is used twice`);
    });
    process.stdout.write(`${key}\n`);
  });
}

export async function rotateKey(argv: readonly string[]): Promise<void> {
  const summary = 'Replaces an API key by a new one and prints that, once; the old one is good for a while yet.';
  const settings = configure({ name: 'keys rotate', settings: rotateKeySettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys rotate', async () => {
    const { key, hash } = newKey();
    const id = required(settings.id);
    const keepMs = settings.keepOldSeconds * 1000;
    await withKeys(settings, (book) => book.change(id, (entry) => rotated(entry, hash, keepMs)));
    process.stdout.write(`${key}\n`);
  });
}

export async function listKeys(argv: readonly string[]): Promise<void> {
  const summary = 'Lists the API keys of a file or store; the keys themselves are not in it.';
  const settings = configure({ name: 'keys list', settings: listKeysSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys list', async () => {
    const entries = await withKeys(settings, (book) =>
      book.list((id, problem) => process.stderr.write(`stator keys list: ${id} is no key: ${problem}\n`)),
    );
    const keys = entries.map(({ hash: _, previous, ...rest }) => ({
      ...rest,
      ...(previous === undefined ? {} : { previous_expires: previous.expires }),
    }));
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
  const summary = 'Takes an API key out of the file or store; gateways refuse it as soon as they know.';
  const settings = configure({ name: 'keys revoke', settings: revokeKeySettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('keys revoke', async () => {
    const id = required(settings.id);
    await withKeys(settings, (book) => book.remove(id));
  });
}

function fieldsOf(settings: SettingsOf<typeof createKeySettings>): object {
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

function checked(fields: object): KeyEntry {
  const result = keyEntry.safeParse(fields);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue?.path.join('.') ?? '';
  throw StatorError.invalid(field, `${field}: ${issue?.message ?? 'it is no key'}`);
}

function required(id: string | undefined): string {
  if (id === undefined) throw StatorError.invalid('id', 'Name the key: --id NAME.');
  return id;
}

function isPast(expires: string | undefined): boolean {
  return expires !== undefined && Date.parse(expires) <= Date.now();
}
