/** The PROXY protocol to backends: nginx and HAProxy learn the client's address, in both engines and through a gateway. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ownProxyHeader, proxyHeader } from '../../../proxy/model/sockets/proxy-header.ts'
import type { ServiceView } from '../../../proxy/model/views.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { createWorld, type World } from '../../support/world.ts'
import { fromOutside, ownAddress as own } from './support.ts'

const annotations = { 'service.cilium.io/global': 'true', 'starlane.dev/send-proxy': 'v2' }
const engines = process.env.STARLANE_NATIVE === '0' ? ['streams'] : ['auto', 'streams']
const needs = (program: string) => ({
  skip: spawnSync(program, ['-v']).error ? `${program} is not installed` : false,
})

t.test('the header, by its specification', async t => {
  const v4 = Buffer.from(proxyHeader({ address: '10.1.0.7', port: 40_000 }, { ip: '10.96.0.10', port: 80 }))
  t.equal(v4.toString('hex'), '0d0a0d0a000d0a515549540a2111000c0a0100070a60000a9c400050')
  const v6 = Buffer.from(proxyHeader({ address: 'fd00::7', port: 1 }, { ip: 'fd00::a', port: 443 }))
  t.equal(v6.length, 52)
  t.equal(v6.subarray(12, 16).toString('hex'), '21210024')
  t.equal(v6.subarray(16).toString('hex'), `${'fd'.padEnd(30, '0')}07${'fd'.padEnd(30, '0')}0a000101bb`)
})

t.test('a client at a loopback address is this machine', async t => {
  const frontend = { ip: '127.96.0.1', port: 80 }
  const named = (address: string, localAddress?: string) =>
    Buffer.from(proxyHeader({ address, port: 40_000 }, frontend, localAddress)).toString('hex')
  t.equal(named('127.0.0.1', '10.1.0.7'), named('10.1.0.7'))
  t.equal(named('127.0.0.1', '10.1.0.7'), '0d0a0d0a000d0a515549540a2111000c0a0100077f6000019c400050')
  t.equal(named('10.1.0.7', '10.1.0.8'), named('10.1.0.7'), 'another client')
  t.not(named('127.0.0.1', '127.0.0.1'), named('10.1.0.7'), 'a backend of this machine')
  t.equal(named('127.0.0.1', 'fd00::7'), '0d0a0d0a000d0a515549540a20000000', 'the addresses of the connection count')
})

t.test('nginx answers checks by HTTP, which begin with a header too', needs('nginx'), async t => {
  const active = { interval: '200ms', timeout: '1s', type: 'http', path: '/healthz' }
  const world = await createWorld(t, { config: { proxy: { drain: '300ms' }, health: { active } } })
  const [vip, pod] = [world.ip(1), world.ip(11)] as const
  await world.declare('cluster-1', { clusterIP: vip, annotations, pods: [{ ip: pod }] })
  await nginx(t, pod)
  await world.start()
  const health = async (): Promise<string> => {
    const seen = (await world.look('/v1/services/default/rebel-base')) as ServiceView
    return seen.backends[0]?.health ?? ''
  }
  await eventually(async () => assert.equal(await health(), 'up'), 15_000)
  await world.declare('cluster-1', {
    clusterIP: vip,
    annotations: { 'service.cilium.io/global': 'true' },
    pods: [{ ip: pod }],
  })
  await eventually(async () => assert.equal(await health(), 'down'), 15_000)
  t.pass('without the annotation nginx refuses them')
})

for (const engine of engines) {
  t.test(`${engine}: the first bytes of a connection, and what follows`, async t => {
    const world = await createWorld(t, { config: { proxy: { engine, drain: '300ms' } } })
    const [vip, pod, client] = [world.ip(1), world.ip(11), world.ip(21)] as const
    const { seen } = await recorder(t, pod)
    await world.declare('cluster-1', { clusterIP: vip, annotations, pods: [{ ip: pod }] })
    await world.start()
    const { sent, port } = await send(vip, client, ['hello ', 'world'])
    t.equal(sent, 'hello world')
    await eventually(() => assert.equal(seen.length > 0 && seen.at(-1)?.includes('world'), true))
    const expected = Buffer.concat([
      proxyHeader({ address: client, port }, { ip: vip, port: 7000 }),
      Buffer.from('hello world'),
    ])
    t.same(seen.at(-1), expected)
    await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: pod }] })
    await eventually(async () => {
      await send(vip, client, ['plain'])
      assert.deepEqual(seen.at(-1), Buffer.from('plain'))
    }, 15_000)
  })

  t.test(`${engine}: nginx sees the client`, needs('nginx'), async t => {
    const { world, vip, pod, client } = await open(t, engine)
    await nginx(t, pod)
    await world.start()
    await eventually(async () => assert.match(await get(vip, client), new RegExp(`${client} 7000$`)), 15_000)
    for (let i = 0; i < 20; i++) t.match(await get(vip, client), new RegExp(`${client} 7000$`))
  })

  t.test(`${engine}: HAProxy sees the client`, needs('haproxy'), async t => {
    const { world, vip, pod, client } = await open(t, engine)
    const folder = t.testdir({})
    const conf = `defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend f
  bind ${pod}:8000 accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst_port]"
`
    await writeFile(join(folder, 'haproxy.cfg'), conf)
    run(t, 'haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')])
    await world.start()
    await eventually(async () => assert.match(await get(vip, client), new RegExp(`${client} 7000$`)), 15_000)
    for (let i = 0; i < 20; i++) t.match(await get(vip, client), new RegExp(`${client} 7000$`))
  })

  t.test(`${engine}: nobody takes a client of another machine for his own`, fromOutside, async t => {
    const { world, vip } = await open(t, engine, own)
    const { seen } = await recorder(t, own)
    await world.start()
    await eventually(async () => {
      const { port } = await send(vip, '127.0.0.1', ['hello'])
      const expected = [proxyHeader({ address: own, port }, { ip: vip, port: 7000 }), Buffer.from('hello')]
      assert.deepEqual(seen.at(-1), Buffer.concat(expected))
    }, 15_000)
    t.pass('it has the address that the connection comes from')
  })

  for (const listen of own ? ['127.0.0.1', own] : ['127.0.0.1'])
    t.test(`${engine}: through a gateway at ${listen}`, async t => {
      const authority = await TunnelAuthority.create()
      const certificates = await folderFor(join(t.testdir(), 'gateway'), authority, idOf('cluster-2', 'gateway'))
      const there = await createWorld(t, {
        clusters: ['cluster-2', 'cluster-1'],
        config: { gateway: { listen: `${listen}:0`, certificates }, plugins: [] },
      })
      const pod = there.ip(21)
      const { seen } = await recorder(t, pod)
      await there.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
      await there.start()
      const tunnel = await folderFor(join(t.testdir(), 'proxy'), authority, idOf('cluster-1'))
      const gateways = [there.status().gateway?.address ?? '']
      const here = await createWorld(t, {
        config: {
          ...{ tunnel: { certificates: tunnel }, plugins: [], proxy: { engine, drain: '300ms' } },
          clusters: [
            { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
            { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' }, route: 'tunnel', gateways },
          ],
        },
      })
      const [vip, client] = [here.ip(1), here.ip(31)] as const
      await here.declare('cluster-1', { clusterIP: vip, annotations, pods: [] })
      await here.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
      await here.start()
      await eventually(async () => {
        const { port } = await send(vip, client, ['hello'])
        const address = listen === own ? own : client
        const expected = [proxyHeader({ address, port }, { ip: vip, port: 7000 }), Buffer.from('hello')]
        assert.deepEqual(seen.at(-1), Buffer.concat(expected))
      }, 15_000)
      t.pass('the header comes first')
    })
}

async function open(
  t: Test,
  engine: string,
  at?: string,
): Promise<{ world: World; vip: string; pod: string; client: string }> {
  const world = await createWorld(t, { config: { proxy: { engine, drain: '300ms' } } })
  const [vip, pod, client] = [world.ip(1), at ?? world.ip(11), world.ip(21)] as const
  await world.declare('cluster-1', { clusterIP: vip, annotations, pods: [{ ip: pod }] })
  return { world, vip, pod, client }
}

/** Answers everything on port 8000 of the address, by the PROXY protocol. */
async function nginx(t: Test, pod: string): Promise<void> {
  const folder = t.testdir({})
  const conf = `daemon off; master_process off; pid ${folder}/pid; error_log stderr;
    events {} http { access_log off; client_body_temp_path ${folder}/a; proxy_temp_path ${folder}/b; fastcgi_temp_path ${folder}/c;
    uwsgi_temp_path ${folder}/d; scgi_temp_path ${folder}/e;
    server { listen ${pod}:8000 proxy_protocol; location / { return 200 "$proxy_protocol_addr $proxy_protocol_server_port"; } } }`
  await writeFile(join(folder, 'nginx.conf'), conf)
  run(t, 'nginx', ['-c', join(folder, 'nginx.conf'), '-p', folder])
}

