/** DNS over UDP: the same behaviour over both kinds of socket, then what concerns the native one alone. */
import { execFile } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import type { DnsOptions } from '../../../../proxy/dns/options.ts'
import type { DnsParts } from '../../../../proxy/dns/responder.ts'
import { silentLog } from '../../../../proxy/model/log.ts'
import { eventually } from '../../../support/eventually.ts'
import { backend, clusterService, FakeDirectory, globalService } from '../../../support/model.ts'
import { batchSockets, queryBytes, responder, told, udpSockets } from '../dns.ts'
import { a, fakeUpstream } from '../upstream.ts'

const run = promisify(execFile)
const service = 'rebel-base.default.svc.cluster.local'
const numbered = Array.from({ length: 40 }, (_, i) =>
  globalService({
    name: `n${i}`,
    local: clusterService({ name: `n${i}`, clusterIPs: [`10.96.0.${i}`] }),
  }),
)
/** More addresses than fit in a datagram. */
const many = globalService({
  name: 'many',
  local: clusterService({ name: 'many', headless: true }),
  frontends: [],
  backends: Array.from({ length: 200 }, (_, i) => backend({ address: `10.3.0.${i}`, ports: ['http'] })),
})

function directory(): FakeDirectory {
  return new FakeDirectory(globalService(), many, ...numbered)
}

async function started(t: Test, parts: Partial<DnsParts>, options: Partial<DnsOptions> = {}) {
  const dns = responder(directory(), options, parts)
  await dns.start()
  t.teardown(() => dns.close())
  return { dns, port: dns.address?.port ?? 0 }
}

interface Client {
  readonly socket: Socket
  readonly heard: Buffer[]
  say(message: Buffer): void
  /** Rejects when the reply with that id does not come. */
  hears(id: number): Promise<Buffer>
}

async function client(t: Test, port: number, address = '127.0.0.1'): Promise<Client> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  t.teardown(() => new Promise<void>(resolve => socket.close(resolve)))
  const heard: Buffer[] = []
  socket.on('message', message => heard.push(message))
  await new Promise<void>(resolve => socket.connect(port, address, resolve))
  return {
    socket,
    heard,
    say: message => socket.send(message),
    hears: id =>
      eventually(() => {
        const reply = heard.find(message => message.readUInt16BE(0) === id)
        if (!reply) throw new Error(`no reply with id ${id} among ${heard.length}`)
        return reply
      }),
  }
}

function query(name: string, id: number, asking: Parameters<typeof queryBytes>[2] = {}, type = 'A'): Buffer {
  return numberedAs(queryBytes(name, type, asking), id)
}

function numberedAs(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message)
  if (copy.length >= 2) copy.writeUInt16BE(id, 0)
  return copy
}

for (const { name, parts } of udpSockets()) t.test(name, async t => onEachSocket(t, parts))

