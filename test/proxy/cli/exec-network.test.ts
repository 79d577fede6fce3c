/** What `starlane exec --network own` is made of: addresses, relays, and the choice of a carrier. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { InsideAddresses } from '../../../proxy/cli/exec/addresses.ts'
import { installedCarrier } from '../../../proxy/cli/exec/carrier.ts'
import { relayTcp, relayUdp } from '../../../proxy/cli/exec/relay.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import type { ServiceView } from '../../../proxy/model/views.ts'
import { services } from '../admin/fixture.ts'
import { openStage } from './stage.ts'

const [rebelBase] = services as [ServiceView]

function moved(name: string, port: number): ServiceView {
  const frontends = [{ ip: '127.0.0.1', port, declared: 80, protocol: 'TCP' as const, name: 'http' }]
  return { ...rebelBase, name, frontends }
}

t.test('a service whose ports were moved has an address of its own, and keeps it', async t => {
  const addresses = new InsideAddresses()
  const { views, frontends } = addresses.translate([moved('a', 30000), moved('b', 30001), rebelBase])
  const [a, b, same] = views.map(({ frontends: [first] }) => first)
  t.match(a, { ip: /^127\.127\./, port: 80 })
  t.match(b, { ip: /^127\.127\./, port: 80 })
  t.not(a?.ip, b?.ip)
  t.match(same, rebelBase.frontends[0] ?? {}, 'others are where they are')
  t.match(frontends[1], { port: 80, outside: { ip: '127.0.0.1', port: 30001 } })
  t.same(addresses.translate([moved('b', 30009)]).views[0]?.frontends[0]?.ip, b?.ip)
})

t.test('thousands of services have as many addresses, none of them .0 or .255', async t => {
  const names = Array.from({ length: 5000 }, (_, i) => moved(`service-${i}`, 30000 + i))
  const found = new Set(new InsideAddresses().translate(names).frontends.map(({ ip }) => ip))
  t.equal(found.size, 5000)
  t.equal([...found].filter(ip => /\.(0|255)$/.test(ip)).length, 0)
})

t.test('TCP: both directions end by themselves, and a closed port resets', async t => {
  const outside = createServer({ allowHalfOpen: true }, async socket => {
    const asked = await text(socket)
    socket.end(`${asked} back`)
  }).listen(0, '127.0.0.1')
  await once(outside, 'listening')
  const front = createServer().listen(0, '127.0.0.1')
  await once(front, 'listening')
  const port = (server: typeof front) => (server.address() as { port: number }).port
  const relay = relayTcp(front, { ip: '127.0.0.1', port: port(outside) })
  const client = connect({ host: '127.0.0.1', port: port(front), allowHalfOpen: true })
  client.end('there and')
  t.equal(await text(client), 'there and back')

  outside.close()
  await once(outside, 'close')
  const refused = connect(port(front), '127.0.0.1')
  const [error] = await once(refused, 'error')
  t.equal(error.code, 'ECONNRESET')
  relay.close()
})

t.test('UDP: each client gets its own answers', async t => {
  const echo = createSocket('udp4')
  echo.on('message', (message, { port, address }) => echo.send(`${message}!`, port, address))
  echo.bind(0, '127.0.0.1')
  await once(echo, 'listening')
  const front = createSocket('udp4').bind(0, '127.0.0.1')
  await once(front, 'listening')
  const relay = relayUdp(front, { ip: '127.0.0.1', port: echo.address().port }, systemClock)
  const { port } = front.address()
  const answers = Array.from({ length: 20 }, async (_, i) => {
    const client = createSocket('udp4')
    client.send(`client ${i}`, port, '127.0.0.1')
    const [answer] = await once(client, 'message')
    client.close()
    return `${answer}`
  })
  t.same(
    await Promise.all(answers),
    Array.from({ length: 20 }, (_, i) => `client ${i}!`),
  )
  relay.close()
  echo.close()
})

t.test('pasta comes before slirp4netns', async t => {
  const both = t.testdir({ a: { slirp4netns: '' }, b: { pasta: '', slirp4netns: '' }, c: { pasta: '' } })
  for (const file of ['a/slirp4netns', 'b/pasta', 'b/slirp4netns']) chmodSync(`${both}/${file}`, 0o755)
  t.equal(installedCarrier({ PATH: `${both}/a` }), 'slirp4netns')
  t.equal(installedCarrier({ PATH: `${both}/a:${both}/b` }), 'pasta')
  t.equal(installedCarrier({ PATH: `${both}/c` }), undefined, 'what is not executable does not count')
  t.equal(installedCarrier({}), undefined)
})

t.test('wrong use, and what is missing', async t => {
  const { run } = await openStage(t)
  t.match(await run('exec --network own --names dns true'), { code: 2, err: /leave out --names dns/ })
  t.match(await run('exec --network mine true'), { code: 2, err: /own, host/ })
  const none = { env: { PATH: t.testdir({}) } }
  t.match(await run('exec --network own true', none), { code: 1, err: /EXEC_NETWORK .*install passt/ })
})
