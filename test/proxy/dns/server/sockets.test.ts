/** Real clients over both kinds of UDP socket, DNS over TCP and its limits, binding and closing. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { promises as nodeDns } from 'node:dns'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import type { DnsOptions } from '../../../../proxy/dns/options.ts'
import type { DnsParts, DnsResponder } from '../../../../proxy/dns/responder.ts'
import { MeshError } from '../../../../proxy/model/error.ts'
import { FakeClock } from '../../../support/clock.ts'
import { eventually } from '../../../support/eventually.ts'
import { backend, clusterService, endpoint, FakeDirectory, globalService } from '../../../support/model.ts'
import { queryBytes, responder, udpSockets } from '../dns.ts'

const run = promisify(execFile)
const service = 'rebel-base.default.svc.cluster.local'

const base = globalService({
  local: clusterService({
    clusterIPs: ['127.96.0.10', 'fd00:96::a'],
    ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
    endpoints: [endpoint({ address: '10.1.0.1', hostname: 'luke' })],
  }),
})

/** More addresses than fit in a datagram. */
const many = globalService({
  name: 'many',
  local: clusterService({ name: 'many', headless: true }),
  frontends: [],
  backends: Array.from({ length: 200 }, (_, i) => backend({ address: `10.3.0.${i}`, ports: ['http'] })),
})

async function started(t: Test, options: Partial<DnsOptions> = {}, parts: Partial<DnsParts> = {}) {
  const clock = new FakeClock()
  const dns = responder(new FakeDirectory(base, many), options, { clock, ...parts })
  await dns.start()
  t.teardown(() => dns.close())
  const { address, port } = dns.address ?? { address: '', port: 0 }
  return { dns, address, port, clock }
}

/** False when the command is installed, else the reason to skip. */
async function missing(command: string, ...args: string[]): Promise<string | false> {
  try {
    await run(command, args)
    return false
  } catch {
    return `${command} is not installed`
  }
}

/** A connection to the responder; `peer` is its other end, to see what the responder has read and not yet written. */
async function openTcp(
  t: Test,
  port: number,
): Promise<{ socket: Socket; peer: () => Socket; replies: dnsPacket.DecodedPacket[]; closed: () => boolean }> {
  const accepted: Socket[] = []
  const onAccept = (message: unknown) => accepted.push((message as { socket: Socket }).socket)
  subscribe('net.server.socket', onAccept)
  t.teardown(() => unsubscribe('net.server.socket', onAccept))
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  const replies: dnsPacket.DecodedPacket[] = []
  let pending = Buffer.alloc(0)
  let closed = false
  socket.on('data', bytes => {
    pending = Buffer.concat([pending, bytes])
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const end = 2 + pending.readUInt16BE(0)
      replies.push(dnsPacket.decode(pending.subarray(2, end)))
      pending = pending.subarray(end)
    }
  })
  socket.on('error', () => {})
  socket.on('end', () => (closed = true))
  socket.on('close', () => (closed = true))
  await new Promise<void>(resolve => socket.once('connect', () => resolve()))
  const { localPort } = socket
  const peer = () => accepted.find(each => each.remotePort === localPort) ?? assert.fail('not accepted yet')
  return { socket, peer, replies, closed: () => closed }
}

function framed(...messages: Buffer[]): Buffer {
  return Buffer.concat(messages.flatMap(message => [Buffer.from([message.length >> 8, message.length & 255]), message]))
}

const query = (name: string, type = 'A', id = 0) => {
  const bytes = queryBytes(name, type)
  bytes.writeUInt16BE(id, 0)
  return bytes
}

const isRoot = process.getuid?.() === 0
const noNamespace = isRoot ? await missing('unshare', '-m', 'true') : 'needs root'

