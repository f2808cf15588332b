import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { flagName } from '#lib/config/settings.ts';
import { routerSettings } from './config.ts';

const flags = new Set([...Object.keys(routerSettings), 'deviceWeight'].map(flagName));

describe('settings of the router', () => {
  it('are called what the table for people who come from Dynamo says', async () => {
    const page = await readFile(new URL('../../docs/routing.md', import.meta.url), 'utf8');
    const [, table = ''] = page.split('| Dynamo | here |');
    const rows = [...table.matchAll(/^\| (.+) \| (.+) \|$/gm)].slice(1);
    expect(rows.length).to.be.greaterThan(25);
    for (const [, theirs = '', ours = ''] of rows)
      for (const [, flag = ''] of ours.matchAll(/`(--[a-z0-9-]+)/g)) expect(flags, theirs).to.include(flag);
  });
});
