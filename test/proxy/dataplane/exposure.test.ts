/** Sockets on all addresses that answer for frontends: how they are found and shown. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { Exposure } from '../../../proxy/dataplane/frontends/exposure.ts'
import { privatePort } from '../../../proxy/dataplane/frontends/private-port.ts'
import { wildcardSockets } from '../../../proxy/dataplane/frontends/wildcard-sockets.ts'
import type { Frontend } from '../../../proxy/model/service.ts'
import { FakeClock } from '../../support/clock.ts'
import { globalService } from '../../support/model.ts'

const [frontend] = globalService({}).frontends as [Frontend]
const onLinux = process.platform === 'linux' ? {} : { skip: 'needs /proc/net' }

t.test('finds sockets on all addresses of both families, and no others', onLinux, async t => {
  const [tcp, own] = [createServer(), createServer()]
  const udp = createSocket('udp6')
  t.teardown(() => [tcp, own, udp].map(socket => socket.close()))
  await Promise.all([once(tcp.listen(0, '0.0.0.0'), 'listening'), once(own.listen(0, '127.0.0.1'), 'listening')])
  udp.bind(0)
  await once(udp, 'listening')
  const portOf = (server: { address(): unknown }) => (server.address() as { port: number }).port
  const found = (await wildcardSockets()).map(({ protocol, port }) => `${protocol} ${port}`)
  t.ok(found.includes(`TCP ${portOf(tcp)}`))
  t.ok(found.includes(`UDP ${portOf(udp)}`))
  t.notOk(found.includes(`TCP ${portOf(own)}`))
  t.equal(new Set(found).size, found.length)
})

t.test('names closed frontends whose port another socket has, and with anyip all such sockets', async t => {
  const clock = new FakeClock()
  let guarded = false
  const sockets = [22, frontend.port, ...Array.from({ length: 10 }, (_, i) => 30_000 + i)].map(port => ({
    protocol: 'TCP' as const,
    port,
  }))
  const of = (anyip: boolean, closed: Frontend[]) =>
    new Exposure({ closed: () => closed, guarded: () => guarded, anyip, clock, sockets: async () => sockets })
  const exposure = of(true, [frontend, { ...frontend, protocol: 'UDP' }])
  t.same(exposure.problems(), [])
  await exposure.start()
  t.match(exposure.problems(), [
    { code: 'EXPOSED', where: frontend.key, message: /TCP port \d+\) may answer its clients; set proxy\.nftables/ },
    { code: 'EXPOSED', where: 'proxy.anyip', message: /TCP 22, .* and 4 more\) can be reached on every ClusterIP/ },
  ])
  sockets.splice(0)
  await clock.advance(30_000)
  t.same(exposure.problems(), [], 'the next look finds that they have gone')
  sockets.push({ protocol: 'TCP', port: frontend.port })
  exposure.lookSoon()
  exposure.lookSoon()
  await clock.advance(1000)
  t.equal(exposure.problems().length, 2, 'a change is followed sooner')
  guarded = true
  t.same(exposure.problems(), [])
  exposure.close()
  exposure.lookSoon()
  t.equal(clock.waiting, 0)

  const loopback = of(false, [])
  await loopback.look()
  t.same(loopback.problems(), [], 'every frontend is open')
})

t.test('private ports are the same in every process, and above those of clients', async t => {
  const ports = Array.from({ length: 1000 }, (_, i) => privatePort({ ...frontend, key: `10.96.0.${i}:80/TCP` }, 0))
  t.ok(ports.every(port => port >= 61_000 && port < 65_536))
  t.ok(new Set(ports).size > 800, 'spread')
  t.equal(
    privatePort({ ...frontend, key: '10.96.0.10:80/TCP' }, 0),
    privatePort({ ...frontend, key: '10.96.0.10:80/TCP' }, 0),
  )
  t.not(privatePort(frontend, 0), privatePort(frontend, 1))
})