/** Runs a command in its own mount namespace with a pod's resolv.conf that names the responder on port 53. */
async function inPod(
  t: Test,
  parts: Partial<DnsParts>,
): Promise<((...command: string[]) => Promise<string>) | undefined> {
  const dns = responder(new FakeDirectory(base, many), { listen: { address: '127.0.53.96', port: 53 } }, parts)
  try {
    await dns.start()
  } catch (error) {
    t.comment(`skipped: ${String(error)}`)
    return undefined
  }
  t.teardown(() => dns.close())
  const folder = await mkdtemp(join(tmpdir(), 'starlane-dns-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const search = 'default.svc.cluster.local svc.cluster.local cluster.local'
  await writeFile(join(folder, 'resolv.conf'), `nameserver 127.0.53.96\nsearch ${search}\noptions ndots:5 timeout:2\n`)
  await writeFile(join(folder, 'nsswitch.conf'), 'hosts: dns\n')
  const mounts = ['resolv.conf', 'nsswitch.conf'].map(file => `mount --bind "$0/${file}" /etc/${file}`).join(' && ')
  return async (...command) =>
    (await run('unshare', ['-m', 'sh', '-c', `${mounts} && exec "$@"`, folder, ...command])).stdout
}

/** A program that prints the addresses of getaddrinfo. */
const lookupProgram = `
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
  int failed = getaddrinfo(argv[1], 0, &hints, &found);
  if (failed) { puts(gai_strerror(failed)); return 2; }
  char text[64];
  for (each = found; each; each = each->ai_next) {
    void *address = each->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)each->ai_addr)->sin_addr
                                               : (void *)&((struct sockaddr_in6 *)each->ai_addr)->sin6_addr;
    puts(inet_ntop(each->ai_family, address, text, sizeof text));
  }
}
`

for (const { name, parts } of udpSockets()) t.test(name, t => overUdp(t, parts))

async function overUdp(t: Test, parts: Partial<DnsParts>): Promise<void> {
  t.test('dig', { skip: await missing('dig', '-v') }, async t => {
    const { port } = await started(t, {}, parts)
    const dig = async (...args: string[]) => {
      const { stdout } = await run('dig', ['@127.0.0.1', '-p', String(port), '+time=5', '+tries=2', ...args])
      return stdout
    }
    t.equal((await dig('+short', service)).trim(), '127.96.0.10')
    t.equal((await dig('+short', service, 'AAAA')).trim(), 'fd00:96::a')
    t.equal((await dig('+short', '+tcp', service)).trim(), '127.96.0.10')
    t.equal((await dig('+short', `_http._tcp.${service}`, 'SRV')).trim(), `0 100 80 ${service}.`)
    t.equal((await dig('+short', '-x', '10.1.0.1')).trim(), `luke.${service}.`)
    t.match(
      await dig(`nobody.default.svc.cluster.local`),
      /status: NXDOMAIN[\s\S]*flags: qr aa rd ra[\s\S]*SOA\tns\.dns\.cluster\.local/,
    )
    t.match(await dig(service, 'MX'), /status: NOERROR[\s\S]*ANSWER: 0, AUTHORITY: 1/)
    t.match(await dig('+edns=1', '+noednsnegotiation', service), /status: BADVERS/)
    t.match(await dig('+opcode=UPDATE', service), /status: NOTIMP/)
    t.notMatch(await dig(service), /malformed|extra bytes|Warning: /)
    t.equal(
      (await dig('+short', 'many.default.svc.cluster.local')).trim().split('\n').length,
      200,
      'TC, then all over TCP',
    )
    t.match(await dig('+ignore', 'many.default.svc.cluster.local'), /flags: qr aa tc/)
  })

  t.test('kdig', { skip: await missing('kdig', '-V') }, async t => {
    const { port } = await started(t, {}, parts)
    const kdig = async (...args: string[]) =>
      (await run('kdig', ['@127.0.0.1', '-p', String(port), '+short', ...args])).stdout.trim()
    t.equal(await kdig(service), '127.96.0.10')
    t.equal(await kdig('+tcp', service, 'AAAA'), 'fd00:96::a')
    t.equal(await kdig('+keepopen', '+tcp', service, service), '127.96.0.10\n127.96.0.10')
  })

  t.test("Node's own resolver (c-ares)", async t => {
    const { port } = await started(t, {}, parts)
    const resolver = new nodeDns.Resolver({ timeout: 5000 })
    resolver.setServers([`127.0.0.1:${port}`])
    t.same(await resolver.resolve4(service, { ttl: true }), [{ address: '127.96.0.10', ttl: 5 }])
    t.same(await resolver.resolve6(service), ['fd00:96::a'])
    t.match(await resolver.resolveSrv(`_http._tcp.${service}`), [{ name: service, port: 80, priority: 0, weight: 100 }])
    t.same(await resolver.reverse('10.1.0.1'), [`luke.${service}`])
    t.equal((await resolver.resolve4('many.default.svc.cluster.local')).length, 200)
    await t.rejects(resolver.resolve4('nobody.default.svc.cluster.local'), { code: 'ENOTFOUND' })
    await t.rejects(resolver.resolveMx(service), { code: 'ENODATA' })
  })

  t.test('glibc, as in a pod', { skip: noNamespace }, async t => {
    const pod = await inPod(t, parts)
    if (!pod) return
    for (const name of ['rebel-base', 'rebel-base.default', service]) {
      t.match(await pod('getent', 'ahostsv4', name), /127\.96\.0\.10/, name)
    }
    const both = await pod('getent', 'ahosts', 'rebel-base')
    t.match(both, /127\.96\.0\.10/)
    t.match(both, /fd00:96::a/)
    t.match(await pod('getent', 'hosts', '10.1.0.1'), new RegExp(`luke\\.${service}`))
    await t.rejects(pod('getent', 'hosts', 'nobody'), { code: 2 })
  })

  t.test('musl, as in an Alpine pod', { skip: noNamespace || (await missing('musl-gcc', '--version')) }, async t => {
    const pod = await inPod(t, parts)
    if (!pod) return
    const folder = await mkdtemp(join(tmpdir(), 'starlane-musl-'))
    t.teardown(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'lookup.c'), lookupProgram)
    const lookup = join(folder, 'lookup')
    await run('musl-gcc', ['-static', '-o', lookup, join(folder, 'lookup.c')])
    for (const name of ['rebel-base', 'rebel-base.default', service]) {
      t.same((await pod(lookup, name)).trim().split('\n').sort(), ['127.96.0.10', 'fd00:96::a'], name)
    }
    t.ok((await pod(lookup, 'many')).trim().split('\n').length >= 20, 'what fits, or all over TCP, by its age')
    await t.rejects(pod(lookup, 'nobody'), { code: 2 })
  })

  t.test('dnsperf, a moment of load', { skip: await missing('dnsperf', '-h') }, async t => {
    const { dns, port } = await started(t, {}, parts)
    const folder = await mkdtemp(join(tmpdir(), 'starlane-dns-'))
    t.teardown(() => rm(folder, { recursive: true }))
    const questions = [
      `${service} A`,
      `${service} AAAA`,
      `_http._tcp.${service} SRV`,
      'nobody.default.svc.cluster.local A',
    ]
    await writeFile(join(folder, 'load'), `${questions.join('\n')}\n`)
    for (const mode of ['udp', 'tcp']) {
      const args = [
        '-m',
        mode,
        '-s',
        '127.0.0.1',
        '-p',
        String(port),
        '-d',
        join(folder, 'load'),
        '-n',
        '500',
        '-c',
        '4',
        '-q',
        '50',
        '-e',
      ]
      const { stdout } = await run('dnsperf', args)
      t.match(stdout, /Queries completed: +2000 \(100\.00%\)/, mode)
      t.match(stdout, /NOERROR 1500 \(75\.00%\), NXDOMAIN 500 \(25\.00%\)/, mode)
    }
    t.equal(dns.stats().answerCache.hits, 3996)
  })

  t.test('UDP: replies get no reply, and the socket stays open', async t => {
    const { port } = await started(t, {}, parts)
    const socket = createSocket('udp4')
    t.teardown(() => socket.close())
    const heard: Buffer[] = []
    socket.on('message', message => heard.push(message))
    const reply = Buffer.from(query(service))
    reply[2] = 0x81
    for (const message of [reply, Buffer.alloc(3), Buffer.alloc(1400, 0xff), query(service, 'A', 7)])
      socket.send(message, port, '127.0.0.1')
    await eventually(() => {
      if (heard.at(-1)?.readUInt16BE(0) !== 7) throw new Error('not yet')
    })
    t.equal(heard.length, 1)
  })

  t.test('close stops answering and frees the address', async t => {
    const first = await started(t, {}, parts)
    const { socket, closed } = await openTcp(t, first.port)
    socket.write(framed(query(service)))
    await first.dns.close()
    await eventually(() => closed() || Promise.reject(new Error('open')))
    const second: DnsResponder = responder(
      new FakeDirectory(base),
      {
        listen: { address: '127.0.0.1', port: first.port },
      },
      parts,
    )
    await second.start()
    await second.close()
    t.equal(second.address, undefined)
    t.equal(first.clock.waiting, 0, 'no timer is left')
  })

  t.test('a failed bind names the remedy', async t => {
    const { port } = await started(t, {}, parts)
    const taken = responder(new FakeDirectory(), { listen: { address: '127.0.0.1', port } }, parts)
    const error = await taken.start().catch((e: unknown) => e)
    t.ok(error instanceof MeshError)
    t.match(error, { code: 'LISTEN', message: new RegExp(`127\\.0\\.0\\.1:${port}.*EADDRINUSE.*choose another port`) })
    const nowhere = responder(new FakeDirectory(), { listen: { address: '192.0.2.1', port: 0 } }, parts)
    await t.rejects(nowhere.start(), { code: 'LISTEN', message: /EADDRNOTAVAIL.*no interface/ })
  })
}

t.test('TCP: a hundred questions in one write, each answered once', async t => {
  const { port } = await started(t)
  const { socket, replies, closed } = await openTcp(t, port)
  socket.write(framed(...Array.from({ length: 100 }, (_, id) => query(service, 'A', id))))
  await eventually(() => replies.length === 100 || Promise.reject(new Error(`${replies.length}`)))
  t.same(
    replies.map(r => r.id).sort((a = 0, b = 0) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  )
  socket.end(framed(query(service, 'A', 100)))
  await eventually(() => closed() || Promise.reject(new Error('open')))
  t.equal(replies.at(-1)?.id, 100, 'messages before the half-close are answered')
})

t.test('TCP: messages split at any octet', async t => {
  const { port } = await started(t)
  const { socket, replies } = await openTcp(t, port)
  for (const octet of framed(query(service, 'A', 1))) {
    socket.write(Buffer.from([octet]))
    await new Promise(resolve => setImmediate(resolve))
  }
  const three = framed(query(service, 'A', 2), query(service, 'AAAA', 3), query(service, 'TXT', 4))
  socket.write(three.subarray(0, 80))
  await eventually(() => replies.length === 2 || Promise.reject(new Error('wait')))
  socket.write(three.subarray(80))
  await eventually(() => replies.length === 4 || Promise.reject(new Error('wait')))
  t.same(
    replies.map(r => r.id),
    [1, 2, 3, 4],
  )
})

t.test('TCP: a malformed question gets an error, bad framing ends the connection', async t => {
  const { port } = await started(t)
  const { socket, replies } = await openTcp(t, port)
  const bad = query(service, 'A', 9)
  bad.writeUInt16BE(2, 4)
  socket.write(framed(bad, query(service, 'A', 10)))
  await eventually(() => replies.length === 2 || Promise.reject(new Error('wait')))
  t.match(replies, [
    { id: 9, rcode: 'FORMERR' },
    { id: 10, rcode: 'NOERROR' },
  ])
  for (const bytes of [
    Buffer.from([0, 0]),
    Buffer.from([0, 11, 1]),
    Buffer.from([0xff, 0xff]),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  ]) {
    const bad = await openTcp(t, port)
    bad.socket.write(bytes)
    await eventually(() => bad.closed() || Promise.reject(new Error('open')))
  }
})

t.test('TCP: idle connections and slow messages end in time', async t => {
  const { port, clock } = await started(t)
  const silent = await openTcp(t, port)
  const drip = await openTcp(t, port)
  const half = framed(query(service))
  const hasRead = (bytes: number) => eventually(() => assert.equal(drip.peer().bytesRead, bytes))
  drip.socket.write(half.subarray(0, 1))
  await hasRead(1)
  for (let i = 1; i < 6; i++) {
    await clock.advance(900)
    drip.socket.write(half.subarray(i, i + 1))
    await hasRead(i + 1)
  }
  t.notOk(drip.closed(), '4.5 s after its first octet')
  await clock.advance(900)
  await eventually(() => drip.closed() || Promise.reject(new Error('still open')))
  t.notOk(silent.closed())
  await clock.advance(6000)
  await eventually(() => silent.closed() || Promise.reject(new Error('still open')))
  t.pass()
})

t.test('TCP: limits per client, and the connection idle longest is closed first', async t => {
  const { port } = await started(t, { tcp: { connections: 3 } })
  const first = await openTcp(t, port)
  const second = await openTcp(t, port)
  const third = await openTcp(t, port)
  first.socket.write(framed(query(service)))
  await eventually(() => first.replies.length === 1 || Promise.reject(new Error('wait')))
  const fourth = await openTcp(t, port)
  await eventually(() => second.closed() || Promise.reject(new Error('open')))
  fourth.socket.write(framed(query(service)))
  await eventually(() => fourth.replies.length === 1 || Promise.reject(new Error('wait')))
  t.same([first.closed(), third.closed()], [false, false])
})

t.test('TCP: a client that does not read its replies is cut off', async t => {
  const { port, clock } = await started(t)
  const { socket, peer, closed } = await openTcp(t, port)
  socket.pause()
  const burst = framed(...Array.from({ length: 500 }, (_, id) => query('many.default.svc.cluster.local', 'A', id)))
  for (let i = 0; i < 20; i++) socket.write(burst)
  // Two of the largest replies wait for the client: nothing more is read from it.
  await eventually(() => assert.ok(peer().writableLength > 131_072, `${peer().writableLength} bytes wait`))
  await clock.advance(6000)
  socket.resume()
  await eventually(() => closed() || Promise.reject(new Error('open')))
  t.pass()
})
