import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { KvReach_Enforcement, ModelCardSchema, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { placedCard, placeSettings, topologyOf } from './place.ts';

const card = create(ModelCardSchema, { name: 'm' });
const placed = (changes: Parameters<typeof defaultSettings<typeof placeSettings>>[1]) =>
  placedCard(card, defaultSettings(placeSettings, changes));

describe('the place of a worker', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'stator-topology-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is read from settings and from a folder of labels', () => {
    writeFileSync(path.join(folder, 'zone'), 'a\n');
    writeFileSync(path.join(folder, 'rack'), ' 7 ');
    writeFileSync(path.join(folder, 'empty'), '');
    writeFileSync(path.join(folder, '..data'), 'x');
    expect(topologyOf({ topology: undefined, topologyDir: folder })).to.deep.equal({ zone: 'a', rack: '7' });
    expect(topologyOf({ topology: 'zone=b, host = h=1', topologyDir: folder })).to.deep.equal({
      ...{ zone: 'b', rack: '7', host: 'h=1' },
    });
    expect(topologyOf({ topology: undefined, topologyDir: undefined })).to.deep.equal({});
  });

  it('says what cannot be read', () => {
    mkdirSync(path.join(folder, 'sub'));
    for (const [topology, topologyDir, field] of [
      ['zone', undefined, 'topology'],
      ['=a', undefined, 'topology'],
      [undefined, path.join(folder, 'none'), 'topology_dir'],
      [undefined, folder, 'topology_dir'],
    ] as const)
      expect(() => topologyOf({ topology, topologyDir }))
        .to.throw()
        .with.property('field', field);
  });

  it('is on the card: role, what it needs, how far its KV goes', () => {
    expect(placed({})).to.equal(card);
    const prefill = placed({
      role: 'prefill',
      kvReachDomain: 'zone',
      kvReachEnforcement: 'preferred',
      kvReachWeight: 0.5,
    });
    expect(prefill.role).to.equal(WorkerRole.PREFILL);
    expect(prefill.needs[0]?.roles).to.deep.equal([WorkerRole.PREFILL, WorkerRole.DECODE]);
    expect(prefill.kvReach).to.include({
      ...{ domain: 'zone', enforcement: KvReach_Enforcement.PREFERRED, preferredWeight: 0.5 },
    });
    const required = placed({ role: 'decode', kvReachDomain: 'rack' });
    expect(required.role).to.equal(WorkerRole.DECODE);
    expect(required.kvReach?.enforcement).to.equal(KvReach_Enforcement.REQUIRED);
    expect(required.needs).to.have.length(1);
    const alone = placed({ role: 'decode', decodeAlone: true });
    expect(alone.needs.map(({ roles }) => roles)).to.deep.equal([
      [WorkerRole.PREFILL, WorkerRole.DECODE],
      [WorkerRole.DECODE],
    ]);
    expect(placed({ role: 'prefill', decodeAlone: true }).needs).to.have.length(1);
  });
});