function onEachSocket(t: Test, parts: Partial<DnsParts>): void {
  t.test('for any bytes the socket gives the reply of the function', async t => {
    const { port } = await started(t, parts)
    const function_ = responder(directory())
    const corpus = readFileSync(new URL('../corpus/queries.hex', import.meta.url), 'utf8')
    const packets = corpus.split('\n').map(line => Buffer.from(line.split(' ')[0] ?? '', 'hex'))
    const long = (bytes: number) => Buffer.concat([queryBytes(service, 'A'), Buffer.alloc(bytes)])
    packets.push(Buffer.alloc(0), Buffer.alloc(11), Buffer.alloc(4096, 0xff), long(1400), long(30_000), long(3))
    const expected = new Map<number, string>()
    const { say, hears, heard } = await client(t, port)
    for (const [i, packet] of packets.entries()) {
      const asked = numberedAs(packet, i)
      const reply = await function_.respond(asked, { address: '127.0.0.1', port: 1 }, 'udp')
      if (reply) expected.set(i, reply.toString('hex'))
      // A longer message before each: what it leaves in the memory must not be read.
      say(query(`x${'a'.repeat(60)}.${service}`, 10_000 + i, { edns: 1232 }))
      say(asked)
      // Waits before the receive buffer of any socket is full.
      if (i % 20 === 19 || i === packets.length - 1) await hears(10_000 + i)
    }
    await eventually(() => {
      const replies = heard.filter(message => message.readUInt16BE(0) < 10_000)
      if (replies.length < expected.size) throw new Error(`${replies.length} of ${expected.size}`)
    })
    const replies = heard.filter(message => message.readUInt16BE(0) < 10_000)
    t.ok(expected.size > 50 && expected.size < packets.length, `${expected.size} of ${packets.length} have a reply`)
    t.strictSame(new Map(replies.map(r => [r.readUInt16BE(0), r.toString('hex')])), expected)
    t.equal(replies.length, expected.size, 'one each')
  })

  t.test('many clients at once: each gets all its own answers, and no others', async t => {
    const { port } = await started(t, parts)
    const clients = await Promise.all(Array.from({ length: 20 }, () => client(t, port)))
    for (let i = 0; i < 40; i++) {
      for (const [c, { say }] of clients.entries()) {
        // Various lengths, with and without EDNS, some denied.
        const name = i % 7 === 0 ? `none-${i}-${c}.default.svc.cluster.local` : `n${i}.default.svc.cluster.local`
        say(query(name, c * 100 + i, i % 3 === 0 ? { edns: 1232 } : {}))
      }
      await new Promise(resolve => setImmediate(resolve))
    }
    for (const [c, { hears, heard }] of clients.entries()) {
      await Promise.all(Array.from({ length: 40 }, (_, i) => hears(c * 100 + i)))
      const wrong = heard.filter(reply => {
        const i = reply.readUInt16BE(0) - c * 100
        return told(dnsPacket.decode(reply)) !== (i % 7 === 0 ? 'NXDOMAIN' : `A 10.96.0.${i}`)
      })
      if (wrong.length > 0 || heard.length !== 40) t.fail(`client ${c}: ${wrong.length} wrong of ${heard.length}`)
    }
    t.pass()
  })

  t.test('a reply is no larger than its client accepts', async t => {
    const { port } = await started(t, parts)
    const { say, hears } = await client(t, port)
    for (const [id, asking, most] of [
      [1, {}, 512],
      [2, { edns: 700 }, 700],
      [3, { edns: 65_000 }, 1232],
    ] as const) {
      say(query('many.default.svc.cluster.local', id, asking))
      const reply = await hears(id)
      t.ok(reply.length <= most && reply.length > most - 40, `${reply.length} of ${most}`)
      t.match(dnsPacket.decode(reply), { flag_tc: true })
    }
  })

  t.test('IPv6, and IPv4 at an IPv6 wildcard: a client has one spelling', async t => {
    const asked: unknown[] = []
    const log = {
      ...silentLog,
      info: (_: string, fields?: object) => asked.push((fields as { client: string }).client),
    }
    const { port } = await started(t, { ...parts, log }, { listen: { address: '::', port: 0 }, queryLog: {} })
    for (const address of ['::1', '127.0.0.1']) {
      const { say, hears } = await client(t, port, address)
      for (const id of [1, 2]) {
        say(query(service, id))
        t.equal(told(dnsPacket.decode(await hears(id))), 'A 127.96.0.10')
      }
    }
    t.same(asked, ['::1', '::1', '127.0.0.1', '127.0.0.1'])
  })

  t.test('forwarded questions are answered when their reply comes, cached ones meanwhile', async t => {
    const gates = new Map<string, () => void>()
    const upstream = await fakeUpstream(t, async ({ name }) => {
      await new Promise<void>(resolve => gates.set(name, resolve))
      return { answers: [a(name, name.startsWith('first') ? '192.0.2.1' : '192.0.2.2', 60)] }
    })
    const { port } = await started(t, parts, { upstream: [upstream.text] })
    const one = await client(t, port)
    const two = await client(t, port)
    one.say(query('first.example.org', 1))
    two.say(query('second.example.org', 2))
    one.say(query(service, 3))
    t.equal(told(dnsPacket.decode(await one.hears(3))), 'A 127.96.0.10')
    await eventually(() => gates.size === 2 || Promise.reject(new Error('not asked')))
    for (let i = 0; i < 100; i++) two.say(query(`n${i % 40}.default.svc.cluster.local`, 100 + i))
    await Promise.all(Array.from({ length: 100 }, (_, i) => two.hears(100 + i)))
    gates.get('second.example.org')?.()
    t.equal(told(dnsPacket.decode(await two.hears(2))), 'A 192.0.2.2')
    gates.get('first.example.org')?.()
    t.equal(told(dnsPacket.decode(await one.hears(1))), 'A 192.0.2.1')
  })

  t.test('close sends pending replies, and receives no more', async t => {
    let open = () => {}
    const upstream = await fakeUpstream(t, async ({ name }) => {
      await new Promise<void>(resolve => (open = resolve))
      return { answers: [a(name, '192.0.2.1', 60)] }
    })
    const { dns, port } = await started(t, parts, { upstream: [upstream.text] })
    const { say, hears, heard } = await client(t, port)
    say(query('example.org', 1))
    await eventually(() => upstream.heard.length === 1 || Promise.reject(new Error('not asked')))
    const closed = dns.close()
    say(query(service, 2))
    // Another socket on the same loop: an answer to the query before would have come before its answer.
    const other = await started(t, parts)
    const witness = await client(t, other.port)
    witness.say(query(service, 3))
    await witness.hears(3)
    t.equal(heard.length, 0)
    open()
    t.equal(told(dnsPacket.decode(await hears(1))), 'A 192.0.2.1')
    await closed
    const again = responder(directory(), { listen: { address: '127.0.0.1', port } }, parts)
    await again.start()
    await again.close()
    t.equal(heard.length, 1)
  })

  t.test('a client that is gone or unreachable does no harm', async t => {
    const { port } = await started(t, parts)
    const socket = createSocket('udp4')
    await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve))
    for (let i = 0; i < 50; i++) socket.send(query(service, i), port, '127.0.0.1')
    await new Promise<void>(resolve => socket.close(resolve))
    const { say, hears } = await client(t, port)
    for (let i = 0; i < 50; i++) say(query(service, i))
    await Promise.all(Array.from({ length: 50 }, (_, i) => hears(i)))
    t.pass()
  })
}

