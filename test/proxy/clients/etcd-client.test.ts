/** The etcd client against real servers: reads, writes, leases, watches, certificates and losses. */
import assert from 'node:assert/strict'
import { copyFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { EtcdClient, EtcdReader, Page, Write } from '../../../proxy/clients/etcd/client.ts'
import { connectEtcd } from '../../../proxy/clients/etcd/connect.ts'
import { kv } from '../../../proxy/clients/etcd/rpc.ts'
import { type EtcdServers, serversOf, targetOf } from '../../../proxy/clients/etcd/server.ts'
import type { WatchEvent, WatchRange } from '../../../proxy/clients/etcd/watches.ts'
import type { MeshError } from '../../../proxy/model/error.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeClock } from '../../support/clock.ts'
import { folder, makeCertificates, noEtcd, startEtcd, startMembers } from '../../support/etcd/etcd.ts'
import { headerOf, scriptedEtcd } from '../../support/etcd/scripted.ts'
import { eventually } from '../../support/eventually.ts'

const probe = 'cilium/.heartbeat'

async function open(t: Test, servers: EtcdServers, clock = systemClock): Promise<EtcdClient> {
  const client = await connectEtcd(servers, { probe, clock, random: () => 0 })
  t.teardown(() => client.close())
  return client
}

const put = (key: string, value = key): Write => ({ key, value: Buffer.from(value) })

async function listed(client: EtcdClient, prefix: string): Promise<string[]> {
  const pages: Page[] = []
  for await (const page of client.pages(prefix)) pages.push(page)
  return pages.flatMap(({ entries }) => entries.map(({ key }) => key))
}

/** What a watch has reported so far: `+key=value`, `-key`, `compacted`, or why it was refused. */
function recorded(client: EtcdReader, range: WatchRange): { told: string[]; stop: () => void } {
  const told: string[] = []
  const line = ({ kept, entry }: WatchEvent) => (kept ? `+${entry.key}=${entry.value}` : `-${entry.key}`)
  const stop = client.watch(range, {
    changed: events => told.push(...events.map(line)),
    compacted: () => told.push('compacted'),
    refused: ({ message }) => told.push(message),
  })
  return { told, stop }
}

t.test('one server', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()

  t.test('reads one key, or all under a prefix, at one revision', async t => {
    t.equal(await client.get('a/none'), undefined)
    const keys = Array.from({ length: 2400 }, (_, i) => `a/c1/${String(i).padStart(4, '0')}`)
    for (let i = 0; i < keys.length; i += 100)
      await client.write(
        keys.slice(i, i + 100).map(key => put(key)),
        0n,
      )
    await client.write([put('a/c11/x')], 0n)
    const pages = client.pages('a/c1/')
    const first: Page = (await pages.next()).value
    await client.write([put('a/c1/9999')], 0n)
    const found = first.entries.map(({ key }) => key)
    t.equal(found.length, 1000)
    for await (const { entries, revision } of pages) {
      found.push(...entries.map(({ key }) => key))
      t.equal(revision, first.revision)
    }
    t.same(found, keys, 'what came in between is not in it')
    t.equal((await client.get('a/c1/0007'))?.value.toString(), 'a/c1/0007')
    await client.clear('a/')
    t.same(await listed(client, 'a/'), [])
  })

  t.test('a page that is too large for one message is read in pieces', async t => {
    const large = 'x'.repeat(1_200_000)
    const keys = Array.from({ length: 20 }, (_, i) => `b/${String.fromCharCode(97 + i)}`)
    for (const key of keys) await client.write([put(key, large)], 0n)
    t.same(await listed(client, 'b/'), keys)
  })

  t.test('a watch reports the changes of its range until it is stopped', async t => {
    const { revision } = (await client.pages('c/').next()).value as Page
    const all = recorded(client, { key: 'c/', rangeEnd: 'c0', revision: revision + 1 })
    const one = recorded(client, { key: 'c/2', revision: revision + 1 })
    await client.write([put('c/1'), put('c/2'), put('d/1')], 0n)
    await client.write([{ key: 'c/1', gone: true }], 0n)
    await eventually(() => assert.deepEqual(all.told, ['+c/1=c/1', '+c/2=c/2', '-c/1']))
    await eventually(() => assert.deepEqual(one.told, ['+c/2=c/2']))
    all.stop()
    await client.write([put('c/2', 'again')], 0n)
    await eventually(() => assert.deepEqual(one.told, ['+c/2=c/2', '+c/2=again']))
    t.equal(all.told.length, 3)
  })

  t.test('a burst of changes is read in pieces, and comes whole and in order', async t => {
    const { revision } = (await client.pages('h/').next()).value as Page
    const live = recorded(client, { key: 'h/', rangeEnd: 'h0', revision: revision + 1 })
    const filler = 'x'.repeat(500)
    const written: string[] = []
    for (let i = 0; i < 5000; i += 100) {
      const writes = Array.from({ length: 100 }, (_, j) => put(`h/${i + j}`, `${filler}${i + j}`))
      await client.write(writes, 0n)
      written.push(...writes.map(({ key }) => `+${key}=${filler}${key.slice(2)}`))
    }
    // From the past: the server sends everything at once.
    const late = recorded(client, { key: 'h/', rangeEnd: 'h0', revision: revision + 1 })
    await eventually(() => assert.equal(late.told.length, written.length), 10_000)
    await eventually(() => assert.equal(live.told.length, written.length), 10_000)
    t.ok(late.told.every((line, i) => line === written[i]))
    t.ok(live.told.every((line, i) => line === written[i]))
    live.stop()
    late.stop()
  })

  t.test('a watch from a compacted revision reports that, and others continue', async t => {
    for (const value of ['1', '2', '3']) await client.write([put('e/1', value)], 0n)
    const now = await client.get('e/1')
    const others = recorded(client, { key: 'e/2', revision: (now?.modRevision ?? 0) + 1 })
    await etcd.ctl('compaction', String(now?.modRevision))
    const late = recorded(client, { key: 'e/1', revision: 2 })
    await eventually(() => assert.deepEqual(late.told, ['compacted']))
    await client.write([put('e/2')], 0n)
    await eventually(() => assert.deepEqual(others.told, ['+e/2=e/2']))
    await t.rejects(client.call(kv.range, { key: 'e/1', revision: 2 }), { message: /compacted/ })
  })

  t.test('a transaction is atomic and conditional', async t => {
    t.equal(await client.write([put('f/lock')], 0n, { key: 'f/lock', createRevision: 0 }), true)
    t.equal(await client.write([put('f/1')], 0n, { key: 'f/lock', createRevision: 0 }), false)
    t.equal(await client.get('f/1'), undefined)
    const createRevision = (await client.get('f/lock'))?.createRevision ?? 0
    t.equal(await client.write([put('f/1')], 0n, { key: 'f/lock', createRevision }), true)
  })

  t.test('the keys of a lease exist until it expires', async t => {
    const kept = await client.grant(60_000)
    const short = await client.grant(1000)
    t.not(kept >> 24n, short >> 24n, 'the ids are random: those that etcd makes itself follow each other')
    await client.write([put('g/kept')], kept)
    await client.write([put('g/short')], short)
    t.equal((await client.get('g/kept'))?.lease, kept)
    t.equal(await client.keepAlive(kept), true)
    await eventually(async () => assert.deepEqual(await listed(client, 'g/'), ['g/kept']), 15_000)
    t.equal(await client.keepAlive(short), false)
    await client.revoke(kept)
    t.same(await listed(client, 'g/'), [])
    await t.rejects(client.revoke(kept), { status: 5, message: /lease not found/ })
  })

  t.test('a call that is waiting when the client closes is rejected at once, by no timer', async t => {
    const client = await open(t, etcd.servers, new FakeClock())
    await etcd.signal('SIGSTOP')
    t.teardown(() => etcd.signal('SIGCONT'))
    const waiting: Promise<unknown>[] = [client.get('x'), client.write([put('x')], 0n), client.keepAlive(1n)]
    client.close()
    for (const call of waiting) await t.rejects(call, { message: /was closed/ })
  })

  t.test('a call to a stopped server times out', async t => {
    const clock = new FakeClock()
    const client = await open(t, etcd.servers, clock)
    t.equal(clock.waiting, 0, 'an answered call leaves no timer')
    await etcd.signal('SIGSTOP')
    t.teardown(() => etcd.signal('SIGCONT'))
    const asked = t.rejects(client.get('x'), { message: /did not answer within 10s/ })
    await clock.advance(10_000)
    await asked
  })
})

