// The WireGuard key of a node: made once, private, and published with its Node.

import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { NodeKey } from '../../../proxy/runtime/underlay/node-key.ts'
import { wireguardCommands } from '../../../proxy/underlay/wireguard/commands.ts'
import { ensurePublicKey, readPublicKey } from '../../../proxy/underlay/wireguard/key.ts'
import { parseDump } from '../../../proxy/underlay/wireguard/state.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../support/kube-api/server.ts'

t.test('it is made once, and only its user may read it', async t => {
  const file = join(t.testdir({}), 'inner', 'key')
  t.equal(await readPublicKey(file), undefined)
  const [one, other] = await Promise.all([ensurePublicKey(file), ensurePublicKey(file)])
  t.equal(one, other, 'two that make it at once agree')
  t.equal(statSync(file).mode & 0o777, 0o600)
  const known = spawnSync('wg', ['pubkey'], { input: readFileSync(file), encoding: 'utf8' })
  if (!known.error) t.equal(known.stdout.trim(), one, 'wg says the same')
  const bytes = (hex: string) => Buffer.from(hex, 'hex').toString('base64')
  // Bob's keys of RFC 7748 section 6.1.
  writeFileSync(file, bytes('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'))
  t.equal(await readPublicKey(file), bytes('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'))
  chmodSync(file, 0o644)
  await t.rejects(ensurePublicKey(file), { code: 'UNDERLAY', message: /can be read by others/ })
  chmodSync(file, 0o600)
  writeFileSync(file, 'not a key')
  await t.rejects(ensurePublicKey(file), { code: 'UNDERLAY', message: /holds no WireGuard key/ })
})

t.test('it is published with the Node; without the right, status says what to do', async t => {
  const key = `${'A'.repeat(43)}=`
  const rules = [{ apiGroups: [''], resources: ['nodes'], verbs: ['patch'] }]
  const api = await startKubeApi({ users: { secret: { name: 'starlane', rules }, weak: { name: 'weak', rules: [] } } })
  t.teardown(() => api.stop())
  api.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'a', annotations: { other: 'stays' } } })
  const keyFor = (token: string) => {
    const kubeconfig = join(t.testdir({}), 'config')
    writeKubeconfig(kubeconfig, [{ name: 'east', server: api.url, user: { token } }])
    const world = { clock: systemClock, random: Math.random, log: silentLog, env: {} }
    const found = new NodeKey({ kubernetes: { kubeconfig, inCluster: false } } as never, world)
    t.teardown(() => found.close())
    return found
  }
  const weak = keyFor('weak')
  await weak.publish('a', { key, recorded: undefined })
  t.match(weak.fault, /cannot be published.*resources: \[nodes\], verbs: \[patch\].*starlane\.dev\/wireguard-key/)
  const strong = keyFor('secret')
  await strong.publish('a', { key, recorded: undefined })
  t.equal(strong.fault, undefined)
  t.match(api.get('Node', 'a')?.metadata, {
    annotations: { other: 'stays', 'starlane.dev/wireguard-key': key },
  })
  const writes = api.seen.length
  await strong.publish('a', { key, recorded: key })
  t.equal(api.seen.length, writes, 'what is there is not written again')
})

t.test('elsewhere status says what to add', async t => {
  const world = { clock: systemClock, random: Math.random, log: silentLog, env: {} }
  const found = new NodeKey({ manifests: '/m' } as never, world)
  await found.publish('a', { key: 'K', recorded: undefined })
  t.match(found.fault, 'add the annotation starlane.dev/wireguard-key: K to the Node a')
  await found.publish('a', { key: 'K', recorded: 'K' })
  t.equal(found.fault, undefined)
})

t.test('what wg prints, and the difference to what is wanted', async t => {
  const dump =
    'private\tPUB\t51840\toff\nB1\t(none)\t192.0.2.21:51840\t10.2.1.0/24,fd00:2:1::/64\t0\t0\t0\toff\nOLD\t(none)\t(none)\t(none)\t0\t0\t0\toff\n'
  const state = parseDump(dump)
  t.match(state, { publicKey: 'PUB', port: 51_840, peers: [{ key: 'B1' }, { key: 'OLD', allowed: [] }] })
  t.equal(parseDump(''), undefined)
  const b1 = {
    ...{ key: 'B1', address: '192.0.2.21', port: 51_840, others: ['192.0.2.21', 'fd00:9::21'] },
    allowed: ['10.2.1.0/24', 'fd00:2:1::/64'],
  }
  const device = {
    ...{
      kind: 'wireguard' as const,
      name: 'wg',
      port: 51_840,
      mtu: 1440,
      addresses: [],
      publicKey: 'PUB',
      keyFile: '/k',
    },
    peers: [b1],
  }
  const lines = (wanted: typeof device, { keep = false } = {}) =>
    wireguardCommands(wanted, state, { keep }).map(({ line }) => line)
  t.same(lines(device), ['set wg peer OLD remove'])
  t.same(lines(device, { keep: true }), [], 'nothing is removed before all is known')
  const roamed = { ...b1, address: 'fd00:9::21' }
  t.same(lines({ ...device, peers: [roamed] }, { keep: true }), [], 'another address of the node is as good')
  const moved = { ...b1, address: '192.0.2.99', others: ['192.0.2.99'] }
  t.same(lines({ ...device, peers: [moved] }, { keep: true }), [
    'set wg peer B1 endpoint 192.0.2.99:51840 allowed-ips 10.2.1.0/24,fd00:2:1::/64',
  ])
  t.same(lines({ ...device, publicKey: 'NEW' }, { keep: true }), ['set wg listen-port 51840 private-key /k'])
})