const native = batchSockets()
if (native) await nativeOnly(t, native)
else t.comment('the addon was not built here: npm run build:native')

/** Runs a command in its own network namespace. */
function inNamespace(prepare: string, ...command: string[]): Promise<{ stdout: string }> {
  return run('unshare', ['-n', 'sh', '-c', `ip link set lo up && ${prepare} && exec "$@"`, 'sh', ...command])
}

async function cannot(prepare: string): Promise<string | false> {
  return inNamespace(prepare, 'true').then(
    () => false,
    () => 'needs root, iproute2 and a kernel with tbf',
  )
}

async function nativeOnly(t: Test, sockets: NonNullable<typeof native>): Promise<void> {
  t.test('a flood does not starve the event loop', async t => {
    const seen: (number | 'turn')[] = []
    const socket = new sockets(count => seen.push(count))
    t.equal(socket.bind('127.0.0.1', 0, 4 << 20), 0)
    const flood = createSocket('udp4')
    await new Promise<void>(resolve => flood.connect(socket.port(), '127.0.0.1', resolve))
    const questions = 400
    for (let i = 0; i < questions; i++) flood.send('x')
    await eventually(async () => {
      await new Promise(resolve => setImmediate(resolve))
      seen.push('turn')
      if (sum(seen) < questions) throw new Error(`${sum(seen)} of ${questions}`)
    })
    t.ok(seen.every(count => count === 'turn' || count <= 64))
    const perTurn = seen
      .join(' ')
      .split('turn')
      .map(counts => sum(counts.trim().split(' ').map(Number)))
    t.ok(Math.max(...perTurn) <= 256, `${Math.max(...perTurn)} in one turn`)
    flood.close()
    await new Promise<void>(resolve => socket.close(resolve))
  })

  for (const [what, narrow] of [
    ['a device without segmentation: answers are sent one by one', 'ip link set lo mtu 1000'],
    [
      'a full send buffer: answers wait, and none is lost',
      'tc qdisc add dev lo root tbf rate 40mbit burst 4kb limit 20mb',
    ],
  ] as const) {
    t.test(what, { skip: await cannot(narrow) }, async t => {
      const child = fileURLToPath(new URL('narrow-child.ts', import.meta.url))
      const { stdout } = await inNamespace(narrow, process.execPath, child)
      t.same(JSON.parse(stdout), { answers: 300, lengths: [1232], lost: 0 })
    })
  }

  const slow = 'tc qdisc add dev lo root tbf rate 40mbit burst 4kb limit 20mb'
  t.test(
    'of late answers for which there is no room, a limited number waits',
    { skip: await cannot(slow) },
    async t => {
      const child = fileURLToPath(new URL('narrow-child.ts', import.meta.url))
      const { stdout } = await inNamespace(slow, process.execPath, child, 'late')
      const { answers, lost } = JSON.parse(stdout) as { answers: number; lost: number }
      t.equal(answers + lost, 3300)
      t.ok(answers >= 1224 && lost > 0, `${answers} answers, ${lost} lost`)
    },
  )

  t.test('a datagram of more than 4 KiB is truncated', async t => {
    const { port } = await started(t, { BatchSocket: sockets })
    const { say, hears } = await client(t, port)
    const padded = Buffer.concat([query(service, 1, { edns: 1232 }), Buffer.alloc(9000)])
    padded.writeUInt16BE(9000, padded.length - 9002)
    say(padded)
    t.match(dnsPacket.decode(await hears(1)), { rcode: 'FORMERR' })
  })

  t.test('errors have their errno, a socket closes once, and a worker closes its own', async t => {
    const socket = new sockets(() => {})
    t.equal(socket.bind('192.0.2.1', 0, 1), 99, 'EADDRNOTAVAIL')
    t.equal(socket.bind('nonsense', 0, 1), 22, 'EINVAL')
    t.equal(socket.bind('127.0.0.1', 0, 1), 0)
    t.equal(socket.bind('127.0.0.1', 0, 1), 114, 'EALREADY')
    const other = new sockets(() => {})
    t.equal(other.bind('127.0.0.1', socket.port(), 1), 98, 'EADDRINUSE')
    socket.send(Buffer.from('late'), Buffer.alloc(48))
    t.equal(socket.lost(), 1, 'to nowhere')
    t.throws(() => socket.send(Buffer.from('late'), Buffer.alloc(47)), /not a peer/)
    await new Promise<void>(resolve => socket.close(resolve))
    t.throws(() => socket.close(() => {}), /closed already/)
    socket.send(Buffer.from('too late'), Buffer.alloc(48))
    await new Promise<void>(resolve => other.close(resolve))

    const module = new URL('../dns.ts', import.meta.url).href
    const worker = new Worker(
      `import(${JSON.stringify(module)}).then(({ batchSockets }) => {
        const socket = new (batchSockets())(() => {})
        socket.bind('127.0.0.1', 0, 1)
        require('node:worker_threads').parentPort.postMessage(socket.port())
      })`,
      { eval: true },
    )
    const port = await new Promise<number>((resolve, reject) => worker.once('message', resolve).once('error', reject))
    t.equal(new sockets(() => {}).bind('127.0.0.1', port, 1), 98, 'the worker holds the address')
    await worker.terminate()
    const free = new sockets(() => {})
    t.equal(free.bind('127.0.0.1', port, 1), 0, 'the address is free')
    await new Promise<void>(resolve => free.close(resolve))
  })
}

function sum(counts: readonly (number | 'turn')[]): number {
  return counts.reduce((total: number, count) => total + (count === 'turn' ? 0 : count), 0)
}