t.test('certificates', { skip: noEtcd }, async t => {
  const certificates = await makeCertificates(t)
  const etcd = await startEtcd(t, { certificates })
  const remote = await certificates.client('remote')

  t.test('the user is the name in the certificate, with the permissions of its role', async t => {
    for (const command of ['role add root', 'user add root --no-password', 'user grant-role root root', 'role add r']) {
      await etcd.ctl(...command.split(' '))
    }
    await etcd.ctl('role', 'grant-permission', 'r', 'read', 'cilium/.heartbeat')
    await etcd.ctl('role', 'grant-permission', 'r', 'read', 'cilium/state/', '--prefix')
    await etcd.ctl('user', 'add', 'remote', '--no-password')
    await etcd.ctl('user', 'grant-role', 'remote', 'r')
    await etcd.ctl('auth', 'enable')
    const client = await open(t, { endpoints: [etcd.url], ...remote })
    t.same(await listed(client, 'cilium/state/services/v1/c1/'), [])
    await t.rejects(client.get('cilium/other'), { code: 'SOURCE_READ', status: 7, message: /permission denied/ })
    await t.rejects(client.write([put('cilium/state/x')], 0n), { code: 'SOURCE_WRITE', message: /permission denied/ })
    const allowed = recorded(client, { key: 'cilium/state/', rangeEnd: 'cilium/state0', revision: 1 })
    const refused = recorded(client, { key: 'cilium/', rangeEnd: 'cilium0', revision: 1 })
    const stopped = recorded(client, { key: 'elsewhere', revision: 1 })
    stopped.stop()
    const last = recorded(client, { key: 'cilium/.heartbeat', revision: 1 })
    await eventually(() => assert.match(refused.told.join(), /^https:.*a watch was refused: .*permission denied[^,]*$/))
    await etcd.ctl('put', 'cilium/state/x', '1')
    await etcd.ctl('put', 'cilium/.heartbeat', '1')
    await eventually(() =>
      assert.deepEqual([allowed.told, last.told], [['+cilium/state/x=1'], ['+cilium/.heartbeat=1']]),
    )
    t.same(stopped.told, [], 'one that was stopped before the answer is told nothing')
    await t.resolves(client.get('cilium/.heartbeat'), 'the others go on')
  })

  t.test('they are read again for each connection', async t => {
    const files = {
      ca: remote.ca,
      cert: join(certificates.folder, 'live.crt'),
      key: join(certificates.folder, 'live.key'),
    }
    const servers = { endpoints: [etcd.url], ...files }
    const expired = await certificates.client('expired')
    await certificates.expire('expired')
    await copyFile(expired.cert, files.cert)
    await copyFile(expired.key, files.key)
    await t.rejects(open(t, servers), { message: /live\.crt \(CN=expired\) expired on 20.*; renew it/ })
    await copyFile(remote.cert, files.cert)
    await t.rejects(open(t, servers), { message: /live\.crt and .*live\.key do not match/ })
    await copyFile(remote.key, files.key)
    await t.resolves(open(t, servers))
  })

  t.test('faults in them are reported', async t => {
    const url = [etcd.url]
    const stranger = await makeCertificates(t)
    await stranger.expire('server')
    const foreign = await stranger.client('remote')
    await t.rejects(
      open(t, { endpoints: url, ca: remote.ca }),
      { message: /https:.*Range failed.*set cert and key \(cert-file, key-file\)/ },
      'without one',
    )
    await t.rejects(open(t, { endpoints: url, ...remote, ca: stranger.ca }), {
      message:
        /(unable to verify the first certificate|self.signed certificate[^;]*); set ca \(trusted-ca-file\) to the CA/,
    })
    await t.rejects(
      open(t, { endpoints: url, ...foreign, ca: remote.ca }),
      { code: 'SOURCE_READ', message: /set cert and key/ },
      'of another CA',
    )
    await t.rejects(open(t, { endpoints: url, ...remote, cert: '/nowhere/x.crt' }), {
      message: /cannot read .*nowhere/,
    })
    const text = join(await folder(t), 'text.crt')
    await writeFile(text, 'no certificate')
    await t.rejects(open(t, { endpoints: url, ...remote, cert: text }), {
      message: /text\.crt does not contain a certificate/,
    })
    const future = {
      ...new FakeClock(),
      now: () => 0,
      wall: () => 0,
      after: systemClock.after,
      every: systemClock.every,
    }
    await t.rejects(open(t, { endpoints: url, ...remote }, future), { message: /not valid before .*clock/ })
    const old = await startEtcd(t, { certificates: stranger })
    await t.rejects(open(t, { ...old.servers }), { message: /certificate has expired/ }, "the server's has expired")
  })

  t.test('a name is dialled at the addresses of its alias, and the certificate must be for the name', async t => {
    const { port } = new URL(etcd.url)
    const named = (name: string) => ({
      ...remote,
      endpoints: [`https://${name}:${port}`],
      aliases: new Map([[name, ['127.0.0.1']]]),
    })
    await t.resolves(open(t, named('etcd.test')))
    await t.rejects(open(t, named('other.test')), { message: /does not match certificate's altnames/ })
  })
})

t.test('several servers', { skip: noEtcd }, async t => {
  const members = await startMembers(t, 3)
  const [first, second, third] = members
  const servers = { endpoints: members.map(({ url }) => url) }

  t.test('the next one is tried when one is gone, and a minority does not answer', async t => {
    const client = await open(t, servers)
    t.equal(client.server.url, first?.url, 'chance decides, and here it says the first')
    const ended = new Promise<MeshError>(resolve => client.onEnd(resolve))
    recorded(client, { key: 'x/', rangeEnd: 'x0', revision: 1 })
    await first?.signal('SIGKILL')
    t.match((await ended).message, /is lost|watch ended/)
    await t.rejects(client.get('x'), await ended, 'it never connects again')
    // Those that are left elect a leader first, which takes as long as the machine makes it.
    const next = await eventually(() => open(t, servers))
    t.not(next.server.url, first?.url)
    t.equal(next.clusterId, client.clusterId)
    const cut = new Promise<MeshError>(resolve => next.onEnd(resolve))
    recorded(next, { key: 'x/', rangeEnd: 'x0', revision: 1 })
    // Whoever was slow to elect a leader has been passed over.
    await (next.server.url === second?.url ? third : second)?.signal('SIGKILL')
    t.match((await cut).message, /no leader/, 'a watch does not stay silent where there is no quorum')
    const hasty = { ...systemClock, after: (ms: number, run: () => void) => systemClock.after(ms / 10, run) }
    const failed = await open(t, servers, hasty).catch((error: MeshError) => error.message)
    for (const { url } of members) t.match(failed, new RegExp(url))
  })
})

t.test('another etcd behind the same address ends the client', async t => {
  let clusterId = 0xabcn
  const url = await scriptedEtcd(t, () => ({ header: headerOf(clusterId) }))
  const client = await open(t, { endpoints: [url] })
  t.equal(client.clusterId, 'abc')
  await client.get('x')
  clusterId = 0xdefn
  await t.rejects(client.get('x'), { message: /answers as etcd cluster def, before it was abc/ })
  client.onEnd(error => t.match(error.message, /cluster def/))
})

t.test('servers that are not etcd', async t => {
  const web = createServer(socket => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await new Promise<void>(resolve => web.listen(0, '127.0.0.1', resolve))
  t.teardown(() => web.close())
  const { port } = web.address() as { port: number }
  await t.rejects(open(t, { endpoints: [`http://127.0.0.1:${port}`] }), { code: 'SOURCE_READ' })
  await t.rejects(open(t, { endpoints: [await scriptedEtcd(t, () => ({}))] }), { message: /it is not etcd/ })
  await t.rejects(open(t, { endpoints: [] }), { message: /no etcd server is configured/ })
  await t.rejects(open(t, { endpoints: ['ftp://x'] }), {
    message: /"ftp:\/\/x" is not the URL of an etcd server; write https/,
  })
})

t.test('addresses', async t => {
  const aliases = new Map([['east.test', ['192.0.2.1', 'fd00::1']]])
  const servers = serversOf({ endpoints: ['https://east.test:2379', 'http://[fd00::2]:1', 'https://x'], aliases })
  t.same(servers, [
    { url: 'https://east.test:2379', host: '192.0.2.1', port: 2379, tls: true, identity: 'east.test' },
    { url: 'https://east.test:2379', host: 'fd00::1', port: 2379, tls: true, identity: 'east.test' },
    { url: 'http://[fd00::2]:1', host: 'fd00::2', port: 1, tls: false, identity: 'fd00::2' },
    { url: 'https://x', host: 'x', port: 443, tls: true, identity: 'x' },
  ])
  t.same(servers.map(targetOf), ['ipv4:192.0.2.1:2379', 'ipv6:[fd00::1]:2379', 'ipv6:[fd00::2]:1', 'dns:x:443'])
})
