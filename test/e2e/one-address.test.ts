/** `proxy.vips: { address, ports }`: all services at one address, each frontend at a port of its own, with the engine streams. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { Resolver } from 'node:dns/promises'
import t from 'tap'
import { PortAllocator } from '../../proxy/mesh/port-allocator.ts'
import { claimNetwork } from '../../scripts/loopback.ts'
import { eventually } from '../support/eventually.ts'
import { ask, createWorld, startPod } from '../support/world.ts'

t.test('the own port where it is free, else one of the range; DNS, services and exec tell it', async t => {
  const address = `${claimNetwork()}.1`
  const proxy = { engine: 'streams', vips: { address, ports: '30000-30099' }, drain: '100ms' }
  const world = await createWorld(t, { config: { proxy } })
  const [one, two, three] = [world.ip(11), world.ip(12), world.ip(13)]
  await startPod(t, one, 'one')
  await startPod(t, two, 'two')
  await startPod(t, three, 'three')
  await world.declare('cluster-1', { name: 'first', clusterIP: '10.96.0.1', port: 7000, pods: [{ ip: one }] })
  await world.declare('cluster-2', { name: 'second', clusterIP: '10.96.0.2', port: 7000, pods: [{ ip: two }] })
  await world.declare('cluster-1', { name: 'second', clusterIP: '10.96.0.2', port: 7000, pods: [] })
  await world.declare('cluster-1', { name: 'low', clusterIP: '10.96.0.3', port: 80, pods: [{ ip: three }] })
  const runtime = await world.start()
  const port = (name: string) => {
    const [frontend] = runtime.service('default', name)?.frontends ?? []
    assert.equal(frontend?.ip, address)
    return frontend?.port ?? 0
  }
  await eventually(() => assert.ok(port('first') && port('second') && port('low')))
  const own = ['first', 'second'].filter(name => port(name) === 7000)
  t.equal(own.length, 1, 'one of two has the port of both')
  for (const name of ['first', 'second', 'low'].filter(name => !own.includes(name)))
    t.ok(port(name) >= 30_000 && port(name) <= 30_099, `${name} has one of the range`)
  for (const [name, answer] of [
    ['first', 'one'],
    ['second', 'two'],
    ['low', 'three'],
  ] as const)
    await eventually(async () => assert.equal(await ask(address, port(name)), answer))

  const resolver = new Resolver()
  resolver.setServers([runtime.status().dns.address])
  const srv = await resolver.resolveSrv('_main._tcp.low.default.svc.cluster.local')
  t.match(srv, [{ port: port('low') }])
  t.same(await resolver.resolve4('low.default.svc.cluster.local'), [address])

  const { admin } = await runtime.ready
  const command = ['bin/starlane.js', 'exec', '--admin', admin, '--names', 'env', '--']
  const script = 'echo $LOW_SERVICE_HOST $LOW_SERVICE_PORT $LOW_SERVICE_PORT_MAIN $SECOND_SERVICE_PORT; exit 7'
  const { stdout, status } = await new Promise<{ stdout: string; status: number | null }>(resolve => {
    execFile(process.execPath, [...command, 'sh', '-c', script], (error, stdout) =>
      resolve({ stdout, status: Number(error?.code ?? 0) }),
    )
  })
  t.equal(stdout, `${address} ${port('low')} ${port('low')} ${port('second')}\n`)
  t.equal(status, 7)
})

t.test('ports: stable, never those of a backend, remote services only from their part of the range', async t => {
  const place = { address: '127.0.0.1', ports: { min: 30_000, max: 30_003 } }
  const ports = new PortAllocator(place)
  const none = () => false
  const http = { name: 'http', port: 8080, protocol: 'TCP' as const }
  const local = { isRemote: false, isBackend: none }
  t.same(ports.allocate('a/a', [http], local), [8080])
  const [second] = ports.allocate('b/b', [http], local)
  t.ok((second ?? 0) >= 30_000)
  t.same(ports.allocate('b/b', [http], local), [second], 'the same again')
  t.same(ports.allocate('u/u', [{ ...http, protocol: 'UDP' }], local), [8080], 'UDP has ports of its own')
  const [moved] = ports.allocate('a/a', [http], { isRemote: false, isBackend: port => port === 8080 })
  t.ok((moved ?? 0) >= 30_000, 'a backend is there now')
  const remote = { isRemote: true, isBackend: none }
  t.same(
    [ports.allocate('r/1', [http], remote)[0] !== undefined, ports.allocate('r/2', [http], remote)[0] !== undefined],
    [true, true],
  )
  t.same(ports.allocate('r/3', [http], remote), [undefined], 'the range is full')
  t.match(ports.problems(), [
    { code: 'VIP_RANGE', where: 'r/3', message: /no port of 127\.0\.0\.1 is left in 30000-30003/ },
  ])
  t.equal(ports.release('r/1'), 'r/3', 'who waits is next')
  const full = new PortAllocator(place)
  for (let i = 0; i < 4; i++) full.allocate(`r/${i}`, [http], remote)
  t.same(full.allocate('l/l', [{ ...http, port: 80 }], local).length, 1)
  t.ok((full.allocate('l/l', [{ ...http, port: 80 }], local)[0] ?? 0) >= 30_000, 'a quarter is left for local ones')
})
