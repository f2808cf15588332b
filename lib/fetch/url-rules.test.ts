import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { AddressRules } from './addresses.ts';
import { type UrlPolicy, UrlRules } from './url-rules.ts';

const open: UrlPolicy = {
  protocols: ['https:', 'http:'],
  ports: [80, 443],
  allowedHosts: [],
  deniedHosts: [],
  allowedNetworks: [],
};

function verdict(url: string, policy: Partial<UrlPolicy> = {}): string {
  try {
    return new UrlRules({ ...open, ...policy }).check(url, 'image').href;
  } catch (thrown) {
    const error = StatorError.from(thrown);
    return String(error.facts?.['reason'] ?? error.code);
  }
}

describe('what may be fetched', () => {
  it('is no address of a machine, a private network or a translation into one', () => {
    const rules = new AddressRules([]);
    const inside = `
      0.0.0.0 0.1.2.3 127.0.0.1 127.255.255.254 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
      100.64.0.1 100.100.100.200 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1
      240.0.0.1 255.255.255.255 192.88.99.1 168.63.129.16
      :: ::1 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::a00:1
      2002:7f00:1:: 2002:a00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 fe80::1 fe80::1%eth0 fec0::1 fc00::1
      fd00:ec2::254 ff02::1 100::1 2001:db8::1 3fff::1 5f00::1 4000::1`;
    for (const address of inside.trim().split(/\s+/)) expect(rules.allows(address), address).to.equal(false);
    for (const none of ['', 'host', '127.0.0.1.evil.example']) expect(rules.allows(none), none).to.equal(false);
    for (const address of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '2606:4700:4700::1111', '2a00:1450::1'])
      expect(rules.allows(address), address).to.equal(true);
  });

  it('is a private network that is named, and nothing beside it', () => {
    const rules = new AddressRules(['10.1.0.0/16', 'fd00:1::/32']);
    for (const address of ['10.1.2.3', 'fd00:1::5']) expect(rules.allows(address), address).to.equal(true);
    for (const address of ['10.2.0.1', '::ffff:10.1.2.3', 'fd00:2::5'])
      expect(rules.allows(address), address).to.equal(false);
    expect(() => new AddressRules(['10.1.0.0'])).to.throw(StatorError, 'no network');
  });

  it('is no other scheme, no credentials, no other port', () => {
    for (const url of [
      'file:///etc/passwd',
      'ftp://example.org/x',
      'gopher://example.org:70/_x',
      'data:image/png;base64,AAAA',
      'blob:https://example.org/x',
      '//example.org/x',
      'image.png',
      'https://user@example.org/x',
      'https://:pass@example.org/x',
      'https://example.org:22/x',
      'http://example.org:6379/',
      `https://example.org/${'x'.repeat(9000)}`,
      'https://',
    ])
      expect(verdict(url), url.slice(0, 80)).to.equal('refused_url');
    expect(verdict('http://example.org/x', { protocols: ['https:'] })).to.equal('refused_url');
    expect(verdict('https://example.org:8443/x', { ports: [] })).to.equal('https://example.org:8443/x');
  });

  it('is no address however it is written', () => {
    for (const host of [
      '127.0.0.1',
      '127.1',
      '2130706433',
      '0x7f000001',
      '0177.0.0.1',
      '0x7f.0.0.0x1',
      '127.0.0.1.',
      '①②⑦.⓪.⓪.①',
      '0',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[0:0:0:0:0:ffff:7f00:1]',
      '[64:ff9b::127.0.0.1]',
      '169.254.169.254',
      '[fd00:ec2::254]',
    ])
      expect(verdict(`http://${host}/latest/meta-data`), host).to.equal('refused_address');
  });

  it('is no name of the inside', () => {
    for (const host of [
      'localhost',
      'LOCALHOST',
      'localhost.',
      'a.localhost',
      'router',
      'router.stator.svc',
      'router.stator.svc.cluster.local',
      'kubernetes.default',
      'kubernetes.default.svc',
      'metadata.google.internal',
      'metadata.example.org',
      'printer.local',
      'ｌocalhost',
    ])
      expect(verdict(`http://${host}/`), host).to.equal('refused_url');
    expect(verdict('http://notlocalhost.example/')).to.equal('http://notlocalhost.example/');
  });

  it('follows lists of hosts, the list of the denied before all', () => {
    const allowedHosts = ['cdn.example.org', '*.images.example.org', 'store.internal'];
    expect(verdict('https://cdn.example.org/a', { allowedHosts })).to.match(/^https/);
    expect(verdict('https://a.images.example.org/a', { allowedHosts })).to.match(/^https/);
    expect(verdict('https://store.internal/a', { allowedHosts })).to.match(/^https/);
    for (const host of ['example.org', 'images.example.org', 'evilimages.example.org', 'cdn.example.org.evil.org'])
      expect(verdict(`https://${host}/a`, { allowedHosts }), host).to.equal('refused_url');
    const deniedHosts = ['*.example.org'];
    expect(verdict('https://cdn.example.org/a', { allowedHosts, deniedHosts })).to.equal('refused_url');
    expect(() => new UrlRules({ ...open, allowedHosts: ['https://example.org'] })).to.throw(StatorError, 'no host');
  });
});