function run(t: Test, program: string, argv: string[]): ChildProcess {
  const child = spawn(program, argv, { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** A backend that keeps what each connection has sent, once it has ended, and says nothing. Checks connect and leave. */
async function recorder(t: Test, ip: string): Promise<{ seen: Buffer[] }> {
  const seen: Buffer[] = []
  const server = createServer(socket => {
    const pieces: Buffer[] = []
    socket.on('error', () => {})
    socket.on('data', piece => pieces.push(piece))
    socket.on('end', () => {
      const bytes = Buffer.concat(pieces)
      // Checks have a header of their own, and nothing else.
      if (bytes.length > 0 && !bytes.equals(ownProxyHeader)) seen.push(bytes)
    })
  })
  server.listen(8000, ip)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { seen }
}

/** Sends the parts one after the other and ends; resolves once the other side has ended too. */
async function send(vip: string, from: string, parts: string[]): Promise<{ sent: string; port: number }> {
  const socket = connect({ host: vip, port: 7000, localAddress: from })
  await once(socket, 'connect')
  const port = socket.localPort ?? 0
  for (const part of parts) await new Promise(resolve => socket.write(part, resolve))
  socket.end()
  socket.resume()
  await once(socket, 'close')
  return { sent: parts.join(''), port }
}

async function get(vip: string, from: string): Promise<string> {
  const socket = connect({ host: vip, port: 7000, localAddress: from })
  let answer = ''
  socket.on('error', () => {})
  socket.on('data', piece => {
    answer += piece
  })
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  await once(socket, 'close')
  return answer
}
